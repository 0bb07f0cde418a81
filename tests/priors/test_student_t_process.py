"""The Student-t process against SciPy's multivariate t."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from priorfit.priors import GaussianProcess, StudentTProcess, Task
from tests.cases import assert_same, assert_uniform, seeded

SHAPE, RATE = 1.5, 2.5
FIXED = {"kernel": "matern32", "lengthscale": 0.3, "output_scale": 0.8, "noise": 0.05}


def process(**arguments: object) -> StudentTProcess:
    return StudentTProcess({"points": 10}, SHAPE, RATE, **{**FIXED, **arguments})  # type: ignore[arg-type]


def joint(task: Task, index: int, n_query: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets (context, then some queries) of one task, and the scale matrix of their multivariate t law."""
    x_context, y_context, x_query = (part[index] for part in task.observed)
    x = torch.cat([x_context, x_query[:n_query]])[None].double()
    gaussian = GaussianProcess({"points": 10}, **FIXED)  # type: ignore[arg-type]
    covariance = gaussian.covariance(x, gaussian.draw_hyperparameters((1,), x.shape[-1], seeded()))[0]
    targets = torch.cat([y_context, task.hidden[index, :n_query]]).double()
    return targets.numpy(), RATE / SHAPE * covariance.numpy()


def log_density(targets: np.ndarray, scale: np.ndarray) -> float:
    return stats.multivariate_t(shape=scale, df=2 * SHAPE).logpdf(targets)


@pytest.mark.parametrize("n_context", [1, 6])
def test_posterior_is_the_conditional_of_a_multivariate_t(n_context: int) -> None:
    prior = process()
    task = prior.with_context(n_context, 1).sample(5, generator=seeded())
    assert prior.reference == "exact"
    found = prior.posterior(task).log_prob(task.hidden.double())
    for i in range(5):
        expected = log_density(*joint(task, i, 1)) - log_density(*joint(task, i))
        assert found[i, 0].item() == pytest.approx(expected, abs=1e-9)


def test_posterior_without_context_is_the_marginal() -> None:
    prior = process()
    task = prior.with_context(0, 3).sample(4, generator=seeded())
    scale = (RATE / SHAPE * 0.85) ** 0.5
    expected = stats.t(2 * SHAPE, scale=scale).logpdf(task.hidden.double().numpy())
    np.testing.assert_allclose(prior.posterior(task).log_prob(task.hidden.double()), expected, rtol=1e-9)


def test_log_evidence_is_that_of_a_multivariate_t() -> None:
    prior = process(noise={"law": "uniform", "low": 0.05, "high": 0.0500000001}, importance_draws=2)
    task = prior.with_context(6, 1).sample(5, generator=seeded())
    x = torch.cat([task.observed.x_context, task.observed.x_query], 1).double()
    hyper = prior.draw_hyperparameters((1,), 1, seeded())
    given = prior._condition_tasks(x, task.observed.y_context.double(), hyper)
    expected = [log_density(*joint(task, i)) for i in range(5)]
    np.testing.assert_allclose(prior.log_evidence(given, 6)[:, 0], expected, rtol=1e-7)


def test_draws_are_multivariate_t() -> None:
    task = process().with_context(3, 1).sample(2000, generator=seeded())
    first = task.observed.y_context[:, 0].double().numpy() / (RATE / SHAPE * 0.85) ** 0.5
    assert_uniform(stats.t(2 * SHAPE).cdf(first))
    ratios = []  # squared Mahalanobis distances over their dimension follow an F law
    for i in range(500):
        targets, scale = joint(task, i, 1)
        ratios.append(targets @ np.linalg.solve(scale, targets) / len(targets))
    assert_uniform(stats.f(4, 2 * SHAPE).cdf(ratios))


def test_tails_are_heavier_than_those_of_a_gaussian_process() -> None:
    heavy = process().with_context(0, 1).sample(4000, generator=seeded()).hidden
    far = heavy.abs() / heavy.square().median().sqrt() > 8  # 5.4 standard deviations of a normal law
    assert far.double().mean().item() == pytest.approx(2 * stats.t(2 * SHAPE).sf(8 * 0.7649), abs=0.004)


def test_law_is_the_gaussian_process_of_that_amplitude() -> None:
    """Law variances are those of the Gaussian process times s, one inverse-gamma s per task."""
    task = process().with_context(4, 3).sample(400, generator=seeded())
    gaussian = GaussianProcess({"points": 10}, **FIXED).posterior(task)  # type: ignore[arg-type]
    amplitude = task.law.variance.double() / gaussian.variance
    assert_same(amplitude, amplitude[:, :1].expand_as(amplitude), rtol=1e-4, atol=0)
    assert_same(task.law.mean.double(), gaussian.mean, rtol=1e-4, atol=1e-4)
    assert_uniform(stats.invgamma(SHAPE, scale=RATE).cdf(amplitude[:, 0].numpy()))


def test_posterior_approaches_the_gaussian_process_as_the_mixing_law_narrows() -> None:
    narrow = StudentTProcess({"points": 10}, 1e8, 1e8, **FIXED)  # type: ignore[arg-type]
    task = narrow.with_context(5, 3).sample(4, generator=seeded())
    gaussian = GaussianProcess({"points": 10}, **FIXED).posterior(task)  # type: ignore[arg-type]
    found = narrow.posterior(task)
    assert_same(found.mean, gaussian.mean, rtol=1e-9, atol=0)
    assert_same(found.stddev, gaussian.stddev, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("shape", "rate"), [(0, 1), (1, 0), (-1, 1), (1, -1), (float("nan"), 1)])
def test_shape_and_rate_must_be_positive(shape: float, rate: float) -> None:
    with pytest.raises(ValueError, match="shape and rate"):
        StudentTProcess({"points": 10}, shape, rate)
