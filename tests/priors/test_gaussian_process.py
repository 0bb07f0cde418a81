"""The Gaussian-process prior against scikit-learn, SciPy, quadrature, and its specification's numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, Matern, WhiteKernel
from torch import Tensor

from priorfit.priors import GaussianProcess, Regression, Task, gaussian_process
from priorfit.priors.gaussian_process import Hyperparameters, condition
from tests.cases import TINY, assert_mean, assert_same, assert_uniform, seeded

LENGTHSCALES = [0.3, 1.1, 0.6]
SKLEARN: dict[str, Callable[[Any], Kernel]] = {
    "rbf": RBF,
    "matern12": partial(Matern, nu=0.5),
    "matern32": partial(Matern, nu=1.5),
    "matern52": partial(Matern, nu=2.5),
}


def process(n_features: int = 1, **arguments: object) -> GaussianProcess:
    return GaussianProcess({"points": 10, "features": n_features}, **arguments)  # type: ignore[arg-type]


def ard(kernel: str, output_scale: float, noise: float) -> tuple[GaussianProcess, Hyperparameters, Kernel]:
    """A prior, hyperparameters of one task with a lengthscale per feature, and scikit-learn's kernel."""
    hyper = (LENGTHSCALES, output_scale, noise)
    values = [torch.tensor(value, dtype=torch.float64)[None] for value in hyper]
    kernels = ConstantKernel(output_scale) * SKLEARN[kernel](LENGTHSCALES) + WhiteKernel(noise)
    return process(3, kernel=kernel), Hyperparameters(*values, torch.tensor([0])), kernels


