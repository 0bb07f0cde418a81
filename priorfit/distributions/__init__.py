"""Distributions that torch lacks; every one is a batched `torch.distributions.Distribution`."""

from priorfit.distributions.bar import BarDistribution
from priorfit.distributions.classes import ClassDistribution
from priorfit.distributions.gaussian_mixture import GaussianMixture
from priorfit.distributions.grid_law import GridLaw
from priorfit.distributions.rate_law import RateLaw
from priorfit.distributions.scalar_event import ScalarEvent
from priorfit.distributions.transformed_mixture import TransformedMixture
from priorfit.distributions.weighted_points import WeightedPoints

__all__ = [
    "BarDistribution",
    "ClassDistribution",
    "GaussianMixture",
    "GridLaw",
    "RateLaw",
    "ScalarEvent",
    "TransformedMixture",
    "WeightedPoints",
]
