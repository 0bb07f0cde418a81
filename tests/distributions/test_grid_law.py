"""Laws on a grid against a beta law in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Beta

from priorfit.distributions import GridLaw
from tests.cases import assert_same

FIRST, SECOND = torch.tensor([[2.0], [5.0]]).double(), torch.tensor([[3.0], [1.5]]).double()
EXACT = Beta(FIRST, SECOND)


def beta() -> GridLaw:
    """The same laws, up to a constant of 7 nats, on nodes equally spaced in the logit."""
    logit = torch.linspace(-60, 60, 4001, dtype=torch.float64)
    nodes = logit.sigmoid()[None]
    slope = torch.nn.functional.logsigmoid(logit) + torch.nn.functional.logsigmoid(-logit)

    def log_density(x: torch.Tensor) -> torch.Tensor:
        return EXACT.log_prob(x) + 7

    inside = nodes.clamp(1e-18, 1 - 1e-16)
    return GridLaw(log_density, nodes, log_density(inside) + slope + math.log(120 / 4000))


def test_density_and_normalizer_are_exact() -> None:
    law, x = beta(), torch.rand(5, 2, 1).double()
    assert_same(law.log_prob(x), EXACT.log_prob(x), rtol=1e-9, atol=1e-9)
    assert_same(law.log_prob(x[0]), EXACT.log_prob(x[0]), rtol=1e-9, atol=1e-9)
    assert_same(law.log_normalizer, torch.full((2,), 7.0).double(), rtol=1e-9, atol=1e-9)


def test_moments_and_cdf_are_those_of_the_law() -> None:
    law = beta()
    assert_same(law.mean, EXACT.mean, rtol=1e-8, atol=0)
    assert_same(law.variance, EXACT.variance, rtol=1e-8, atol=0)
    for level in (0.0, 0.2, 0.7, 1.0):
        points = torch.full((2, 1), level, dtype=torch.float64)
        grid = torch.linspace(0, level, 200_001, dtype=torch.float64)[1:-1]
        below = EXACT.log_prob(grid.expand(2, -1)).exp().mean(-1) * level if level else torch.zeros(2).double()
        assert_same(law.cdf(points)[:, 0], below, rtol=0, atol=1e-4)


def test_draws_have_the_moments_of_the_law() -> None:
    torch.manual_seed(0)
    draws = beta().sample((20_000,))
    assert draws.shape == (20_000, 2, 1)
    error = 4.5 * EXACT.stddev / 20_000**0.5
    assert ((draws.mean(0) - EXACT.mean).abs() < error).all()


def test_the_batch_shape_is_kept() -> None:
    law = beta()
    assert law.expand(torch.Size([2, 1])) is law
    with pytest.raises(NotImplementedError, match="batch shape"):
        law.expand(torch.Size([3, 2, 1]))
