"""Distributions that torch lacks; every one is a batched `torch.distributions.Distribution`."""

from priorfit.distributions.bar import BarDistribution

__all__ = ["BarDistribution"]
