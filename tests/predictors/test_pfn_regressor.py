"""PFNRegressor: scikit-learn's contract, the network's own answers in the user's units, and clear errors."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy import ndarray
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

from priorfit import PFNRegressor, checkpoints
from priorfit.checkpoints import Checkpoint, CheckpointError
from priorfit.manifest import folder
from priorfit.predictors.units import mean_and_std
from tests.toy import ToyNetwork, ToyPrior

SHIPPED = (folder() / "tabular-regressor.safetensors").exists()
OUTPUTS = ["mean", "median", "mode", "std", "quantiles"]
Data = tuple[ndarray, ndarray, ndarray]


class Untrained(PFNRegressor):
    """Says of itself that its predictions are poor, which is all that a random network lacks."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


@pytest.fixture
def data() -> Data:
    """40 training rows of 3 features in units of their own, and 20 queries."""
    generator = np.random.default_rng(0)
    x = generator.normal([10, -2, 0], [1, 100, 1e-3], (60, 3))
    y = 50 + 5 * np.sin(x[:40, 0]) + generator.normal(size=40)
    return x[:40], y, x[40:]


@pytest.fixture
def fitted(checkpoint_path: Path, data: Data) -> PFNRegressor:
    return PFNRegressor(checkpoint_path).fit(*data[:2])


# --- scikit-learn -------------------------------------------------------------------------------------------


@parametrize_with_checks([Untrained(), *([PFNRegressor()] if SHIPPED else [])])
def test_scikit_learns_contract(estimator: PFNRegressor, check: Callable[..., None], checkpoint_path: Path) -> None:
    if isinstance(estimator, Untrained):
        estimator.set_params(checkpoint=str(checkpoint_path))
    check(estimator)


def test_works_inside_cross_validation(checkpoint: Checkpoint, data: Data) -> None:
    assert np.isfinite(cross_val_score(PFNRegressor(checkpoint), *data[:2], cv=3)).all()


def test_a_loaded_checkpoint_is_a_parameter_like_any_other(checkpoint: Checkpoint, data: Data) -> None:
    x, y, queries = data
    regressor = PFNRegressor(checkpoint)
    before = copy.deepcopy(checkpoint.network.state_dict())
    expected = regressor.fit(x, y).predict(queries)
    assert regressor.get_params()["checkpoint"] is checkpoint
    assert regressor._network is checkpoint.network
    np.testing.assert_array_equal(clone(regressor).fit(x, y).predict(queries), expected)
    PFNRegressor(checkpoint).fit(x[:10], -y[:10])
    np.testing.assert_array_equal(regressor.predict(queries), expected)
    assert all(torch.equal(value, before[name]) for name, value in checkpoint.network.state_dict().items())


def test_data_frames(checkpoint_path: Path, data: Data) -> None:
    x, y, queries = data
    names = ["a", "b", "c"]
    regressor = PFNRegressor(checkpoint_path).fit(pd.DataFrame(x, columns=names), pd.Series(y))
    assert regressor.feature_names_in_.tolist() == names
    answers = regressor.predict(pd.DataFrame(queries, columns=names))
    np.testing.assert_array_equal(answers, PFNRegressor(checkpoint_path).fit(x, y).predict(queries))
    with pytest.raises(ValueError, match="feature names should match"):
        regressor.predict(pd.DataFrame(queries, columns=["a", "c", "b"]))


# --- what is predicted --------------------------------------------------------------------------------------


def test_answers_are_the_networks_own(checkpoint: Checkpoint, data: Data) -> None:
    x, y, queries = data
    network = checkpoint.network
    center, spread = x.mean(0), x.std(0)

    def to_prior(rows: ndarray) -> torch.Tensor:
        z = (rows - center) / spread * network.x_scale.item() + network.x_loc.item()
        return torch.tensor(z, dtype=torch.float32)[None]

    z = (y - y.mean()) / y.std() * network.y_scale.item() + network.y_loc.item()
    with torch.no_grad():
        direct = network(to_prior(x), torch.tensor(z, dtype=torch.float32)[None], to_prior(queries))
    factor = y.std() / network.y_scale.item()
    mean = y.mean() + factor * (direct.mean[0].numpy() - network.y_loc.item())
    regressor = PFNRegressor(checkpoint).fit(x, y)
    np.testing.assert_allclose(regressor.predict(queries), mean, rtol=1e-5)
    np.testing.assert_allclose(regressor.predict(queries, "std"), factor * direct.stddev[0].numpy(), rtol=1e-4)


