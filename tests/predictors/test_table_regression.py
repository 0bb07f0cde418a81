"""PFNRegressor with networks that take tables: one face for both kinds of networks."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy import ndarray
from sklearn.datasets import load_diabetes
from sklearn.utils.estimator_checks import parametrize_with_checks

from priorfit import PFNRegressor
from priorfit.checkpoints import Checkpoint, CheckpointError
from tests.predictors.kernel_network import KernelNetwork, saved

Data = tuple[ndarray, ndarray, ndarray]
OUTPUTS = ["mean", "median", "mode", "std", "quantiles"]
DOCUMENT = {"provenance": {}, "prior": {"name": "toy", "arguments": {}}}


def kernel(**arguments: Any) -> Checkpoint:
    return Checkpoint(KernelNetwork(**{"width": 1.0, **arguments}), DOCUMENT)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("networks") / "kernel.safetensors")


@pytest.fixture
def data() -> Data:
    """60 training rows of 3 columns with missing values, and 20 queries."""
    x, y = load_diabetes(return_X_y=True)
    x = x[:, [2, 3, 8]]
    x[::7, 1] = np.nan
    return x[:60], y[:60], x[60:80]


class OfTables(PFNRegressor):
    """Says that it takes missing values before it has its checkpoint, which tells; the stand-in predicts poorly."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan, tags.regressor_tags.poor_score = True, True
        return tags


@parametrize_with_checks([OfTables()])
def test_scikit_learns_contract(estimator: PFNRegressor, check: Callable[..., None], path: Path) -> None:
    check(estimator.set_params(checkpoint=str(path), query_batch=64, n_estimators=4))


def test_missing_values_are_announced_by_what_the_network_takes(path: Path, checkpoint: Checkpoint) -> None:
    for source, takes in ((path, True), (kernel(), True), (checkpoint, False), ("not-there", False)):
        assert PFNRegressor(source).__sklearn_tags__().input_tags.allow_nan is takes


