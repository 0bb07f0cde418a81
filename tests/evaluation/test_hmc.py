"""Hamiltonian Monte Carlo and its checks, on densities and chains whose moments are known.

Letters: S draws, C chains, B tasks, P parameters.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from priorfit.evaluation.chain_checks import autocovariance, effective_sample_size, split_rhat
from priorfit.evaluation.hmc import Chain, evaluate, iterate, sample
from tests.cases import seeded

RNG = np.random.default_rng(0)
SD = torch.tensor([[1.0, 0.3, 2.0], [0.1, 0.1, 0.5]], dtype=torch.float64)  # (B, P)
MEAN = torch.tensor([[0.0, 1.0, -2.0], [0.5, 0.0, 0.0]], dtype=torch.float64)


def normal(theta: Tensor) -> Tensor:
    return -((theta - MEAN) / SD).square().sum(-1) / 2


def start(chains: int, seed: int = 1) -> Tensor:
    return torch.randn(chains, 2, 3, generator=seeded(seed), dtype=torch.float64)


def test_normal_targets_of_different_scales_are_found_at_once() -> None:
    draws, acceptance = sample(normal, start(8), Chain(8, 400, 500, 20), seeded())
    assert draws.shape == (500, 8, 2, 3)
    size = torch.from_numpy(effective_sample_size(draws.numpy()))
    assert (size > 300).all()
    flat = draws.flatten(0, 1)
    assert ((flat.mean(0) - MEAN).abs() < 4.5 * SD / size.sqrt()).all()
    assert ((flat.std(0) / SD - 1).abs() < 4.5 / size.sqrt()).all()
    assert ((acceptance - 0.8).abs() < 0.1).all()
    assert (split_rhat(draws.numpy()) < 1.02).all()


def test_a_bent_target_has_its_moments() -> None:
    """y | x ~ N(x², .5²) with x ~ N(0, 1): E y = 1, Var y = 2.25."""

    def banana(theta: Tensor) -> Tensor:
        x, y = theta[..., 0], theta[..., 1]
        return -x.square() / 2 - ((y - x.square()) / 0.5).square() / 2

    draws, _ = sample(banana, start(8)[..., :2], Chain(8, 300, 800, 25), seeded())
    y, size = draws[..., 1].numpy(), effective_sample_size(draws.numpy())[:, 1]
    assert (np.abs(y.mean((0, 1)) - 1) < 4.5 * 1.5 / np.sqrt(size)).all()
    assert np.square(draws[..., 0].numpy()).mean() == pytest.approx(1, abs=0.1)


def test_short_steps_keep_the_energy_and_the_generator_decides() -> None:
    point = evaluate(normal, start(4))
    _, chance = iterate(normal, point, torch.full((4, 2), 1e-4, dtype=torch.float64), 5, seeded())
    assert (chance > 0.9999).all()
    first, second = (sample(normal, start(2), Chain(2, 20, 10), seeded(3))[0] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, sample(normal, start(2), Chain(2, 20, 10), seeded(4))[0])


def test_trajectories_that_diverge_are_rejected() -> None:
    point = evaluate(normal, start(4))
    step = torch.tensor([[1e200, 1e-3]], dtype=torch.float64).expand(4, 2)
    new, chance = iterate(normal, point, step, 10, seeded())
    assert (chance[:, 0] == 0).all()
    assert torch.equal(new.theta[:, 0], point.theta[:, 0])
    assert not torch.equal(new.theta[:, 1], point.theta[:, 1])
    assert new.gradient.isfinite().all()


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_effective_sample_size_of_autoregressive_chains(correlation: float) -> None:
    """S C (1 - r) / (1 + r)."""
    noise = RNG.normal(size=(4000, 4, 6))
    draws = np.zeros_like(noise)
    for index in range(1, len(draws)):
        draws[index] = correlation * draws[index - 1] + noise[index]
    expected = 16_000 * (1 - correlation) / (1 + correlation)
    assert effective_sample_size(draws).mean() == pytest.approx(expected, rel=0.12)
    assert (split_rhat(draws) < 1.02).all()


def test_autocovariance_is_the_mean_of_lagged_products() -> None:
    draws = RNG.normal(size=(7, 2))
    centred = draws - draws.mean(0)
    expected = [(centred[lag:] * centred[: 7 - lag]).sum(0) / 7 for lag in range(7)]
    np.testing.assert_allclose(autocovariance(draws), expected, atol=1e-12)


def test_chains_that_disagree_are_found_out() -> None:
    """Between chains at distance 2 d the variance is W + d² (a little more: 4 half chains), W = 1."""
    draws = RNG.normal(size=(4000, 2, 1)) + np.array([[[-2.0], [2.0]]])
    assert split_rhat(draws)[0] == pytest.approx(np.sqrt(1 + 4 * 4 / 3), rel=0.03)
    assert effective_sample_size(draws)[0] < 10
    drifting = RNG.normal(size=(4000, 2, 1)) + np.linspace(-2, 2, 4000)[:, None, None]
    assert split_rhat(drifting)[0] > 1.3
    assert effective_sample_size(np.ones((10, 2, 1)))[0] == 20


@pytest.mark.parametrize("wrong", [{"chains": 1}, {"warmup": 0}, {"draws": 3}, {"leapfrogs": 0}, {"acceptance": 1.0}])
def test_impossible_chains_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Chain(**wrong)
