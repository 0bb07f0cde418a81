"""Predictive resampling with exact predictives, whose laws are known in closed form, and with some that drift."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest, norm
from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal

import priorfit
from priorfit.checkpoints import Checkpoint, CheckpointError
from priorfit.models import CurvePFN, Network
from priorfit.predictors import MartingalePosterior, predictive_resample
from priorfit.priors import GaussianProcess
from scripts.exact_networks import ExactNetwork, GaussianPrior, LinearModel, covariance_of, linear_law
from tests.predictors.kernel_network import KernelNetwork
from tests.predictors.normal_network import NormalNetwork, normal_draws

LINEAR = LinearModel({"points": 30, "features": 2})
PROCESS = GaussianProcess({"points": 30}, lengthscale=0.3, noise=0.05)


def observed(prior: GaussianPrior, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows drawn from a prior."""
    random = np.random.default_rng(seed)
    X = random.uniform(size=(n, 1)) if isinstance(prior, GaussianProcess) else random.normal(size=(n, 2))
    return X, np.linalg.cholesky(covariance_of(prior, X)[0]) @ random.normal(size=n)


def least_squares(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(X, y)[0]


def mean(X: np.ndarray, y: np.ndarray) -> float:
    return y.mean()


def uniform(n_draws: int, n_future: int, random: Any) -> np.ndarray:
    return random.uniform(size=(n_draws, n_future, 1))


class PolyaUrn(Network):
    """Classes with a uniform prior on their probabilities: the rule of succession, whatever x."""

    takes_tables, max_features, max_classes, n_buckets = True, 5, 3, 0

    def compute(self, *observed: Tensor) -> Tensor:
        _, y, x_query, categorical, n_classes = observed
        assert categorical.shape == (len(y), x_query.shape[2])
        counts = torch.nn.functional.one_hot(y.long(), self.max_classes).sum(1) + 1.0
        exists = torch.arange(self.max_classes) < n_classes[:, None]
        return (counts * exists)[:, None].expand(-1, x_query.shape[1], -1)

    def distribution(self, output: Tensor) -> Categorical:
        return Categorical(output)


def exact_levels(prior: GaussianPrior, y: np.ndarray, found: MartingalePosterior, X: np.ndarray, weigh: Any) -> Any:
    """What the exact laws of a functional, `weigh(X) @ y`, given each draw's inputs make of the draws, (R, p)."""
    levels = []
    for x_future, value in zip(found.x_future, found.draws.reshape(len(found.draws), -1), strict=True):
        table = np.concatenate([X, x_future])
        law = linear_law(covariance_of(prior, table)[0], y, weigh(table))
        levels.append(norm.cdf(np.linalg.solve(np.linalg.cholesky(law[1]), value - law[0])))
    return np.array(levels)


def test_least_squares_of_a_conjugate_linear_model() -> None:
    """Draws follow the exact law of completed tables, and with many future rows the posterior of the weights."""
    X, y = observed(LINEAR, 6)
    found = predictive_resample(
        ExactNetwork(LINEAR), X, y, least_squares, 150, 500, random_state=1, batch_size=250, inputs="bootstrap"
    )
    assert found.draws.shape == (500, 2)
    assert found.y_future.shape == (500, 150)
    assert found.x_future.shape == (500, 150, 2)
    levels = exact_levels(LINEAR, y, found, X, np.linalg.pinv)
    assert min(kstest(column, "uniform").pvalue for column in levels.T) > 0.01
    precision = np.eye(2) + X.T @ X / 0.25
    center, covariance = np.linalg.solve(precision, X.T @ y / 0.25), np.linalg.inv(precision)
    scaled = np.linalg.solve(np.linalg.cholesky(covariance), (found.draws - center).T)
    np.testing.assert_allclose(scaled.mean(1), 0, atol=3.5 / np.sqrt(500))
    np.testing.assert_allclose(np.cov(scaled), np.eye(2), atol=0.25)
    assert min(kstest(row, "norm").pvalue for row in scaled) > 0.01
    assert found.defect.p_value > 0.01


def test_average_of_a_gaussian_process() -> None:
    """Of noisy rows at new inputs; the average of the function itself, as rows grow."""
    X, y = observed(PROCESS, 5)
    probe = np.array([[0.5]])
    network = ExactNetwork(PROCESS)
    found = predictive_resample(network, X, y, mean, 60, 400, inputs=uniform, probes=probe, random_state=2)
    levels = exact_levels(PROCESS, y, found, X, lambda table: np.full((1, len(table)), 1 / len(table)))
    assert kstest(levels[:, 0], "uniform").pvalue > 0.01
    completed = np.concatenate([X, found.x_future[0], probe])
    covariance, noise = covariance_of(PROCESS, completed)
    targets = np.concatenate([y, found.y_future[0]])
    covariance[-1, -1] -= noise
    center, variance = linear_law(covariance, targets, np.eye(len(completed))[-1:])
    np.testing.assert_allclose(found.predictions[0], center, atol=1e-4)
    before, spread = linear_law(covariance[np.ix_([*range(5), -1], [*range(5), -1])], y, np.eye(6)[-1:])
    assert abs(found.predictions.mean() - before[0]) < 4 * np.sqrt(spread[0, 0] / 400)
    np.testing.assert_allclose(found.predictions.var(), spread[0, 0] - variance[0, 0], rtol=0.3)


def test_mean_of_normal_numbers() -> None:
    """As k grows: N(sum y / (n + 1), 1 / (n + 1)); with k rows the mean of n + k rows, exactly normal too."""
    found, k = normal_draws(NormalNetwork(), 2000), 30
    center, variance = 2.0 / 5, k * (1 + k / 5) / 34**2
    assert kstest(found.draws, norm((2.0 + k * center) / 34, np.sqrt(variance)).cdf).pvalue > 0.01


def test_share_of_a_class() -> None:
    """Beta-Bernoulli: the number of successes among the future rows is Beta-binomial; classes keep their names."""
    y = np.array(["no", "yes", "yes", "yes"])
    found = predictive_resample(
        PolyaUrn(), np.zeros((4, 2)), y, lambda X, y: (y == "yes").mean(), 6, 4000, random_state=0, batch_size=4000
    )
    assert set(np.unique(found.y_future)) == {"no", "yes"}
    counts = np.bincount((found.draws * 10).round().astype(int) - 3, minlength=7)
    grid = (np.arange(4000) + 0.5) / 4000
    density = grid**3 * (1 - grid) / (grid**3 * (1 - grid)).mean()  # Beta(4, 2)
    expected = 4000 * np.array([(binom.pmf(j, 6, grid) * density).mean() for j in range(7)])
    assert (np.square(counts - expected) / expected).sum() < 22.5  # chi², 6 degrees of freedom, 0.1 %
    np.testing.assert_allclose(found.predictions[:, 0, 1], (counts_of(found) + 4) / 12, atol=1e-6)
    assert found.defect.mean_drift is None
    np.testing.assert_array_equal(found.defect.thresholds, ["no", "yes"])
    np.testing.assert_allclose(found.defect.initial[0], [1 / 3, 2 / 3], atol=1e-6)
    assert found.defect.p_value > 0.01


def counts_of(found: MartingalePosterior) -> np.ndarray:
    """Successes among the future rows."""
    return (found.y_future == "yes").sum(1)


def test_draws_are_repeatable_and_do_not_depend_on_batches() -> None:
    X, y = observed(LINEAR, 4)
    state = torch.random.get_rng_state()
    one, two = (
        predictive_resample(ExactNetwork(LINEAR), X, y, least_squares, 5, 7, batch_size=size, random_state=3)
        for size in (7, 2)
    )
    np.testing.assert_allclose(one.draws, two.draws, rtol=1e-4)
    assert one.defect.p_value == two.defect.p_value
    assert torch.equal(state, torch.random.get_rng_state())
    other = predictive_resample(ExactNetwork(LINEAR), X, y, least_squares, 5, 7, random_state=4)
    assert not np.allclose(one.draws, other.draws)


def test_inputs() -> None:
    X, y = observed(LINEAR, 4)
    given = np.arange(6.0).reshape(3, 2)
    found = predictive_resample(ExactNetwork(LINEAR), X, y, least_squares, 3, 5, inputs=given)
    np.testing.assert_array_equal(found.x_future, np.broadcast_to(given, (5, 3, 2)))
    found = predictive_resample(
        ExactNetwork(LINEAR), X, y, lambda X, y: X[:, 0].mean(), 100, 400, random_state=0, batch_size=400
    )
    assert {tuple(row) for row in found.x_future.reshape(-1, 2)} == {tuple(row) for row in X}
    shares = (found.x_future[:, :, 0] == X[0, 0]).mean(1)  # Dirichlet(1, 1, 1, 1): Beta(1, 3), and binomial noise
    np.testing.assert_allclose(shares.var(), 3 / 80 + 0.15 / 100, rtol=0.3)


def test_standardised_rows_are_those_in_the_units_of_the_prior(checkpoint: Checkpoint) -> None:
    """Units of the user change nothing but the units of what comes out."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(9, 2)), random.normal(size=9)
    draws = [
        predictive_resample(
            checkpoint, a * X + 3, a * y - 5, mean, 4, 6, standardize=True, random_state=0, probes=a * X[:2] + 3
        )
        for a in (1.0, 100.0)
    ]
    np.testing.assert_allclose(draws[1].draws + 5, 100 * (draws[0].draws + 5), rtol=1e-3)
    np.testing.assert_allclose(draws[1].predictions + 5, 100 * (draws[0].predictions + 5), rtol=1e-3)
    np.testing.assert_allclose(draws[1].defect.drift, draws[0].defect.drift, atol=1e-4)
    assert draws[1].y_future.std() > 10


@pytest.mark.parametrize("classes", [0, 10])
def test_tables_of_any_kind(classes: int) -> None:
    network = KernelNetwork(max_classes=classes, n_buckets=0 if classes else 100)
    X = np.array([["a", 1.0], ["b", np.nan], ["a", 3.0], ["b", 4.0]], dtype=object)
    y = np.array([0, 1, 0, 1] if classes else [10.0, 20.0, 10.0, 20.0])
    found = predictive_resample(network, X, y, mean, 5, 20, random_state=0)
    assert found.draws.shape == (20,)
    assert set(found.x_future[..., 0].ravel()) == {"a", "b"}
    categorical, n_classes = network.calls[-1][2:]
    assert categorical[0].tolist() == [True, False]
    assert n_classes[0] == (2 if classes else 0)
    first = found.x_future[..., 0] == "a"
    assert found.y_future[first].mean() < found.y_future[~first].mean()


def test_it_is_warned_of_more_rows_than_were_trained_on(checkpoint: Checkpoint) -> None:
    X, y = np.zeros((299, 1)), np.arange(299.0)
    with pytest.warns(UserWarning, match="301 rows and this network was trained on at most 300") as caught:
        predictive_resample(checkpoint, X, y / 300, mean, 2, 1)
    assert Path(caught[0].filename) == Path(__file__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictive_resample(checkpoint, X, y / 300, mean, 1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_future": 0}, "n_future must be a positive whole number"),
        ({"n_draws": 2.0}, "n_draws must be a positive whole number"),
        ({"batch_size": -1}, "batch_size must be"),
        ({"X": np.array([[0.0, np.nan]] * 4)}, "NaN"),
        ({"y": np.array([0.0, 1.0, np.inf, 2.0])}, "infinity"),
        ({"y": np.zeros(3)}, "inconsistent numbers of samples"),
        ({"inputs": "boot"}, "'bootstrap'"),
        ({"inputs": np.zeros((3, 3))}, r"inputs must have the shape \(3, 2\)"),
        ({"inputs": lambda *shape: np.zeros((2, 3))}, r"inputs returned must have the shape \(2, 3, 2\)"),
        ({"probes": np.zeros((0, 2))}, r"probes must have the shape \(m, 2\)"),
        ({"functional": lambda X, y: np.nan}, "functional must return finite numbers"),
        ({"functional": lambda X, y: "text"}, "functional must return numbers of one shape"),
        ({"functional": lambda X, y: y[y > y[-1]], "n_draws": 9}, "always return one shape"),
        ({"standardize": True}, "units of its prior"),
        ({"network": PolyaUrn(), "y": np.ones(4, dtype=int)}, "one class only"),
    ],
)
def test_what_cannot_be_used(changes: dict[str, Any], message: str) -> None:
    X, y = observed(LINEAR, 4)
    arguments = {"network": ExactNetwork(LINEAR), "X": X, "y": y, "functional": mean, "n_future": 3, "n_draws": 2}
    with pytest.raises(ValueError, match=message):
        predictive_resample(**{**arguments, "random_state": 0, **changes})


def test_networks_of_another_kind() -> None:
    X, y = observed(LINEAR, 4)
    for network in (CurvePFN(), torch.nn.Linear(2, 1)):
        with pytest.raises(TypeError, match="does not predict rows of a table"):
            predictive_resample(network, X, y, mean, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="does not predict rows of a table"):
        predictive_resample("learning-curve", X, y, mean, 1, 1)
    with pytest.raises(TypeError, match="checkpoint must be a name"):
        predictive_resample(3, X, y, mean, 1, 1)  # type: ignore[arg-type]


def test_distributions_without_quantiles() -> None:
    class Heavy(NormalNetwork):
        def distribution(self, output: tuple[Tensor, Tensor]) -> Distribution:  # type: ignore[override]
            return torch.distributions.StudentT(5.0, *output)

    with pytest.raises(ValueError, match="no quantile function"):
        normal_draws(Heavy())


def test_draws_that_are_not_finite() -> None:
    class Broken(NormalNetwork):
        def distribution(self, output: tuple[Tensor, Tensor]) -> Normal:
            return Normal(output[0] / 0, output[1], validate_args=False)

    with pytest.raises(ValueError, match="drew NaN or infinity given 4 rows"):
        normal_draws(Broken())


def test_it_is_exported() -> None:
    assert priorfit.predictive_resample is predictive_resample
