"""Distributions that torch lacks; every one is a batched `torch.distributions.Distribution`."""

from priorfit.distributions.bar import BarDistribution
from priorfit.distributions.classes import ClassDistribution

__all__ = ["BarDistribution", "ClassDistribution"]
