"""Gaussian updates of mixtures, against the distribution's own and against integration by numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from priorfit.distributions import GaussianMixture
from priorfit.models.component_update import correct, observe
from priorfit.models.mixture_tensors import MixtureTensors, multiplied, overall, rescaled, unpack
from tests.cases import assert_same, seeded

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def random_mixture(d: int, k: int = 4, batch: int = 3, seed: int = 0) -> MixtureTensors:
    """Mixtures in float64."""
    generator = seeded(seed)
    packed = 0.7 * torch.randn(batch, k, 1 + d + d * (d + 1) // 2, generator=generator, dtype=torch.float64)
    return unpack(packed, d)


def law(mixture: MixtureTensors) -> GaussianMixture:
    return GaussianMixture(*mixture)


def test_unpacking_is_the_inverse_of_packing() -> None:
    mixture = random_mixture(3)
    assert_same(unpack(law(mixture).packed(), 3), mixture, **CLOSE)


def test_linear_observations_update_as_kalman_does() -> None:
    """exp(-|z - H x|² / 2 r) is the precision Hᵀ H / r and the information Hᵀ z / r."""
    mixture = random_mixture(3)
    matrix, place = torch.randn(2, 3, 3, generator=seeded(1), dtype=torch.float64)
    matrix, r = matrix[:2], 0.3
    updated = law(multiplied(mixture, (matrix.mT @ matrix / r).expand(3, 3, 3), place[:, :2] @ matrix / r))
    expected, _ = law(mixture).update(matrix, r * torch.eye(2, dtype=torch.float64), place[:, :2])
    assert_same(updated.log_weights, expected.log_weights, **CLOSE)
    assert_same(updated.means, expected.means, **CLOSE)
    assert_same(updated.covariances, expected.covariances, **CLOSE)


def test_pseudo_observations_of_each_component_are_bayes_rule() -> None:
    """On a grid: component j times exp(-(v_j (x - m_j) / s_j - y_j)² / 2), normalised over all components."""
    mixture = random_mixture(1, k=3, batch=1)
    directions, places = torch.randn(2, 1, 3, 1, generator=seeded(2), dtype=torch.float64)
    updated = law(observe(mixture, directions[..., None], places))
    x = torch.linspace(-30, 30, 60001, dtype=torch.float64)[:, None]
    scale = mixture.scale_trils[0, :, 0, 0]
    each = torch.distributions.Normal(mixture.means[0, :, 0], scale).log_prob(x) + mixture.log_weights[0]
    seen = directions[0, :, 0] * (x - mixture.means[0, :, 0]) / scale - places[0, :, 0]
    density = (each - seen.square() / 2).logsumexp(-1)
    density = density - torch.logsumexp(density, 0) - (x[1, 0] - x[0, 0]).log()
    near = (x[:, 0].abs() < 6).nonzero()[:, 0]
    assert_same(updated.log_prob(x)[near], density[near], rtol=1e-5, atol=1e-5)


def test_pseudo_observations_reach_what_they_do_not_see_through_correlations() -> None:
    """Correlation r, the first number seen exactly, one deviation up: the second moves by r deviations."""
    r = 0.8
    covariance = torch.tensor([[4.0, 2 * r], [2 * r, 1.0]], dtype=torch.float64)
    zeros = torch.zeros(1, 1, 2, dtype=torch.float64)
    one = MixtureTensors(zeros[..., 0], zeros, torch.linalg.cholesky(covariance)[None, None])
    directions = torch.tensor([[1e4, 0.0], [0.0, 0.0]], dtype=torch.float64)[None, None]
    updated = observe(one, directions, torch.tensor([[[1e4, 0.0]]], dtype=torch.float64))
    assert_same(updated.means, torch.tensor([[[2.0, r]]], dtype=torch.float64), rtol=1e-6, atol=1e-6)
    deviations = (updated.scale_trils @ updated.scale_trils.mT).diagonal(dim1=-2, dim2=-1).sqrt()
    assert_same(deviations[..., 1], torch.tensor([[(1 - r**2) ** 0.5]], dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_corrections_are_in_units_of_each_component() -> None:
    mixture = random_mixture(2)
    zero = torch.zeros(3, 4, 2, dtype=torch.float64)
    same = correct(mixture, zero, zero, zero[..., :1], zero[..., :1])
    assert_same(same, mixture, **CLOSE)
    moved = correct(mixture, zero + 1, zero + 0.5, zero[..., :1] + 3, zero[..., :1])
    whitened = torch.linalg.solve_triangular(mixture.scale_trils, moved.scale_trils, upper=False)
    e = torch.tensor(0.5).double().exp()
    assert_same(whitened, torch.stack([e, 0 * e, 3 * e, e]).reshape(2, 2).expand(3, 4, 2, 2), **CLOSE)
    assert_same(moved.means, mixture.means + mixture.scale_trils.sum(-1), **CLOSE)
    heavier = correct(mixture, zero, zero, zero[..., :1], zero[..., :1] + torch.arange(4)[:, None])
    assert_same(heavier.log_weights, (mixture.log_weights + torch.arange(4)).log_softmax(-1), **CLOSE)


def test_overall_moments_and_rescaling() -> None:
    mixture = random_mixture(3)
    mean, std = overall(mixture)
    assert_same(mean[:, 0], law(mixture).mean, **CLOSE)
    assert_same(std[:, 0], law(mixture).stddev, **CLOSE)
    offset, factor = torch.randn(2, 3, generator=seeded(4), dtype=torch.float64)
    expected = law(mixture).affine(torch.diag(factor.abs()), offset)
    assert_same(law(rescaled(mixture, offset, factor.abs())).packed(), expected.packed(), **CLOSE)


def test_far_and_precise_observations_stay_finite() -> None:
    """Ten thousand deviations away, a million times as precise, float32."""
    mixture = MixtureTensors(*(part.float() for part in random_mixture(2)))
    directions = 1e3 * torch.eye(2).expand(3, 4, 2, 2)
    updated = observe(mixture, directions, torch.full((3, 4, 2), 1e7))
    parts: list[Tensor] = list(updated)
    assert all(part.isfinite().all() for part in parts)
    GaussianMixture(*updated)  # validates
