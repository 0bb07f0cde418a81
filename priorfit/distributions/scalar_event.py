"""A law of one number, seen as a law of vectors of length one."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent


class ScalarEvent(Independent):
    """The law of vectors (x,): batch shape (...), event shape (1,).

    Args:
        base: the law of x, batch shape (..., 1).

    Raises:
        ValueError: another batch shape, or a law of vectors.
    """

    def __init__(self, base: Distribution) -> None:
        if base.event_shape or base.batch_shape[-1:] != (1,):
            raise ValueError(f"The law must have batch shape (..., 1) and no event shape, not {base}.")
        super().__init__(base, 1, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> Self:
        """This law with a larger batch shape."""
        return type(self)(self.base_dist.expand(torch.Size((*batch_shape, 1))))

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value) at value (..., 1): (...)."""
        return self.base_dist.cdf(value)[..., 0]

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles (..., 1) at levels (...)."""
        return self.base_dist.icdf(value[..., None])
