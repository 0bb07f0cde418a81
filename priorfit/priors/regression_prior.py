"""What every prior over functions shares: its sizes and its inputs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Generator, Tensor

from priorfit.priors.base import Prior
from priorfit.priors.sizes import Sizes
from priorfit.registry import closest

INPUTS = ("uniform", "normal")
LARGEST_SAMPLED = 50  # of the default context sizes where the reference is sampled: its cost grows as n³


class RegressionPrior(Prior):
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
        try:
            self.sizes = Sizes(**sizes)
        except TypeError as error:
            raise ValueError(f"sizes takes points, features, context, queries and ordered: {error}") from None
        self.inputs = inputs

    def with_sizes(self, **changes: Any) -> Self:
        """This prior with some of the arguments of `Sizes` changed."""
        return self.replace(sizes={**self.arguments["sizes"], **changes})

    def with_context(self, n_context: int, n_query: int) -> Self:
        """This prior with every task fixed to `n_context` context rows and `n_query` queries."""
        sizes = {"points": n_context + n_query, "context": n_context, "queries": None}
        return self.with_sizes(**sizes, ordered=self.sizes.ordered)

    def context_sizes(self) -> list[int]:
        """0, 1, 2, 5, 10, 20, 50, … below the largest task, or the one fixed context size."""
        if isinstance(self.sizes.context, int):
            return [self.sizes.context]
        largest = self.sizes.points[1] - 1
        if self.reference not in ("exact", None):
            largest = min(largest, LARGEST_SAMPLED)
        steps = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
        return [0, *itertools.takewhile(lambda n: n <= largest, steps)]

    def draw_inputs(self, shape: tuple[int, int, int], generator: Generator) -> Tensor:
        """Inputs of the given shape (B, N, F), float32."""
        draw = torch.rand if self.inputs == "uniform" else torch.randn
        x = draw(shape, generator=generator, device=generator.device)
        if self.sizes.ordered:
            x = x.gather(1, x[..., :1].argsort(1).expand_as(x))
        return x
