"""What every prior over functions shares: its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.priors.sized_prior import SizedPrior
from priorfit.registry import closest

INPUTS = ("uniform", "normal")


class RegressionPrior(SizedPrior):
    """A prior over functions, observed at random inputs.

    Args:
        sizes: arguments of `Sizes`.
        inputs: the law of the inputs, independent over rows and features: "uniform" on [0, 1] or standard
            "normal".

    Raises:
        ValueError: impossible sizes, or an unknown law of the inputs.
    """

    def __init__(self, sizes: Mapping[str, Any], inputs: str = "uniform") -> None:
        if inputs not in INPUTS:
            raise ValueError(f"Unknown law of inputs '{inputs}': {closest(inputs, INPUTS)}")
        super().__init__(sizes)
        self.inputs = inputs

    def draw_inputs(self, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Inputs of the given shape (B, N, F), float32."""
        draw = torch.rand if self.inputs == "uniform" else torch.randn
        x = draw(shape, generator=generator, device=generator.device)
        if self.sizes.ordered:
            x = x.gather(1, x[..., :1].argsort(1).expand_as(x))
        return x