def test_data_in_the_priors_units_reach_the_network_unchanged(checkpoint: Checkpoint) -> None:
    generator = np.random.default_rng(1)
    x, y, queries = generator.uniform(size=(9, 2)), generator.normal(7, 2, 9), generator.uniform(size=(5, 2))
    with torch.no_grad():
        direct = checkpoint.network(*(torch.tensor(part, dtype=torch.float32)[None] for part in (x, y, queries)))
    law = PFNRegressor(checkpoint, standardize=False).fit(x, y).predict_distribution(queries)
    np.testing.assert_allclose(law.logits, direct.logits[0], atol=1e-4)
    np.testing.assert_allclose(law.mean, direct.mean[0], rtol=1e-5)


def test_answers_move_with_the_units_of_the_data(checkpoint_path: Path, data: Data, fitted: PFNRegressor) -> None:
    x, y, queries = data
    other = PFNRegressor(checkpoint_path).fit(1e6 + 32 * x, 1e9 + 1e-3 * y)
    for output in OUTPUTS:
        expected = 1e-3 * fitted.predict(queries, output) + (0 if output == "std" else 1e9)
        # Doubles near 1e9 are 1e-7 apart, and targets there lose their digits before they are seen.
        np.testing.assert_allclose(other.predict(1e6 + 32 * queries, output), expected, rtol=1e-3, atol=1e-5)


def test_every_output_is_a_property_of_the_distribution(data: Data, fitted: PFNRegressor) -> None:
    queries = data[2]
    law = fitted.predict_distribution(queries)
    assert law.batch_shape == (20,)
    assert law.logits.dtype == torch.float64
    assert torch.allclose(law.cdf(law.median), torch.tensor(0.5, dtype=torch.float64))
    for output, expected in {
        "mean": law.mean,
        "median": law.median,
        "mode": law.mode,
        "std": law.stddev,
    }.items():
        answers = fitted.predict(queries, output)
        assert answers.shape == (20,)
        assert answers.dtype == np.float64
        np.testing.assert_allclose(answers, expected, rtol=1e-12)


def test_quantiles(data: Data, fitted: PFNRegressor) -> None:
    queries = data[2]
    levels = [0.9, 0.05, 0.5]
    answers = fitted.predict(queries, "quantiles", quantiles=levels)
    assert answers.shape == (20, 3)
    reached = fitted.predict_distribution(queries).cdf(torch.from_numpy(answers.T))
    np.testing.assert_allclose(reached, np.broadcast_to(np.array(levels)[:, None], (3, 20)), atol=1e-9)
    deciles = fitted.predict(queries, "quantiles")
    assert deciles.shape == (20, 9)
    assert (np.diff(deciles) > 0).all()
    np.testing.assert_array_equal(deciles[:, 4], fitted.predict(queries, "median"))


def test_gradients_flow_through_a_predicted_distribution(data: Data, fitted: PFNRegressor) -> None:
    best = torch.tensor(50.0, dtype=torch.float64, requires_grad=True)
    fitted.predict_distribution(data[2]).expected_improvement(best).sum().backward()
    assert best.grad is not None
    assert best.grad < 0


@pytest.mark.parametrize("output", OUTPUTS)
def test_answers_do_not_depend_on_the_other_queries(data: Data, fitted: PFNRegressor, output: str) -> None:
    queries = np.random.default_rng(2).permutation(np.repeat(data[2], 15, 0) * np.linspace(0.9, 1.1, 300)[:, None])
    together = fitted.predict(queries, output)
    for size in (1, 7):
        parts = [fitted.predict(queries[i : i + size], output) for i in range(0, 3 * size, size)]
        np.testing.assert_allclose(np.concatenate(parts), together[: 3 * size], rtol=1e-7)
    np.testing.assert_allclose(fitted.predict(queries[::-1], output), together[::-1], rtol=1e-7)


def test_answers_do_not_depend_on_the_query_batch(data: Data, fitted: PFNRegressor) -> None:
    queries = np.repeat(data[2], 3, 0)
    expected = fitted.predict_distribution(queries)
    draws = fitted.sample(queries, 4, random_state=0)
    for size in (1, 7, 60, 1000):
        law = fitted.set_params(query_batch=size).predict_distribution(queries)
        np.testing.assert_allclose(law.mean, expected.mean, rtol=1e-6)
        np.testing.assert_allclose(law.stddev, expected.stddev, rtol=1e-5)
        np.testing.assert_allclose(fitted.sample(queries, 4, random_state=0), draws, rtol=1e-5)


