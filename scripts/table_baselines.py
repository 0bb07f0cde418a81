"""What networks for tables are compared with: methods of scikit-learn and of boosting libraries, at their defaults.

Every method is a function of training rows x (n, F), their targets y (n,), queries (m, F) and a seed, and uses one
thread where its library asks. x and the queries are DataFrames of float64 columns, NaN where a value is missing, and
columns of type "category".

Letters: n training rows, m queries, F columns, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy import ndarray
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from sklearn.impute import SimpleImputer
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from torch.distributions import Distribution, Normal

Classify = Callable[[pd.DataFrame, ndarray, pd.DataFrame, int], ndarray]  # y: codes 0 … C-1; gives (m, C)
Regress = Callable[[pd.DataFrame, ndarray, pd.DataFrame, int], Distribution]  # batch shape (m,), float64
HELD_OUT = 0.2  # of the training rows, to measure the spread of errors on
LIBRARIES = {"XGBoost": "xgboost", "LightGBM": "lightgbm", "CatBoost": "catboost", "NGBoost": "ngboost"}


def one_hot() -> Any:
    """Numbers with gaps filled by the median, then standardised; a column per category, a gap being one too."""
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    return _by_type(numbers, OneHotEncoder(handle_unknown="ignore", sparse_output=False))


def codes() -> Any:
    """Numbers as they are, with gaps; categories as numbers."""
    return _by_type("passthrough", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan))


def _by_type(numbers: Any, categories: Any) -> ColumnTransformer:
    """One transformer for columns of numbers and one for categories."""
    select = {kind: make_column_selector(dtype_include=kind) for kind in ("number", "category")}
    return ColumnTransformer([("numbers", numbers, select["number"]), ("categories", categories, select["category"])])


def classifier(make: Callable[[int], Any]) -> Classify:
    """An estimator, made from a seed, as a method."""

    def classify(x: pd.DataFrame, y: ndarray, queries: pd.DataFrame, seed: int) -> ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return make(seed).fit(_plain_names(x), y).predict_proba(_plain_names(queries))

    return classify


def xgboost(seed: int) -> Any:
    """Its default classifier."""
    from xgboost import XGBClassifier  # pyright: ignore[reportMissingImports]

    return XGBClassifier(enable_categorical=True, n_jobs=1, random_state=seed)


def lightgbm(seed: int) -> Any:
    """Its default classifier."""
    from lightgbm import LGBMClassifier  # pyright: ignore[reportMissingImports]

    return LGBMClassifier(n_jobs=1, random_state=seed, verbose=-1)


def catboost(seed: int, kind: str = "CatBoostClassifier", **options: Any) -> Any:
    """Its default classifier, or the estimator of another kind."""
    import catboost  # pyright: ignore[reportMissingImports]

    quiet = {"thread_count": 1, "verbose": False, "allow_writing_files": False}
    return getattr(catboost, kind)(random_seed=seed, **quiet, **options)


def catboost_classifier(x: pd.DataFrame, y: ndarray, queries: pd.DataFrame, seed: int) -> ndarray:
    """The same, told which columns are categorical."""
    model = catboost(seed, cat_features=_categorical(x))
    return model.fit(_texts(x), y).predict_proba(_texts(queries))


def bayesian_ridge(x: pd.DataFrame, y: ndarray, queries: pd.DataFrame, seed: int) -> Distribution:
    """Its own predictive distribution."""
    return _normal(*make_pipeline(one_hot(), BayesianRidge()).fit(x, y).predict(queries, return_std=True))


def random_forest(x: pd.DataFrame, y: ndarray, queries: pd.DataFrame, seed: int) -> Distribution:
    """A normal distribution about each prediction, as wide as the errors on rows that trees have not seen."""
    forest: Any = RandomForestRegressor(oob_score=True, n_jobs=1, random_state=seed)
    model = make_pipeline(codes(), forest).fit(x, y)
    mean = model.predict(queries)
    return _normal(mean, np.full_like(mean, np.std(y - forest.oob_prediction_)))


def gaussian_process(x: pd.DataFrame, y: ndarray, queries: pd.DataFrame, seed: int) -> Distribution:
    """Squared exponential with a length scale per column, and noise, by maximum marginal likelihood."""
    encoder = one_hot().fit(x)
    encoded = encoder.transform(x)
    start: Any = np.full(encoded.shape[1], np.sqrt(encoded.shape[1]))  # from 1 many columns end in poor optima
    kernel = kernels.ConstantKernel() * kernels.RBF(start, (0.1, 1e3)) + kernels.WhiteKernel()
    process: Any = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # useless columns: length scales at their bound
        return _normal(*process.fit(encoded, y).predict(encoder.transform(queries), return_std=True))


def ngboost(x: pd.DataFrame, y: ndarray, queries: pd.DataFrame, seed: int) -> Distribution:
    """Its default normal distributions."""
    from ngboost import NGBRegressor  # pyright: ignore[reportMissingImports]

    encoder = one_hot().fit(x)
    model = NGBRegressor(random_state=seed, verbose=False).fit(encoder.transform(x), y)
    law = model.pred_dist(encoder.transform(queries))
    return _normal(law.loc, law.scale)


def catboost_regressor(x: pd.DataFrame, y: ndarray, queries: pd.DataFrame, seed: int) -> Distribution:
    """A normal distribution about each prediction, as wide as the errors on rows that were held out."""
    rest, held_out = train_test_split(np.arange(len(y)), test_size=HELD_OUT, random_state=seed)
    model, texts = catboost(seed, "CatBoostRegressor", cat_features=_categorical(x)), _texts(x)
    errors = y[held_out] - model.fit(texts.iloc[rest], y[rest]).predict(texts.iloc[held_out])
    mean = model.fit(texts, y).predict(_texts(queries))
    return _normal(mean, np.full_like(mean, np.sqrt(np.square(errors).mean())))


CLASSIFIERS: Mapping[str, Classify] = {
    "logistic regression": classifier(lambda seed: make_pipeline(one_hot(), LogisticRegression(max_iter=1000))),
    "random forest": classifier(lambda seed: make_pipeline(codes(), RandomForestClassifier(random_state=seed))),
    "HistGradientBoosting": classifier(lambda seed: HistGradientBoostingClassifier(random_state=seed)),
    "XGBoost": classifier(xgboost),
    "LightGBM": classifier(lightgbm),
    "CatBoost": catboost_classifier,
}
REGRESSORS: Mapping[str, Regress] = {
    "Bayesian ridge": bayesian_ridge,
    "random forest": random_forest,
    "Gaussian process": gaussian_process,
    "NGBoost": ngboost,
    "CatBoost": catboost_regressor,
}


def installed(name: str) -> bool:
    """Whether the library that a baseline needs is there."""
    return name not in LIBRARIES or find_spec(LIBRARIES[name]) is not None


def _categorical(x: pd.DataFrame) -> list[str]:
    """Names of the columns of type "category"."""
    return list(x.select_dtypes("category"))


def _texts(x: pd.DataFrame) -> pd.DataFrame:
    """Categories as texts, a gap being the empty one."""
    return x.assign(**{name: x[name].astype(object).fillna("") for name in _categorical(x)})


def _plain_names(x: pd.DataFrame) -> pd.DataFrame:
    """Columns named x0, x1, …: boosting libraries refuse some characters."""
    return x.set_axis([f"x{index}" for index in range(x.shape[1])], axis=1)


def _normal(mean: ndarray, std: ndarray) -> Normal:
    """Normal distributions, (m,)."""
    return Normal(torch.from_numpy(np.asarray(mean, float)), torch.from_numpy(np.asarray(std, float)))
