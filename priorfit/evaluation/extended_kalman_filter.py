"""The extended Kalman filter: a Gaussian belief, and observations linearised at its mean.

Letters: S series, t steps, d dimensions of the state, m numbers observed per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

JITTER = 1e-9  # on variances, where the state's law is degenerate


class Measured(NamedTuple):
    """The law of an observation near states (S, d), as far as its first two moments go.

    Attributes:
        mean: at those states, (S, m).
        jacobian: derivative of the mean, (S, m, d).
        covariance: at those states, (S, m, m).
    """

    mean: Tensor
    jacobian: Tensor
    covariance: Tensor


@torch.inference_mode()
def extended_kalman_filter(
    initial: MultivariateNormal,
    observations: Tensor,
    measure: Callable[[Tensor], Measured],
    transition_matrix: Tensor,
    process_noise: Tensor,
    angles: Tensor,
) -> MultivariateNormal:
    """Of each step a Gaussian belief of the state given all observations up to then, batch shape (S, t), float64.

    Args:
        initial: the law of the first state before it is observed, batch shape ().
        observations: (S, t, m); the first is of the first state.
        measure: moments of an observation at states (S, d), float64.
        transition_matrix: A, (d, d), of the dynamics x' = A x + q.
        process_noise: covariance of q, (d, d), added once per step.
        angles: which of the numbers observed are angles, (m,), bool: their innovations are taken to [-π, π).
    """
    transition_matrix, process_noise = transition_matrix.double(), process_noise.double()
    n_series, eye = len(observations), torch.eye(len(process_noise)).to(process_noise)
    mean = initial.mean.double().expand(n_series, -1)
    covariance = initial.covariance_matrix.double().expand(n_series, -1, -1)
    means, covariances = [], []
    for seen in observations.double().unbind(1):
        if means:
            mean = mean @ transition_matrix.T
            covariance = transition_matrix @ covariance @ transition_matrix.T + process_noise
        there = measure(mean)
        innovation = seen - there.mean
        wrapped = (innovation + math.pi).remainder(2 * math.pi) - math.pi
        innovation = torch.where(angles, wrapped, innovation)  # (S, m)
        cross = there.jacobian @ covariance  # (S, m, d)
        gain = torch.linalg.solve(cross @ there.jacobian.mT + there.covariance, cross).mT  # (S, d, m)
        mean = mean + (gain @ innovation[..., None])[..., 0]
        kept = eye - gain @ there.jacobian
        covariance = kept @ covariance @ kept.mT + gain @ there.covariance @ gain.mT  # Joseph: stays positive
        means.append(mean)
        covariances.append(covariance)
    return MultivariateNormal(torch.stack(means, 1), torch.stack(covariances, 1) + JITTER * eye)
