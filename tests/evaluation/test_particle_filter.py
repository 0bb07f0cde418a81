"""Particle filters against the Kalman filter, and their pieces against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

from priorfit.distributions import GaussianMixture
from priorfit.evaluation.kalman_filter import kalman_filter
from priorfit.evaluation.particle_filter import particle_clouds, particle_filter, resample, weighted_scores
from priorfit.evaluation.state_space import StateSpace
from tests.cases import assert_mean, seeded

A = torch.tensor([[1.0, 0.5], [0.0, 0.9]])
Q = torch.tensor([[0.01, 0.02], [0.02, 0.04]])  # of rank one
OFFSET = torch.tensor([0.1, -0.2])
H, R = torch.tensor([[1.0, 0.3]]), torch.tensor([[0.5]])


class LinearSensors:
    """z = H x + e."""

    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        noise = torch.randn(len(latents), n_rows, 1, generator=generator)
        return (latents @ H.T)[:, None] + R.sqrt() * noise

    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        difference = rows[:, None, :, 0] - latents @ H.T  # (S, P, N)
        return -0.5 * (difference.square() / R).sum(-1)


def linear_space() -> StateSpace:
    initial = GaussianMixture.from_moments(
        torch.tensor([0.3, 0.7]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.eye(2).expand(2, 2, 2)
    )
    return StateSpace(LinearSensors(), A, Q, initial, n_rows=1, offset=OFFSET)


def test_simulated_series_follow_the_dynamics() -> None:
    space = linear_space()
    states, rows = space.simulate(20_000, 3, seeded(0))
    assert states.shape == (20_000, 3, 2)
    assert rows.shape == (20_000, 3, 1, 1)
    noise = (states[:, 1:] - states[:, :-1] @ A.T - OFFSET).flatten(0, 1)
    torch.testing.assert_close(noise.T.cov(), Q, rtol=0.03, atol=1e-4)
    torch.testing.assert_close(2 * noise[:, 0], noise[:, 1], rtol=0, atol=1e-5)  # of rank one
    error = (rows[..., 0] - states @ H.T).flatten()
    assert_mean(error.square(), 0.5)
    assert abs(np.corrcoef(error[:-1], error[1:])[0, 1]) < 0.02
    assert_mean(states[:, 0, 0], 0.4)
    with pytest.raises(ValueError, match="at least one step"):
        space.simulate(1, 0, seeded(0))


def test_particles_find_what_the_kalman_filter_finds() -> None:
    space = linear_space()
    states, rows = space.simulate(30, 15, seeded(1))
    beliefs = kalman_filter(space.initial.expand(torch.Size([30])), rows[:, :, 0], H, R, A, Q, OFFSET)
    clouds = particle_clouds(space, rows, 10_000, seeded(2))
    for belief, (particles, weights) in zip(beliefs, clouds, strict=True):
        mean = (weights[..., None] * particles).sum(1)
        spread = (weights[..., None] * (particles - mean[:, None]).square()).sum(1).sqrt()
        for found, exact in ((mean, belief.mean), (spread, belief.stddev)):
            error = (found - exact).abs().flatten()
            assert error.quantile(0.9) < 0.03
            assert error.max() < 0.2  # few particles explain what is seen of an unlikely state
    exact = torch.stack([belief.log_prob(state) for belief, state in zip(beliefs, states.unbind(1), strict=True)], 1)
    scores = particle_filter(space, rows, states, 10_000, seeded(3))
    for found in (scores.kernel, scores.moments):
        assert found.shape == (30, 15)
        assert abs(float((found - exact).mean())) < 0.03
        assert float((found - exact).abs().quantile(0.9)) < 0.25
    assert (scores.effective > 100).all()


def test_series_that_do_not_fit_into_memory_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    space = linear_space()
    states, rows = space.simulate(7, 4, seeded(1))
    monkeypatch.setattr("priorfit.evaluation.particle_filter.AT_ONCE", 6000)
    split = particle_filter(space, rows, states, 3000, seeded(2))
    monkeypatch.undo()
    whole = particle_filter(space, rows, states, 3000, seeded(2))
    assert split.kernel.shape == (7, 4)
    assert (split.moments - whole.moments).abs().median() < 0.1
    assert (split.moments[0] - split.moments[1:]).abs().median() > 0.3  # every series has its own scores


def test_the_kernel_estimate_is_scipys_and_moments_are_gaussian() -> None:
    particles = torch.randn(2, 50, 3, generator=seeded(4), dtype=torch.float64)
    weights = torch.rand(2, 50, generator=seeded(5), dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)
    states = torch.randn(2, 3, generator=seeded(6), dtype=torch.float64)
    scores = weighted_scores(particles, weights, states)
    for index in range(2):
        kernels = stats.gaussian_kde(particles[index].T.numpy(), weights=weights[index].numpy())
        assert scores.kernel[index].item() == pytest.approx(kernels.logpdf(states[index].numpy())[0], abs=1e-5)
        covariance = np.cov(particles[index].T, aweights=weights[index], ddof=0)
        mean = weights[index] @ particles[index]
        expected = stats.multivariate_normal(mean, covariance).logpdf(states[index])
        assert scores.moments[index].item() == pytest.approx(expected, abs=1e-5)
        assert scores.effective[index].item() == pytest.approx(kernels.neff)


def test_all_weight_on_one_particle_gives_a_number() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0]])
    scores = weighted_scores(torch.randn(1, 3, 2, generator=seeded(7)), weights, torch.zeros(1, 2))
    assert all(part.isfinite().all() for part in scores)
    assert scores.effective.item() == 1
    assert scores.kernel.item() < -1000


def test_systematic_resampling_keeps_every_weight_to_one_particle() -> None:
    weights = torch.rand(3, 100, generator=seeded(8), dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)
    labels = torch.arange(100.0).expand(3, 100)[..., None]
    chosen = resample(labels, weights, seeded(9))[..., 0]
    counts = torch.stack([row.long().bincount(minlength=100) for row in chosen])
    assert ((counts - 100 * weights).abs() < 1).all()
    one = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    assert (resample(torch.arange(3.0)[None, :, None], one, seeded(1)) == 1).all()


def test_the_kalman_filter_of_one_gaussian_is_the_joint_gaussian() -> None:
    initial = GaussianMixture.from_moments(torch.ones(1, 1), torch.zeros(1, 1, 2), torch.eye(2).expand(1, 1, 2, 2))
    seen = torch.tensor([[[0.5], [1.2], [-0.3]]])
    (last,) = kalman_filter(initial, seen, H, R, A, Q)[-1:]
    # All states and observations are jointly Gaussian: condition the last state on the observations.
    a, q, h = A.double(), Q.double(), H.double()
    powers = [torch.linalg.matrix_power(a, n) for n in range(3)]
    covariances = [torch.eye(2, dtype=torch.float64)]
    for _ in range(2):
        covariances.append(a @ covariances[-1] @ a.T + q)
    joint = torch.zeros(3, 3, dtype=torch.float64)
    cross = torch.zeros(2, 3, dtype=torch.float64)
    for i in range(3):
        cross[:, i] = (powers[2 - i] @ covariances[i] @ h.T)[:, 0]
        for j in range(i + 1):
            joint[i, j] = joint[j, i] = (h @ powers[i - j] @ covariances[j] @ h.T)[0, 0]
    gain = torch.linalg.solve(joint + 0.5 * torch.eye(3), cross.T).T
    expected = MultivariateNormal(gain @ seen[0, :, 0].double(), covariances[2] - gain @ cross.T)
    torch.testing.assert_close(last.mean[0].double(), expected.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last.covariance_matrix[0].double(), expected.covariance_matrix, rtol=1e-3, atol=1e-5)