def test_rows_in_another_order_say_the_same(checkpoint_path: Path, data: Data, fitted: PFNRegressor) -> None:
    x, y, queries = data
    other = PFNRegressor(checkpoint_path).fit(x[::-1], y[::-1])
    np.testing.assert_allclose(other.predict(queries), fitted.predict(queries), rtol=1e-6)


# --- samples ------------------------------------------------------------------------------------------------


def test_draws_follow_the_distributions(data: Data, fitted: PFNRegressor) -> None:
    queries = data[2]
    draws = fitted.sample(queries, 2000, random_state=0)
    assert draws.shape == (2000, 20)
    assert draws.dtype == np.float64
    levels = fitted.predict_distribution(queries).cdf(torch.from_numpy(draws)).numpy()
    assert stats.kstest(levels.ravel(), "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(levels.T) - np.eye(20)).max() < 0.12  # independent: 5 standard errors


def test_draws_come_from_their_own_random_state(data: Data, fitted: PFNRegressor) -> None:
    queries = data[2]
    first = fitted.sample(queries, 3, random_state=5)
    np.testing.assert_array_equal(first, fitted.sample(queries, 3, random_state=np.random.RandomState(5)))
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    assert not np.array_equal(fitted.sample(queries, 3), fitted.sample(queries, 3))
    assert np.array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


# --- extreme data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y"),
    [
        pytest.param([[1.0, 2.0]], [3.0], id="one row"),
        pytest.param([[0.1, 1], [0.1, 2], [0.1, 3]], [1.0, 2, 4], id="a constant column"),
        pytest.param([[0.3, 1], [0.5, 2], [0.9, 3]], [0.1, 0.1, 0.1], id="constant targets"),
        pytest.param([[1e200, 1], [-1e200, 2], [0, 3]], [1e200, -1e200, 0], id="huge numbers"),
        pytest.param([[1e-200, 1], [0, 2], [2e-200, 3]], [1e-200, 0, 2e-200], id="tiny numbers"),
        pytest.param([[1, 2], [2, 3], [5, 6]], [1, 2, 3], id="whole numbers"),
    ],
)
def test_extreme_data_have_finite_answers(checkpoint_path: Path, x: list, y: list) -> None:
    regressor = PFNRegressor(checkpoint_path).fit(x, y)
    low, high = regressor.predict(x, "quantiles", quantiles=[0.01, 0.99]).T
    assert np.isfinite(low).all()
    assert (low < high).all()
    assert (low < np.max(y)).all()
    assert (high > np.min(y)).all()


def test_constants_keep_their_scale_even_where_rounding_hides_that_they_are_constant() -> None:
    center, spread = mean_and_std(np.array([[0.1, 1e-200, 4.0]] * 3 + [[0.1, 0.0, 8.0]]))
    np.testing.assert_allclose(center, [0.1, 0.75e-200, 5])
    np.testing.assert_allclose(spread, [1, np.sqrt(0.1875) * 1e-200, np.sqrt(3)])


# --- limits -------------------------------------------------------------------------------------------------


def trained_on(checkpoint: Checkpoint, **sizes: Any) -> Checkpoint:
    """The checkpoint with another account of the tasks it was trained on."""
    prior = {"name": "gaussian_process", "arguments": {"sizes": sizes}}
    return replace(checkpoint, metadata={**checkpoint.metadata, "prior": prior})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"points": 39, "features": 3}, "X has 40 rows and this network was trained on at most 39"),
        ({"points": [2, 39], "features": 3}, "X has 40 rows and this network was trained on at most 39"),
        ({"points": 40, "features": [1, 2]}, "X has 3 features and this network was trained on at most 2"),
    ],
)
def test_more_than_was_trained_on_warns(checkpoint: Checkpoint, data: Data, sizes: Any, message: str) -> None:
    with pytest.warns(UserWarning, match=message) as caught:
        PFNRegressor(trained_on(checkpoint, **sizes)).fit(*data[:2])
    assert caught[0].filename == __file__


def test_what_was_trained_on_does_not_warn(checkpoint: Checkpoint, data: Data) -> None:
    PFNRegressor(trained_on(checkpoint, points=[2, 40], features=3)).fit(*data[:2])
    PFNRegressor(trained_on(checkpoint)).fit(*data[:2])  # it does not tell: nothing to compare with


