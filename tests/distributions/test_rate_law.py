"""Laws of rate matrices, beside torch's own log-normal and Dirichlet."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Dirichlet, LogNormal, MixtureSameFamily

from priorfit.distributions import RateLaw
from tests.cases import assert_mean, assert_uniform, rate_law


@pytest.fixture
def law() -> RateLaw:
    return rate_law()


def rates_that_are_there(law: RateLaw) -> MixtureSameFamily:
    """Torch's version of the mixtures."""
    return MixtureSameFamily(Categorical(logits=law.log_weights), LogNormal(law.locs, law.scales))


def off(law: RateLaw) -> Tensor:
    return ~torch.eye(law.n_states, dtype=torch.bool)


def test_density_is_that_of_its_parts(law: RateLaw) -> None:
    torch.manual_seed(0)
    value = law.sample()
    rates, initial = value[..., :-1], value[..., -1]
    absent = torch.sigmoid(law.absent_logits)
    there = (1 - absent).log() + rates_that_are_there(law).log_prob(rates.clamp(min=1e-9))
    edges = torch.where(rates > 0, there, absent.log())
    expected = edges[..., off(law)].sum(-1) + Dirichlet(law.concentration).log_prob(initial)
    assert 0 < (rates[..., off(law)] > 0).double().mean() < 1  # both kinds were looked at
    torch.testing.assert_close(law.log_prob(value), expected)


def test_the_diagonal_is_never_looked_at(law: RateLaw) -> None:
    torch.manual_seed(0)
    value = law.sample()
    moved = value.clone()
    moved[..., :-1].diagonal(dim1=-2, dim2=-1).fill_(7.0)
    torch.testing.assert_close(law.log_prob(moved), law.log_prob(value), rtol=0, atol=0)
    assert (value[..., :-1].diagonal(dim1=-2, dim2=-1) == 0).all()


def test_mean_weighs_rates_with_their_probability(law: RateLaw) -> None:
    expected = (1 - torch.sigmoid(law.absent_logits)) * rates_that_are_there(law).mean
    torch.testing.assert_close(law.mean[..., :-1][..., off(law)], expected[..., off(law)])
    torch.testing.assert_close(law.mean[..., -1], Dirichlet(law.concentration).mean)


def test_quantiles_invert_the_cdf(law: RateLaw) -> None:
    levels = torch.tensor([0.02, 0.3, 0.6, 0.97], dtype=torch.float64)
    quantiles = law.quantile(levels)
    assert quantiles.shape == (4, *law.absent_logits.shape)
    assert (quantiles.diff(dim=0) >= 0).all()
    for level, rates in zip(levels, quantiles, strict=True):
        absent = (torch.sigmoid(law.absent_logits) >= level) & off(law)
        assert (rates[absent] == 0).all()
        there = ~absent & off(law)
        torch.testing.assert_close(law.rate_cdf(rates)[there], level.expand(there.sum()))


def test_cdf_of_draws(law: RateLaw) -> None:
    torch.manual_seed(1)
    draws = law.sample((20_000,))
    at = torch.full_like(law.absent_logits, 0.8)
    for i, j in ((0, 1), (2, 0)):
        assert_mean((draws[:, 1, 2, i, j] <= 0.8).double(), law.rate_cdf(at)[1, 2, i, j].item())


def test_transforms_of_draws_are_uniform_although_some_rates_are_absent(law: RateLaw) -> None:
    torch.manual_seed(2)
    levels = law.cdf(law.sample((2000,)))
    assert levels.shape == (2000, 2, 3, 6)
    assert_uniform(levels[:, 0, 0, 1])
    assert_uniform(levels[:200])


def test_impossible_initial_probabilities_have_a_finite_density(law: RateLaw) -> None:
    torch.manual_seed(3)
    value = law.sample()
    value[..., -1] = torch.tensor([0.0, 0.25, 0.75])
    assert law.log_prob(value).isfinite().all()