@pytest.mark.parametrize("kernel", SKLEARN)
def test_covariance_is_that_of_scikit_learn(kernel: str) -> None:
    prior, hyper, expected = ard(kernel, 1.7, 0.05)
    x = torch.rand(1, 9, 3, generator=seeded(), dtype=torch.float64)
    np.testing.assert_allclose(prior.covariance(x, hyper)[0], expected(x[0].numpy()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", SKLEARN)
@pytest.mark.parametrize("n", [1, 12])
def test_conditioning_is_that_of_scikit_learn(kernel: str, n: int) -> None:
    prior, hyper, expected = ard(kernel, 1.7, 0.05)
    rows = torch.randn(n + 5, 4, generator=seeded(), dtype=torch.float64)
    x, y = rows[:, :3], rows[:n, 3]
    given = condition(prior.covariance(x[None], hyper), y[None])
    regressor = GaussianProcessRegressor(expected, alpha=0, optimizer=None).fit(x[:n].numpy(), y.numpy())
    mean, std = regressor.predict(x[n:].numpy(), return_std=True)
    found = prior.predictive(given, n)
    np.testing.assert_allclose(found.mean[0], mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.stddev[0], std, rtol=0, atol=1e-9)
    assert prior.log_evidence(given, n).item() == pytest.approx(regressor.log_marginal_likelihood_value_)


@pytest.mark.parametrize("kernel", SKLEARN)
def test_posterior_is_that_of_scikit_learn(kernel: str) -> None:
    prior = process(2, kernel=kernel, lengthscale=0.4, output_scale=2.0, noise=0.03, noise_floor=0.01)
    task = prior.with_context(8, 4).sample(3, generator=seeded())
    posterior = prior.posterior(task)
    kernels = ConstantKernel(2.0) * SKLEARN[kernel](0.4) + WhiteKernel(0.04)
    for i in range(3):
        x_context, y_context, x_query = (part[i].double().numpy() for part in task.observed)
        regressor = GaussianProcessRegressor(kernels, alpha=0, optimizer=None).fit(x_context, y_context)
        mean, std = regressor.predict(x_query, return_std=True)
        np.testing.assert_allclose(posterior.mean[i], mean, rtol=0, atol=1e-6)
        np.testing.assert_allclose(posterior.stddev[i], std, rtol=0, atol=1e-6)


def test_log_evidence_is_that_of_scipy() -> None:
    prior, hyper, _ = ard("matern32", 0.8, 0.1)
    x = torch.randn(1, 6, 3, generator=seeded(), dtype=torch.float64)
    y = torch.randn(1, 6, generator=seeded(1), dtype=torch.float64)
    covariance = prior.covariance(x, hyper)
    expected = stats.multivariate_normal(cov=covariance[0].numpy()).logpdf(y[0].numpy())
    assert prior.log_evidence(condition(covariance, y), 6).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kernel", SKLEARN)
def test_draws_have_the_covariance_of_the_kernel(kernel: str, scaled: bool) -> None:
    prior = process(3, kernel=kernel, lengthscale=0.5, output_scale=2.0, noise=0.1, scale_with_dimension=scaled)
    task = prior.with_context(3, 2).sample(2000, generator=seeded())
    x = torch.cat([task.observed.x_context, task.observed.x_query], 1).double().numpy()
    y = torch.cat([task.observed.y_context, task.hidden], 1).double().numpy()
    one = SKLEARN[kernel](0.5 * (3**0.5 if scaled else 1))
    factors = np.linalg.cholesky(np.stack([2.0 * one(inputs) + 0.1 * np.eye(5) for inputs in x]))
    white = np.linalg.solve(factors, y[..., None])[..., 0]  # independent standard normal if all is right
    assert stats.kstest(white.ravel(), "norm").pvalue > TINY
    np.testing.assert_allclose(white.T @ white / 2000, np.eye(5), rtol=0, atol=4.5 * (2 / 2000) ** 0.5)


def test_law_is_the_posterior_where_nothing_is_drawn() -> None:
    prior = process(2, lengthscale=0.4, noise=0.05)
    for n_context in (0, 7):
        task = prior.with_context(n_context, 3).sample(4, generator=seeded())
        posterior = prior.posterior(task)
        assert prior.reference == "exact"
        assert_same(task.law.mean.double(), posterior.mean, rtol=1e-5, atol=1e-5)
        assert_same(task.law.stddev.double(), posterior.stddev, rtol=1e-5, atol=1e-6)


# specs/pfn.md, section 1.9: mean loss of the exact posterior by context size.
TABLE: list[tuple[dict[str, float], dict[int, float]]] = [
    (
        {"n_features": 1, "lengthscale": 0.1, "output_scale": 0.1, "noise": 0.1},
        {0: 0.615, 1: 0.596, 2: 0.575, 3: 0.555, 5: 0.527, 10: 0.472, 20: 0.410, 50: 0.342, 100: 0.310},
    ),
    ({"n_features": 1, "lengthscale": 0.1, "noise": 1e-4}, {0: 1.419, 3: 0.718, 10: -0.950, 50: -2.946}),
    ({"n_features": 1, "lengthscale": 0.6, "noise": 1e-4}, {1: 0.334, 5: -2.376, 20: -3.030}),
    ({"n_features": 5, "lengthscale": 0.6, "noise": 1e-4}, {1: 1.286, 10: 0.792, 50: -0.189, 100: -0.850}),
]


@pytest.mark.parametrize(
    ("arguments", "n", "expected"),
    [(arguments, n, nll) for arguments, row in TABLE for n, nll in row.items()],
)
def test_exact_losses_are_those_of_the_specification(arguments: dict[str, float], n: int, expected: float) -> None:
    task = process(**arguments).with_context(n, 64).sample(150, generator=seeded(n))  # type: ignore[arg-type]
    losses = -task.law.log_prob(task.hidden).mean(1)
    assert_mean(losses, expected, slack=0.02)  # the table's own standard errors are up to 0.014
    exact = -process(**arguments).posterior(task).log_prob(task.hidden.double()).mean(1)  # type: ignore[arg-type]
    assert_same(losses.double(), exact, rtol=0, atol=0.01)


def lengthscale_by_quadrature(task: Task, law: stats.rv_continuous, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and log density of the hidden targets, of one task, from 400 equally likely lengthscales."""
    x_context, y_context, x_query = (part[0].double().numpy() for part in task.observed)
    x, n = np.concatenate([x_context, x_query]), len(y_context)
    evidence, means, variances = [], [], []
    for lengthscale in law.ppf((np.arange(400) + 0.5) / 400):
        covariance = Matern(lengthscale, nu=2.5)(x) + noise * np.eye(len(x))
        evidence.append(stats.multivariate_normal.logpdf(y_context, cov=covariance[:n, :n]))
        weights = np.linalg.solve(covariance[:n, :n], covariance[:n, n:])
        means.append(weights.T @ y_context)
        variances.append(np.diag(covariance[n:, n:] - covariance[n:, :n] @ weights))
    weights = special.softmax(evidence)[:, None]
    density = stats.norm.pdf(task.hidden[0].double().numpy(), means, np.sqrt(variances))
    return (weights * means).sum(0), np.log((weights * density).sum(0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("spec", "law"),
    [
        ({"law": "gamma", "concentration": 2.0, "rate": 5.0}, stats.gamma(2.0, scale=1 / 5.0)),
        ({"law": "inverse_gamma", "concentration": 3.0, "rate": 1.0}, stats.invgamma(3.0, scale=1.0)),
    ],
)
def test_importance_sampling_agrees_with_quadrature(spec: dict, law: stats.rv_continuous, seed: int) -> None:
    prior = process(kernel="matern52", lengthscale=spec, noise=0.02, importance_draws=20_000)
    assert prior.reference == "importance sampling"
    task = prior.with_context(6, 3).sample(1, generator=seeded(seed))
    posterior = prior.posterior(task)
    effective = 1 / posterior.mixture_distribution.probs[0, 0].square().sum()
    mean, log_density = lengthscale_by_quadrature(task, law, 0.02)
    component = posterior.component_distribution.mean[0]  # (m, S)
    error = 5 * component.std(-1).numpy() / effective.item() ** 0.5 + 1e-3
    assert effective > 300
    assert (np.abs(posterior.mean[0].numpy() - mean) < error).all()
    np.testing.assert_allclose(posterior.log_prob(task.hidden.double())[0], log_density, rtol=0, atol=0.06)


def test_importance_sampling_without_context_is_the_hyperprior() -> None:
    prior = process(lengthscale={"law": "uniform", "low": 0.1, "high": 1.0})
    posterior = prior.posterior(prior.with_context(0, 2).sample(3, generator=seeded()))
    weights = posterior.mixture_distribution.probs
    assert_same(weights, torch.full_like(weights, 1 / 2000), rtol=1e-9, atol=0)


def test_importance_sampling_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = process(lengthscale={"law": "uniform", "low": 0.1, "high": 1.0}, importance_draws=50)
    task = prior.with_context(3, 2).sample(4, generator=seeded())
    whole = prior.posterior(task).log_prob(task.hidden)
    for elements in (25 * 50 * 2, 25 * 7, 1):  # two tasks at a time, seven draws, one draw
        monkeypatch.setattr(gaussian_process, "IMPORTANCE_ELEMENTS", elements)
        assert_same(prior.posterior(task).log_prob(task.hidden), whole, rtol=1e-12, atol=0)


def spread(prior: GaussianProcess, output_scale: float = 1.0) -> Tensor:
    """Standard deviations of the first query without context, one per task."""
    task = prior.with_context(0, 1).sample(400, generator=seeded())
    return (task.law.stddev.flatten().double() ** 2 - 0.01) / output_scale


def test_each_task_draws_its_own_hyperparameters() -> None:
    law = {"law": "gamma", "concentration": 2.0, "rate": 0.5}
    drawn = spread(process(output_scale=law))
    assert_uniform(stats.gamma(2.0, scale=2.0).cdf(drawn.numpy()))
    assert spread(process(output_scale=3.0), 3.0).std() < 1e-6


def test_each_task_draws_its_own_kernel() -> None:
    kernels = list(SKLEARN)
    hyper = process(kernel=kernels).draw_hyperparameters((4000,), 1, seeded())
    counts = torch.bincount(hyper.kernel, minlength=4)
    assert stats.chisquare(counts.numpy()).pvalue > TINY
    x = torch.rand(4000, 2, 1, dtype=torch.float64, generator=seeded())
    mixed = process(kernel=kernels).covariance(x, hyper)
    for index, name in enumerate(kernels):
        chosen = hyper.kernel == index
        alone = hyper._replace(kernel=torch.zeros_like(hyper.kernel))
        assert_same(mixed[chosen], process(kernel=name).covariance(x, alone)[chosen])


def test_lengthscales_are_drawn_per_feature_and_scaled_with_dimension() -> None:
    law = {"law": "uniform", "low": 1.0, "high": 2.0}
    plain = process(4, lengthscale=law).draw_hyperparameters((500,), 4, seeded())
    scaled = process(4, lengthscale=law, scale_with_dimension=True).draw_hyperparameters((500,), 4, seeded())
    assert plain.lengthscale.shape == (500, 4)
    assert_uniform(plain.lengthscale - 1)
    assert np.corrcoef(plain.lengthscale.T.numpy())[0, 1] == pytest.approx(0, abs=0.2)
    assert_same(scaled.lengthscale, 2 * plain.lengthscale)


def test_noise_floor_is_added_to_the_noise() -> None:
    law = {"law": "gamma", "concentration": 0.001, "rate": 1.0}  # nearly all draws vanish
    prior = process(noise=law, noise_floor=0.01)
    hyper = prior.draw_hyperparameters((200,), 1, seeded())
    assert hyper.noise.min() >= 0.01
    task = prior.with_context(50, 10).sample(20, generator=seeded())
    assert task.hidden.isfinite().all()
    assert (task.law.variance >= 0.0099).all()


def test_repeated_inputs_are_no_obstacle() -> None:
    prior = process(noise=0.01)
    x = torch.full((1, 30, 1), 0.5)
    y = 1 + 0.1 * torch.randn(1, 30, generator=seeded())
    posterior = prior.posterior(Task(Regression(x, y, x[:, :1]), y[:, :1]))
    assert posterior.mean.item() == pytest.approx(y.mean().item() * 30 / (30 + 0.01), rel=1e-6)
    assert posterior.variance.item() == pytest.approx(0.01 + 0.01 / 30.01, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "rfb"}, "did you mean 'rbf'"),
        ({"kernel": ["rbf", "matern53"]}, "'matern53': did you mean 'matern52'"),
        ({"kernel": []}, "kernel"),
        ({"lengthscale": {"law": "gama", "concentration": 1.0, "rate": 1.0}}, "did you mean 'gamma'"),
        ({"lengthscale": -0.2}, "lengthscale must be a positive"),
        ({"output_scale": 0}, "output_scale must be a positive"),
        ({"noise": -1e-3}, "noise must be a positive"),
        ({"noise": "small"}, "noise must be a positive"),
        ({"noise_floor": -1e-3}, "noise_floor"),
        ({"importance_draws": 0}, "importance_draws"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        process(**arguments)
