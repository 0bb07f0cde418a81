"""The bootstrap particle filter, the yardstick of filters without a closed form.

Letters: S series, t steps, P particles, d dimensions of the state, N rows per step, D numbers per row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

from priorfit.evaluation.state_space import StateSpace

AT_ONCE = 2**21  # particles in memory
JITTER = 1e-8  # on variances: all weight may lie on one particle


class ParticleScores(NamedTuple):
    """What particles say of the true states, (S, t) each.

    Attributes:
        kernel: log density by a kernel estimate, nats.
        moments: log density of the Gaussian with the particles' mean and covariance, nats.
        effective: effective number of particles, 1 / Σ w².
    """

    kernel: Tensor
    moments: Tensor
    effective: Tensor


@torch.inference_mode()
def particle_filter(
    space: StateSpace, rows: Tensor, states: Tensor, n_particles: int, generator: Generator
) -> ParticleScores:
    """Filters series and scores the true state of each step given the observations up to then.

    Particles move by the dynamics, are weighted by the likelihood, scored while weighted, and resampled at every
    step (systematic resampling).

    Args:
        space: dynamics, likelihood and the law of the first state.
        rows: observations, (S, t, N, D).
        states: the true states, (S, t, d).
        n_particles: P, per series.
        generator: draws everything.

    Source: Gordon, Salmond, Smith 1993, "Novel approach to nonlinear/non-Gaussian Bayesian state estimation".
    """
    at_once, parts = max(1, AT_ONCE // n_particles), []
    for some_rows, some_states in zip(rows.split(at_once), states.split(at_once), strict=True):
        clouds = particle_clouds(space, some_rows, n_particles, generator)
        scores = [weighted_scores(*cloud, state) for cloud, state in zip(clouds, some_states.unbind(1), strict=True)]
        parts.append(ParticleScores(*(torch.stack(column, 1) for column in zip(*scores, strict=True))))
    return ParticleScores(*(torch.cat(column) for column in zip(*parts, strict=True)))


def particle_clouds(
    space: StateSpace, rows: Tensor, n_particles: int, generator: Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each step the particles (S, P, d), before they are resampled, and their weights (S, P), float64."""
    particles = space.initial.draw((len(rows), n_particles), generator)  # (S, P, d)
    for step, seen in enumerate(rows.unbind(1)):
        particles = space.move(particles, generator) if step else particles
        weights = space.sensors.log_likelihood(seen, particles).double().softmax(1)
        yield particles, weights
        particles = resample(particles, weights, generator)


def weighted_scores(particles: Tensor, weights: Tensor, state: Tensor) -> ParticleScores:
    """Scores of states (S, d) under particles (S, P, d) with weights (S, P), (S,) each."""
    moments = moment_belief(particles, weights).log_prob(state.double())
    return ParticleScores(kernel_log_density(particles, weights, state), moments, effective_number(weights))


def effective_number(weights: Tensor) -> Tensor:
    """1 / Σ w², (S,), float64."""
    return 1 / weights.double().square().sum(1)


def moment_belief(particles: Tensor, weights: Tensor) -> MultivariateNormal:
    """The Gaussian with the mean and covariance of weighted particles, batch shape (S,), float64."""
    particles, weights = particles.double(), weights.double()
    mean = (weights[..., None] * particles).sum(1)  # (S, d)
    centred = particles - mean[:, None]
    covariance = (weights[..., None] * centred).mT @ centred  # (S, d, d)
    jitter = JITTER * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    return MultivariateNormal(mean, covariance + jitter)


def kernel_log_density(particles: Tensor, weights: Tensor, state: Tensor) -> Tensor:
    """Log of a kernel estimate of the density at states (S, d), (S,), float64.

    It is Σ w N(x; particle, h² C), C the particles' covariance and h = n^(-1 / (d + 4)) with the effective number n:
    Scott's rule for weighted draws, as in `scipy.stats.gaussian_kde`.
    """
    effective, d = effective_number(weights), state.shape[-1]
    scale_tril = moment_belief(particles, weights).scale_tril
    unbiased = (1 - 1 / effective).clamp(min=0.01).rsqrt()
    scale_tril = scale_tril * (unbiased * effective.pow(-1 / (d + 4)))[:, None, None]
    whitened = torch.linalg.solve_triangular(scale_tril, (state[:, None] - particles).double().mT, upper=False)
    exponents = weights.double().log() - 0.5 * whitened.square().sum(1)  # (S, P)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return exponents.logsumexp(1) - log_det - d / 2 * math.log(2 * math.pi)


def resample(particles: Tensor, weights: Tensor, generator: Generator) -> Tensor:
    """Equally weighted particles (S, P, d) in place of ones with weights (S, P), by systematic resampling."""
    n_series, n_particles = weights.shape
    start = torch.rand(n_series, 1, generator=generator, device=weights.device, dtype=weights.dtype)
    places = (torch.arange(n_particles, device=weights.device) + start) / n_particles  # (S, P)
    chosen = torch.searchsorted(weights.cumsum(1), places).clamp(max=n_particles - 1)
    return particles.take_along_dim(chosen[..., None], 1)
