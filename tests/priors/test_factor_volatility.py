"""Factor volatilities against multivariate normal laws with dense covariances."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from priorfit.priors import FactorVolatility
from priorfit.priors.factor_volatility import PERSISTENCE, SHOCK, process_noise, transition
from tests.cases import assert_mean, assert_same, seeded


def test_likelihood_is_that_of_the_dense_covariance() -> None:
    prior = FactorVolatility(factors=4, assets=7)
    latents = 2 * torch.randn(3, 5, 4, generator=seeded(), dtype=torch.float64)
    rows = prior.observe(latents[:, 0], 2, seeded(1))
    found = prior.log_likelihood(rows, latents)
    loadings = prior.loadings
    covariance = loadings @ torch.diag_embed(latents.exp()) @ loadings.T + torch.eye(7)
    law = MultivariateNormal(torch.zeros(7).double(), covariance[:, :, None])
    expected = law.log_prob(rows[:, None, :, :7].double()).sum(-1)
    assert_same(found, expected, rtol=1e-9, atol=1e-9)
    assert_same(prior.log_likelihood(rows, latents.float()).double(), expected, rtol=1e-4, atol=1e-3)
    assert (prior.log_likelihood(rows[:, :0], latents) == 0).all()


def test_returns_have_that_covariance() -> None:
    prior = FactorVolatility(factors=2, assets=3)
    latents = torch.tensor([[0.5, -1.0]]).expand(40_000, 2)
    returns = prior.observe(latents, 1, seeded(2))[:, 0, :3].double()
    loadings = prior.loadings
    covariance = loadings @ torch.tensor([0.5, -1.0]).double().exp().diag() @ loadings.T + torch.eye(3)
    for i in range(3):
        for j in range(3):
            assert_mean(returns[:, i] * returns[:, j], covariance[i, j].item())


def test_loadings_are_drawn_once() -> None:
    first, same, other = (FactorVolatility(loadings_seed=seed).loadings for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert first.shape == (30, 10)
    assert not torch.equal(first, other)


def test_dynamics_are_stationary_near_unit_variance() -> None:
    matrix, noise = transition(3), process_noise(3)
    assert_same(matrix, PERSISTENCE * torch.eye(3))
    assert_same(noise, SHOCK**2 * torch.eye(3))
    assert (noise / (1 - matrix.square())).diagonal()[0].item() == pytest.approx(0.92, abs=0.01)


def test_default_mixtures_look_like_beliefs() -> None:
    """Of each log volatility: standard deviations from 0.4 to 1.2, weak correlations."""
    mixture = FactorVolatility().draw_prior(300, seeded()).mixture
    covariance = mixture.covariance_matrix
    spread = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert spread.quantile(0.01) > 0.3
    assert spread.quantile(0.99) < 1.4
    root = mixture.scale_trils / mixture.scale_trils.norm(dim=-1, keepdim=True)
    correlation = root @ root.mT
    assert correlation.tril(-1).abs().max() < 0.7


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"assets": 0}, "assets"), ({"factors": 0}, "dimension"), ({"meta_prior": {"dimension": 4}}, "dimension")],
)
def test_impossible_arguments_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FactorVolatility(**changes)