def test_far_too_many_rows_are_refused_unless_asked_for(checkpoint: Checkpoint, data: Data) -> None:
    regressor = PFNRegressor(trained_on(checkpoint, points=2))
    with pytest.raises(ValueError, match=r"more than 16 times the 2 .* ignore_limits=True"):
        regressor.fit(*data[:2])
    with pytest.warns(UserWarning, match="trained on at most 2"):
        regressor.set_params(ignore_limits=True).fit(*data[:2])


def test_more_features_than_the_network_takes_are_refused(checkpoint_path: Path) -> None:
    with pytest.raises(ValueError, match=r"11 features .* at most 10: select features .* another checkpoint"):
        PFNRegressor(checkpoint_path, ignore_limits=True).fit(np.eye(11), np.arange(11))


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[1.0], [np.nan]], [1, 2], "Input X contains NaN"),
        ([[1.0], [np.inf]], [1, 2], "Input X contains infinity"),
        ([[1.0], [2.0]], [1, np.nan], "Input y contains NaN"),
        ([1.0, 2.0], [1, 2], "Reshape your data"),
        ([[[1.0]], [[2.0]]], [1, 2], "dim 3"),
        ([[1.0], [2.0]], [[1, 2], [3, 4]], "y should be a 1d array"),
        ([[1.0], [2.0]], [1, 2, 3], "inconsistent numbers of samples"),
        (np.empty((0, 2)), [], "0 sample"),
        (np.empty((2, 0)), [1, 2], "0 feature"),
        ([["red"], ["blue"]], [1, 2], "could not convert string to float"),
        ([[1.0], [2.0]], None, "requires y to be passed"),
    ],
)
def test_bad_training_data(checkpoint_path: Path, x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PFNRegressor(checkpoint_path).fit(x, y)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([[1.0, 2.0]], "2 features, but PFNRegressor is expecting 3"),
        ([[1.0, np.nan, 2.0]], "Input X contains NaN"),
        (np.empty((0, 3)), "0 sample"),
        ([[10, -2, 0], [1e9, -2, 0]], "the first in row 1: .* Check their units"),
    ],
)
def test_bad_queries(fitted: PFNRegressor, queries: Any, message: str) -> None:
    for ask in (fitted.predict, fitted.predict_distribution, fitted.sample):
        with pytest.raises(ValueError, match=message):
            ask(queries)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_type": "medain"}, "did you mean 'median'"),
        ({"output_type": "variance"}, "Known: mean, median, mode, quantiles, std"),
        ({"output_type": "quantiles", "quantiles": [0.5, 1.0]}, "above 0 and below 1"),
        ({"output_type": "quantiles", "quantiles": [np.nan]}, "above 0 and below 1"),
        ({"output_type": "quantiles", "quantiles": []}, "must be a list"),
        ({"output_type": "quantiles", "quantiles": 0.5}, "must be a list"),
        ({"quantiles": [0.5]}, "need output_type='quantiles'"),
    ],
)
def test_bad_outputs(data: Data, fitted: PFNRegressor, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted.predict(data[2], **arguments)


@pytest.mark.parametrize("n", [0, -1, 2.5, "3"])
def test_bad_numbers_of_draws(data: Data, fitted: PFNRegressor, n: Any) -> None:
    with pytest.raises(ValueError, match="n must be a positive whole number"):
        fitted.sample(data[2], n)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"device": "gpu"}, ValueError, "device='gpu' cannot be used here; use 'cpu' or 'auto'"),
        ({"device": "cuda:99"}, ValueError, "device='cuda:99' cannot be used here"),
        ({"query_batch": 0}, ValueError, "query_batch must be a positive whole number"),
        ({"checkpoint": "gp-regresion"}, CheckpointError, "no checkpoint and no file named 'gp-regresion'"),
        ({"checkpoint": None}, TypeError, "list_checkpoints"),
    ],
)
def test_bad_settings(checkpoint_path: Path, data: Data, settings: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        PFNRegressor(**{"checkpoint": checkpoint_path, **settings}).fit(*data[:2])


def test_networks_that_do_not_predict_tables_are_refused(tmp_path: Path, data: Data) -> None:
    path = checkpoints.save(tmp_path / "toy.safetensors", ToyNetwork(), ToyPrior())
    with pytest.raises(CheckpointError, match="ToyNetwork, does not predict tables"):
        PFNRegressor(path).fit(*data[:2])


def test_nothing_is_predicted_before_fitting(checkpoint_path: Path, data: Data) -> None:
    regressor = PFNRegressor(checkpoint_path)
    for ask in (regressor.predict, regressor.predict_distribution, regressor.sample):
        with pytest.raises(NotFittedError):
            ask(data[2])


# --- pickles ------------------------------------------------------------------------------------------------


def test_pickles_hold_the_rows_and_not_the_network(checkpoint_path: Path, data: Data, fitted: PFNRegressor) -> None:
    content = pickle.dumps(fitted)
    assert len(content) < 10_000 < checkpoint_path.stat().st_size
    restored = pickle.loads(content)
    np.testing.assert_array_equal(restored.predict(data[2]), fitted.predict(data[2]))
    np.testing.assert_array_equal(copy.deepcopy(fitted).predict(data[2]), fitted.predict(data[2]))


def test_pickles_of_a_loaded_checkpoint_need_no_file(checkpoint: Checkpoint, data: Data) -> None:
    regressor = PFNRegressor(checkpoint).fit(*data[:2])
    restored = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(restored.predict(data[2]), regressor.predict(data[2]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
def test_pickles_made_with_a_gpu_work_without_one(data: Data, fitted: PFNRegressor) -> None:
    fitted.device = "cuda"  # as fitted elsewhere
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict(data[2]), fitted.predict(data[2]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_answers(checkpoint: Checkpoint, data: Data) -> None:
    x, y, queries = data
    on_gpu = PFNRegressor(checkpoint, device="auto").fit(x, y)
    assert next(checkpoint.network.parameters()).device.type == "cpu"
    expected = PFNRegressor(checkpoint).fit(x, y).predict(queries)
    np.testing.assert_allclose(on_gpu.predict(queries), expected, rtol=1e-4)
    assert b"cuda" not in pickle.dumps(on_gpu)


def test_another_checkpoint_in_the_place_of_the_one_that_was_fitted_warns(
    checkpoint: Checkpoint, tmp_path: Path, data: Data
) -> None:
    path = tmp_path / "network.safetensors"
    checkpoints.save(path, checkpoint.network, checkpoint.prior, provenance={"note": "first"})
    regressor = PFNRegressor(path).fit(*data[:2])
    checkpoints.update_metrics(path, {"gap": 0.1})
    copy.deepcopy(regressor).predict(data[2])  # measured since: the same network
    checkpoints.save(path, checkpoint.network, checkpoint.prior, provenance={"note": "second"})
    with pytest.warns(UserWarning, match="no longer the one"):
        copy.deepcopy(regressor).predict(data[2])


# --- imports ------------------------------------------------------------------------------------------------


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running `code`."""
    report = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(answer.stdout.splitlines()[-1].split())


def test_predicting_imports_nothing_of_training(checkpoint_path: Path) -> None:
    modules = modules_after(
        "from priorfit import PFNRegressor\n"
        f"PFNRegressor({str(checkpoint_path)!r}).fit([[1], [2], [3]], [1, 2, 4]).predict([[2.5]])"
    )
    assert {"torch", "sklearn"} <= modules
    assert not modules & {"lightning", "pytorch_lightning", "hydra", "wandb", "matplotlib", "h5py", "onnx"}


def test_predicting_needs_no_pandas(checkpoint_path: Path) -> None:
    modules_after(
        "import sys\nsys.modules['pandas'] = None\nfrom priorfit import PFNRegressor\n"
        f"PFNRegressor({str(checkpoint_path)!r}).fit([[1], [2], [3]], [1, 2, 4]).predict([[2.5]])"
    )


def test_importing_priorfit_imports_nothing_heavy() -> None:
    modules = modules_after("import priorfit\nassert 'load' in dir(priorfit)\npriorfit.__version__")
    assert not modules & {"torch", "numpy", "sklearn"}


def test_unknown_names_are_attribute_errors() -> None:
    import priorfit

    assert not hasattr(priorfit, "PFNRegresor")
    assert callable(priorfit.load)
    assert isinstance(priorfit.list_checkpoints(), list)
    assert priorfit.__version__[0].isdigit()


# --- the network that is shipped ----------------------------------------------------------------------------


@pytest.mark.skipif(not SHIPPED, reason="the checkpoint tabular-regressor is not in checkpoints/")
def test_the_default_network_predicts_diabetes() -> None:
    x, y = load_diabetes(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=0)
    regressor = PFNRegressor().fit(x_train, y_train)
    assert regressor.score(x_test, y_test) > 0.35  # least squares: 0.39
    low, high = regressor.predict(x_test, "quantiles", quantiles=[0.05, 0.95]).T
    assert 0.82 < ((low < y_test) & (y_test < high)).mean() < 0.97
