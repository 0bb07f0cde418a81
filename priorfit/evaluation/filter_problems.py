"""The filtering problems whose updates priors draw: how their states move, and what an extended Kalman filter needs.

Letters: S series, t steps, N rows per step, D numbers per row, d dimensions of the state.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from priorfit.distributions import GaussianMixture
from priorfit.evaluation.extended_kalman_filter import Measured, extended_kalman_filter
from priorfit.evaluation.state_space import StateSpace
from priorfit.priors import FactorVolatility, Prior, RangeBearing
from priorfit.priors import factor_volatility as volatility
from priorfit.priors import range_bearing as tracking
from priorfit.priors import range_bearing_sensors as sensors
from priorfit.sources import unpack


def state_space(prior: Prior) -> StateSpace:
    """The dynamics that go with the observations of a prior, and the law of the first state.

    Raises:
        ValueError: a prior without dynamics.
    """
    if isinstance(prior, RangeBearing):
        initial = gaussian(tracking.INITIAL_MEAN, tracking.INITIAL_COVARIANCE)
        return StateSpace(prior, tracking.TRANSITION, tracking.PROCESS_NOISE, initial, n_rows=2)
    if isinstance(prior, FactorVolatility):
        d = prior.loadings.shape[1]
        initial = gaussian(torch.zeros(d), torch.eye(d))
        return StateSpace(prior, volatility.transition(d), volatility.process_noise(d), initial, n_rows=1)
    raise ValueError(
        f"Filters are for the priors 'range_bearing' and 'factor_volatility', not for '{prior.registered_name}'."
    )


def gaussian(mean: Tensor, covariance: Tensor) -> GaussianMixture:
    """A mixture of one component."""
    return GaussianMixture.from_moments(torch.ones(1), mean[None], covariance[None])


def extended_kalman_belief(prior: RangeBearing, rows: Tensor) -> MultivariateNormal:
    """Beliefs of the extended Kalman filter about positions and velocities, batch shape (S, t).

    Args:
        prior: tells the sensors.
        rows: a range and a bearing at each step, (S, t, 2, D).
    """
    seen = unpack(sensors.SOURCES, rows.flatten(0, 1)).values()  # by source: values (S t, 2, 1), indicators (S t, 2)
    values = torch.stack([(value[..., 0] * here).sum(1) for value, here in seen], -1).unflatten(0, rows.shape[:2])
    initial = MultivariateNormal(tracking.INITIAL_MEAN, tracking.INITIAL_COVARIANCE)
    measure, angles = partial(range_bearing_moments, limit=prior.limit), torch.tensor([False, True])
    return extended_kalman_filter(initial, values, measure, tracking.TRANSITION, tracking.PROCESS_NOISE, angles)


def range_bearing_moments(states: Tensor, limit: float) -> Measured:
    """Mean, its derivative, and covariance of range and bearing at states (S, 4).

    Those of the range are of its whole mixture before it is clipped: with r the distance and s = 0.1 (r + 1), its mean
    is 0.7 r + 0.2 + 0.1 limit / 2 and its second moment 0.7 (r² + s²) + 0.2 · 2 + 0.1 limit² / 3.
    """
    first, second = (states[:, dim] for dim in tracking.POSITIONS)
    distance = torch.hypot(first, second).clamp(min=1e-6)
    spread = sensors.RELATIVE_NOISE * (distance + 1)
    mean = sensors.HIT * distance + sensors.EARLY + sensors.ANYWHERE * limit / 2
    square = sensors.HIT * (distance.square() + spread.square()) + 2 * sensors.EARLY + sensors.ANYWHERE * limit**2 / 3
    jacobian = states.new_zeros(len(states), 2, states.shape[1])
    for dim, along, across in zip(tracking.POSITIONS, (first, second), (second, -first), strict=True):
        jacobian[:, 0, dim] = sensors.HIT * along / distance
        jacobian[:, 1, dim] = across / distance.square()
    variances = torch.stack([square - mean.square(), torch.full_like(mean, sensors.BEARING_NOISE**2)], -1)
    return Measured(torch.stack([mean, sensors.bearing(first, second)], -1), jacobian, torch.diag_embed(variances))
