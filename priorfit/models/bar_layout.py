"""Buckets for targets in units of a standard deviation that is predicted elsewhere.

Letters: K buckets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FAR = 400.0  # where the outer borders are, in predictive standard deviations
FINE = 1.5  # borders are about evenly spaced up to here, and exponentially beyond


def wide_borders(n_buckets: int) -> Tensor:
    """Borders (K + 1,) that are fine where a standardised target is expected, and reach far beyond."""
    end = math.asinh(FAR / FINE)
    return FINE * torch.linspace(-end, end, n_buckets + 1).sinh()


def student_masses(borders: Tensor) -> Tensor:
    """Masses of the buckets under Student's t with 2 degrees of freedom, whose cdf is elementary, (K,)."""
    z = borders.double()
    cdf = (1 + z / (2 + z.square()).sqrt()) / 2
    cdf[0], cdf[-1] = 0, 1
    return cdf.diff().float()