def test_answers_of_one_member_are_the_networks_own(data: Data) -> None:
    x, y, queries = data
    law = PFNRegressor(kernel(), n_estimators=1).fit(x, y).predict_distribution(queries)
    shape = torch.zeros(1, 3, dtype=torch.bool), torch.tensor([0])
    center, spread = np.nanmean(x, 0), np.nanstd(x, 0)
    z = (y - y.mean()) / y.std()
    rows = [
        torch.tensor(part[None], dtype=torch.float32)
        for part in ((x - center) / spread, z, (queries - center) / spread)
    ]
    with torch.no_grad():
        direct = kernel().network(*rows, *shape)
    np.testing.assert_allclose(law.logits, direct.logits[0], atol=1e-5)
    np.testing.assert_allclose(law.mean, y.mean() + y.std() * direct.mean[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(law.stddev, y.std() * direct.stddev[0].numpy(), rtol=1e-4)


def test_members_distributions_are_mixed(data: Data) -> None:
    x, y, queries = data
    settings: Any = {"transforms": ("none", "quantile")}
    alone = [PFNRegressor(kernel(), n_estimators=1, transforms=[name]).fit(x, y) for name in settings["transforms"]]
    parts = [regressor.predict_distribution(queries) for regressor in alone]
    mixture = PFNRegressor(kernel(), n_estimators=2, **settings).fit(x, y).predict_distribution(queries)
    spread = y.std()
    np.testing.assert_allclose(mixture.mean, (parts[0].mean + parts[1].mean) / 2, atol=2e-3 * spread)
    for at in torch.linspace(0, 300, 7):
        expected = (parts[0].cdf(at) + parts[1].cdf(at)) / 2
        np.testing.assert_allclose(mixture.cdf(at), expected, atol=0.02)
    assert (parts[0].mean - parts[1].mean).abs().max() > 0.05 * spread  # they do differ


def test_outputs_are_properties_of_the_distribution(data: Data) -> None:
    regressor = PFNRegressor(kernel()).fit(*data[:2])
    law = regressor.predict_distribution(data[2])
    assert law.batch_shape == (20,)
    assert law.logits.dtype == torch.float64
    for output, expected in {"mean": law.mean, "median": law.median, "mode": law.mode, "std": law.stddev}.items():
        np.testing.assert_allclose(regressor.predict(data[2], output), expected, rtol=1e-12)
    assert regressor.predict(data[2], "quantiles", quantiles=[0.1, 0.9]).shape == (20, 2)
    draws = regressor.sample(data[2], 500, random_state=0)
    assert draws.shape == (500, 20)
    assert (np.abs(draws.mean(0) - law.mean.numpy()) < 5 * law.stddev.numpy() / np.sqrt(500)).all()


@pytest.mark.parametrize("output", OUTPUTS)
def test_answers_do_not_depend_on_the_other_queries(data: Data, output: str) -> None:
    regressor = PFNRegressor(kernel(), query_batch=8, n_estimators=4).fit(*data[:2])
    together = regressor.predict(data[2], output)
    apart = [regressor.predict(data[2][row : row + 3], output) for row in range(0, 20, 3)]
    np.testing.assert_array_equal(np.concatenate(apart), together)


def test_answers_move_with_the_units_of_the_data(data: Data) -> None:
    x, y, queries = data
    expected = PFNRegressor(kernel()).fit(x, y).predict(queries)
    other = PFNRegressor(kernel()).fit(1e6 + 32 * x, 1e9 + 1e-3 * y).predict(1e6 + 32 * queries)
    np.testing.assert_allclose(other, 1e9 + 1e-3 * expected, rtol=1e-13, atol=3e-5)


def test_data_frames_are_taken_as_they_come() -> None:
    frame = pd.DataFrame({"color": ["red", "blue", None] * 5, "weight": [1.0, np.nan, 3, 4, 5] * 3, "same": "x"})
    y = np.where(frame["color"] == "red", 10.0, -10.0) + np.arange(15) / 10
    regressor = PFNRegressor(kernel(width=0.3), n_estimators=4).fit(frame, y)
    x, _, categorical, n_classes = regressor._network.calls[-1]
    assert x.shape == (4, 15, 2)
    assert categorical.sum(1).tolist() == [1] * 4
    assert n_classes.tolist() == [0] * 4
    assert (np.sign(regressor.predict(frame)) == np.sign(y)).all()


def test_constant_targets_and_no_column_that_tells_anything() -> None:
    regressor = PFNRegressor(kernel()).fit([[1.0], [1.0], [1.0]], [5.0, 5.0, 5.0])
    np.testing.assert_allclose(regressor.predict([[2.0], [np.nan]]), 5, atol=1e-6)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1.0], [np.nan]], "NaN .* row 1 of column 0, and the network of this checkpoint takes numbers only. Impute"),
        (pd.DataFrame({"a": ["x", "y"]}), "column 'a' is categorical .* takes numbers only. Encode it .*OneHotEncoder"),
        (pd.DataFrame({"a": pd.Categorical([1, 2])}), "column 'a' is categorical .* for tables of any kind"),
    ],
)
def test_networks_of_numbers_say_what_to_do_with_other_columns(checkpoint: Checkpoint, X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PFNRegressor(checkpoint).fit(X, [1.0, 2.0])


def test_truth_values_are_numbers_to_any_network(checkpoint: Checkpoint) -> None:
    x = np.array([[True], [False], [True]])
    expected = PFNRegressor(checkpoint).fit(x.astype(float), [1.0, 2, 3]).predict([[1.0]])
    frame = pd.DataFrame({"a": pd.Series(x[:, 0], dtype="boolean")})
    for X in (x, x.astype(object)):
        np.testing.assert_array_equal(PFNRegressor(checkpoint).fit(X, [1.0, 2, 3]).predict([[True]]), expected)
    np.testing.assert_array_equal(PFNRegressor(checkpoint).fit(frame, [1.0, 2, 3]).predict(frame[:1]), expected)


def test_networks_that_only_classify(data: Data) -> None:
    with pytest.raises(CheckpointError, match="predicts classes, not numbers: use PFNClassifier"):
        PFNRegressor(kernel(n_buckets=0)).fit(*data[:2])


def test_targets_that_are_no_numbers(data: Data) -> None:
    with pytest.raises(ValueError, match=r"y must hold numbers.*use PFNClassifier"):
        PFNRegressor(kernel()).fit(data[0], ["red"] * 60)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        PFNRegressor(kernel()).fit(data[0], [None, *data[1][1:]])


def test_pickles_hold_the_rows_and_not_the_network(path: Path, data: Data) -> None:
    regressor = PFNRegressor(path).fit(*data[:2])
    expected = regressor.predict(data[2])
    for twin in (pickle.loads(pickle.dumps(regressor)), copy.deepcopy(regressor)):
        np.testing.assert_array_equal(twin.predict(data[2]), expected)
