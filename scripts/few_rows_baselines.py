"""What networks are compared with on few rows: classifiers at their defaults, or with a search over a small grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from scripts.real_tables import CLASSIFICATION
from scripts.table_baselines import LIBRARIES, catboost, classifier, installed, xgboost
from scripts.table_results import Method

FOLDS = 5
PRODUCTS = [ConstantKernel(size) * RBF(scale) for size in (1.0, 0.1, 10.0) for scale in (2.0, 1.0, 0.3, 4.0, 8.0)]


class Baseline(NamedTuple):
    """A classifier at its defaults, and a grid around them; what is usual comes first, as the first wins ties."""

    make: Callable[[int], Any]
    grid: Mapping[str, Sequence[Any]]
    default: Mapping[str, Any] = {}  # settings that a search leaves to the grid


BASELINES = {
    "logistic regression": Baseline(
        lambda seed: LogisticRegression(max_iter=1000), {"C": [1.0, 0.1, 10.0, 0.01, 100.0, 0.001]}
    ),
    "Gaussian process": Baseline(
        lambda seed: GaussianProcessClassifier(random_state=seed),
        {"kernel": PRODUCTS, "optimizer": [None]},
        {"kernel": ConstantKernel() * RBF(4.0)},  # from 1 the search misses where there are many columns
    ),
    "nearest neighbours": Baseline(lambda seed: KNeighborsClassifier(), {"n_neighbors": [5, 7, 3, 9, 12, 15, 1]}),
    "XGBoost": Baseline(
        xgboost, {"max_depth": [6, 4, 2], "learning_rate": [0.3, 0.05], "n_estimators": [100, 20], "reg_lambda": [1, 5]}
    ),
    "CatBoost": Baseline(catboost, {"depth": [6, 4, 2], "learning_rate": [0.05, 0.3], "iterations": [100, 20]}),
}


def baselines(search: bool) -> Iterator[Method]:
    """The baselines that are installed, at their defaults or with a search."""
    for name, baseline in BASELINES.items():
        if installed(name):
            library = LIBRARIES.get(name, "scikit-learn")
            identity = {"baseline": name, "search": search, library: version(library)}
            yield Method(
                name, CLASSIFICATION, classifier(searched(baseline) if search else default(baseline)), identity
            )


def default(baseline: Baseline) -> Callable[[int], Any]:
    """Makes the classifier at its defaults."""
    return lambda seed: baseline.make(seed).set_params(**baseline.default)


def searched(baseline: Baseline) -> Callable[[int], Any]:
    """Makes one that chooses from the grid when it is fitted."""

    def make(seed: int) -> Any:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        return GridSearchCV(baseline.make(seed), {**baseline.grid}, scoring="roc_auc", cv=folds)

    return make
