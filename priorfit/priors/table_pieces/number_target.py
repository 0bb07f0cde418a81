"""Targets that are numbers. Letters as in `target`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from priorfit.priors.table_pieces.target import Labels, Target, Values, targets


@targets.register("number")
class NumberTarget(Target):
    """A number to predict.

    Args:
        noise: see `Target`.
        warp: see `Target`.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, noise: float | Mapping[str, Any] | None = None, warp: float = 0.0) -> None:
        super().__init__(noise, warp)

    def label(self, values: Values, count: Tensor, n_context: int, generator: Generator) -> Labels:
        """The noisy values themselves."""
        mean, sd = values.clean[:, n_context:], values.sd
        parameters = None if sd is None else torch.stack([mean, sd.expand_as(mean)], -1)
        return Labels(values.noisy, count, torch.zeros_like(count, dtype=torch.bool), parameters)

    def law(self, parameters: Tensor) -> Normal:
        """Normal; where a table has no noise, its law is as narrow as a float allows."""
        mean, sd = parameters.unbind(-1)
        return Normal(mean, sd.clamp(min=1e-6), validate_args=False)
