"""The exact filter where dynamics and observations are linear with Gaussian noise, for mixtures of Gaussians.

Letters: S series, t steps, k components, d dimensions of the state, m of an observation.
"""

from __future__ import annotations

from torch import Tensor

from priorfit.distributions import GaussianMixture


def kalman_filter(
    prior: GaussianMixture,
    observations: Tensor,
    observation_matrix: Tensor,
    observation_noise: Tensor,
    transition_matrix: Tensor,
    process_noise: Tensor,
    offset: Tensor | None = None,
) -> list[GaussianMixture]:
    """Of each step the law of the state given all observations up to then: z = H x + e, x' = A x + c + q.

    Every component is a Kalman filter of its own, and its weight follows its evidence.

    Args:
        prior: the law of the first state before it is observed, batch shape (S,).
        observations: z, (S, t, m); the first is of the first state.
        observation_matrix: H, (m, d).
        observation_noise: covariance of e, (m, m).
        transition_matrix: A, (d, d).
        process_noise: covariance of q, (d, d), which may be singular.
        offset: c, (d,).

    Source: Alspach, Sorenson 1972, "Nonlinear Bayesian estimation using Gaussian sum approximations".
    """
    beliefs: list[GaussianMixture] = []
    for step, seen in enumerate(observations.unbind(1)):
        if step:
            prior = beliefs[-1].affine(transition_matrix, offset, process_noise)
        beliefs.append(prior.update(observation_matrix, observation_noise, seen)[0])
    return beliefs
