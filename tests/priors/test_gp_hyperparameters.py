"""The Gaussian process with unknown lengthscale against plain normal laws and independently computed scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from priorfit.distributions import GaussianMixture, WeightedPoints
from priorfit.priors import GPHyperparameters, Task
from priorfit.priors.gp_hyperparameter_posterior import gamma_nodes
from priorfit.priors.latent_law import InverseGammaLaw
from priorfit.sources import unpack
from tests.cases import assert_mean, assert_same, seeded

FIVE = {
    "features": 5,
    "side": 5.0,
    "concentration": {"law": "uniform", "low": 100.0, "high": 105.0},
    "rate": {"law": "uniform", "low": 100.0, "high": 700.0},
}


def simulator(**arguments: Any) -> GPHyperparameters:
    return GPHyperparameters(**{"empty": 0.0, "candidates": 1, **arguments})


def parts(prior: GPHyperparameters, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, the query's last, (n + 1, F), and y, (n,), of one task's rows (n + 1, D)."""
    fields = unpack(prior.sources, rows[None].double())
    seen, query = fields["row"][0][0, :-1].numpy(), fields["query"][0][0, -1:].numpy()
    return np.concatenate([seen[:, :-1], query]), seen[:, -1]


def joint(x: np.ndarray, lengthscale: float, noise: float) -> np.ndarray:
    """Covariance of the rows' y and then y*."""
    distances = np.square(x[:, None] - x).sum(-1)
    return np.exp(-distances / (2 * lengthscale**2)) + noise * np.diag([*[1.0] * (len(x) - 1), 0.0])


def normal_law(covariance: np.ndarray) -> Any:
    """The normal law of mean zero."""
    return stats.multivariate_normal(np.zeros(len(covariance)), covariance)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"rows": 3}, {**FIVE, "rows": 4, "noise": 0.1}], ids=["one", "five"])
def test_condition_is_that_of_the_joint_normal_law(arguments: dict) -> None:
    prior = simulator(**arguments)
    task = prior.sample(3, generator=seeded(1))
    lengthscales = torch.tensor([[0.4, 2.0], [1.0, 7.0], [0.1, 30.0]]).double()
    found = prior.condition(task.observed.rows, lengthscales)
    latents = torch.stack([torch.full_like(lengthscales, 0.7), lengthscales], -1)
    likelihood = prior.log_likelihood(task.observed.rows, latents)
    for i in range(3):
        x, y = parts(prior, task.observed.rows[i])
        for j in range(2):
            covariance = joint(x, lengthscales[i, j].item(), prior.noise)
            evidence = normal_law(covariance[:-1, :-1]).logpdf(y)
            gain = np.linalg.solve(covariance[:-1, :-1], covariance[:-1, -1])
            assert found.log_evidence[i, j].item() == pytest.approx(evidence, rel=1e-6)
            assert found.mean[i, j].item() == pytest.approx(gain @ y, rel=1e-6, abs=1e-6)
            variance = 1 - gain @ covariance[:-1, -1]
            assert found.std[i, j].item() ** 2 == pytest.approx(variance, rel=1e-4)
            both = normal_law(covariance).logpdf([*y, 0.7])
            assert likelihood[i, j].item() == pytest.approx(both - stats.norm.logpdf(0.7), rel=1e-5)


def test_rows_have_the_joint_law() -> None:
    prior = simulator(rows=2)
    latents = torch.stack([torch.randn(20_000, generator=seeded()), torch.full((20_000,), 3.0)], -1)
    rows = prior.observe(latents, 2, seeded(1)).double()
    x = torch.cat([rows[:, :2, 0], rows[:, 2:, 2]], 1)  # (B, 3)
    given = torch.exp(-(x[:, :, None] - x[:, None]).square() / 18)
    given = given + prior.noise * torch.diag(torch.tensor([1.0, 1.0, 0.0]))
    values = torch.cat([rows[:, :2, 1], latents[:, :1]], 1)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(given), values[..., None], upper=False)[..., 0]
    for i in range(3):
        assert_mean(white[:, i], 0.0)
        assert_mean(white[:, i].square(), 1.0)
        assert_mean(white[:, i] * white[:, i - 1], 0.0)
    assert 0 <= x.min() < 0.01
    assert 9.99 < x.max() <= 10


def test_posterior_is_that_of_numerical_integration() -> None:
    prior = simulator()
    task = prior.sample(3, generator=seeded(3))
    posterior, laws = prior.posterior(task), InverseGammaLaw.from_tokens(task.observed.prior)
    found = posterior.log_prob(task.hidden), posterior.lengthscale.log_prob(task.hidden[:, 1:])
    for i in range(3):
        x, y = parts(prior, task.observed.rows[i])
        law: Any = stats.invgamma(laws.first[i].item(), scale=laws.second[i].item())

        def density(log_l: float, x: np.ndarray = x, y: np.ndarray = y, law: Any = law) -> float:
            lengthscale = np.exp(log_l)
            evidence = normal_law(joint(x, lengthscale, prior.noise)[:-1, :-1]).pdf(y)
            return law.pdf(lengthscale) * evidence * lengthscale

        total = integrate.quad(density, -4, 14, limit=500, points=[np.log(task.hidden[i, 1].item())])[0]
        value, lengthscale = task.hidden[i].double().numpy()
        marginal = density(np.log(lengthscale)) / lengthscale / total
        assert found[1][i].exp().item() == pytest.approx(marginal, rel=1e-4)
        both = normal_law(joint(x, lengthscale, prior.noise)).pdf([*y, value])
        assert found[0][i].exp().item() == pytest.approx(law.pdf(lengthscale) * both / total, rel=1e-4)


