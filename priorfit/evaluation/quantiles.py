"""Quantiles of any distribution that has an icdf or a cdf."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

DOUBLINGS, HALVINGS = 60, 60


def quantile(distribution: Distribution, level: float) -> Tensor:
    """The quantile at `level`, in (0, 1), of each element of a batch of scalar distributions, batch shape.

    Raises:
        NotImplementedError: the distribution has neither an icdf nor a cdf (or, with only a cdf, no mean).
    """
    try:
        return distribution.icdf(torch.full_like(distribution.mean, level))
    except NotImplementedError:
        return _bisect(distribution, level)


def _bisect(distribution: Distribution, level: float) -> Tensor:
    """Inverts the cdf by bisection between bounds that are moved away from the mean until they hold it."""
    low, high, step = distribution.mean, distribution.mean, distribution.stddev.clamp(min=1e-12)
    for _ in range(DOUBLINGS):
        low = torch.where(distribution.cdf(low) > level, low - step, low)
        high = torch.where(distribution.cdf(high) < level, high + step, high)
        step = 2 * step
        if ((distribution.cdf(low) <= level) & (distribution.cdf(high) >= level)).all():
            break
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = distribution.cdf(middle) > level
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2