def test_prediction_is_the_joint_law_without_the_lengthscale() -> None:
    prior = simulator()
    task = prior.sample(2, generator=seeded(4))
    posterior = prior.posterior(task)
    log_l = torch.linspace(-6, 14, 1001).double()
    total = torch.stack(
        [
            posterior.log_prob(torch.stack([task.hidden[:, 0].double(), some.exp().expand(2)], -1)) + some
            for some in log_l
        ]
    ).exp().sum(0) * (20 / 1000)
    assert_same(posterior.prediction.log_prob(task.hidden[:, :1]).exp(), total, rtol=1e-3, atol=0)
    assert posterior.mean.shape == (2, 2)
    assert_same(posterior.mean[:, :1], posterior.prediction.mean)


def test_scores_are_those_computed_independently() -> None:
    """PPD -.003, lengthscale .906, prior alone 1.726 from 12 000 other tasks; .820, .326, .351 in five dimensions."""
    for arguments, ppd, hyper, before in (({}, -0.003, 0.906, 1.726), (FIVE, 0.820, 0.326, 0.351)):
        prior = simulator(**arguments)
        task = prior.sample(1500, generator=seeded(5))
        posterior, hidden = prior.posterior(task), task.hidden.double()
        asked, lengthscale = hidden.split(1, -1)
        own = -posterior.lengthscale.log_prob(lengthscale)
        prior_alone = -InverseGammaLaw.from_tokens(task.observed.prior).distribution.log_prob(lengthscale)[:, 0]
        assert_mean(-posterior.prediction.log_prob(asked), ppd, 0.03)
        assert_mean(own, hyper, 0.03)
        assert_mean(own - prior_alone, hyper - before, 0.02)


@pytest.mark.parametrize("arguments", [{}, FIVE], ids=["one", "five"])
def test_law_is_unbiased_for_the_posterior(arguments: dict) -> None:
    prior = simulator(**arguments, candidates=4)
    task = prior.sample(1200, generator=seeded(6))
    law, posterior = task.law, prior.posterior(task)
    assert isinstance(law, WeightedPoints)
    for part, marginal in enumerate([posterior.prediction, posterior.lengthscale]):
        levels = torch.stack([marginal.cdf(law.values[:, j, part, None].double()) for j in range(4)], 1)
        assert_mean((law.weights * levels).sum(1), 0.5, 1e-3)
        assert_mean((law.weights * levels.square()).sum(1), 1 / 3, 1e-3)


def test_without_rows_the_posterior_is_the_prior() -> None:
    prior = simulator(rows=0)
    task = prior.sample(3, generator=seeded())
    assert task.observed.rows.shape == (3, 0, 5)
    value, lengthscale = task.hidden.double().split(1, -1)
    exact = InverseGammaLaw.from_tokens(task.observed.prior).distribution.log_prob(lengthscale)[:, 0]
    exact = exact + GaussianMixture(torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1, 1)).log_prob(value)
    assert_same(prior.posterior(task).log_prob(task.hidden), exact, rtol=1e-5, atol=1e-5)


def test_nodes_integrate_inverse_gamma_laws() -> None:
    first, second = torch.tensor([3.0, 1.2, 102.0]).double(), torch.tensor([2.0, 1.5, 400.0]).double()
    nodes, log_weights = gamma_nodes(first, second, 400)
    assert (nodes.diff(dim=1) > 0).all()
    weights = log_weights.exp()
    assert_same((weights / nodes).sum(1), first / second, rtol=1e-6, atol=0)
    assert_same((weights * nodes).sum(1)[[0, 2]], (second / (first - 1))[[0, 2]], rtol=1e-6, atol=0)


def test_order_of_rows_does_not_matter() -> None:
    prior = simulator()
    task = prior.sample(2, generator=seeded())
    mixed = task.observed._replace(rows=task.observed.rows[:, [3, 1, 4, 0, 2, 5]])
    first, second = (prior.posterior(Task(observed, task.hidden)) for observed in (task.observed, mixed))
    assert_same(first.log_prob(task.hidden), second.log_prob(task.hidden), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"features": 0}, "features"), ({"noise": 0.0}, "noise"), ({"side": -1.0}, "side"), ({"rows": -1}, "rows")],
)
def test_impossible_arguments_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GPHyperparameters(**changes)
