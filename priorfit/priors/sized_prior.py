"""What every prior whose tasks are rows shares: how many of them there are, and the split into context and queries."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Self

from priorfit.priors.base import Prior
from priorfit.priors.sizes import Sizes

LARGEST_SAMPLED = 50  # of the default context sizes where the reference is sampled: its cost grows as n³


class SizedPrior(Prior):
    """A prior over tasks of rows, with `sizes` among its constructor arguments.

    Args:
        sizes: arguments of `Sizes`.

    Raises:
        ValueError: impossible sizes.
    """

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        try:
            self.sizes = Sizes(**sizes)
        except TypeError as error:
            raise ValueError(f"sizes takes the arguments of Sizes: {error}") from None

    def with_sizes(self, **changes: Any) -> Self:
        """This prior with some of the arguments of `Sizes` changed."""
        return self.replace(sizes={**self.arguments["sizes"], **changes})

    def with_context(self, n_context: int, n_query: int) -> Self:
        """This prior with every task fixed to `n_context` context rows and `n_query` queries."""
        sizes = {"points": n_context + n_query, "context": n_context, "queries": None}
        return self.with_sizes(**sizes, ordered=self.sizes.ordered)

    def larger_contexts(self) -> list[int]:
        """Twice the largest context; none where the reference is sampled, as its cost grows as n³."""
        if self.reference not in ("exact", None):
            return []
        return [2 * (self.sizes.context if isinstance(self.sizes.context, int) else self.sizes.points[1])]

    def context_sizes(self) -> list[int]:
        """0, 1, 2, 5, 10, 20, 50, … below the largest task, or the one fixed context size."""
        if isinstance(self.sizes.context, int):
            return [self.sizes.context]
        largest = self.sizes.points[1] - 1
        if self.reference not in ("exact", None):
            largest = min(largest, LARGEST_SAMPLED)
        steps = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
        return [0, *itertools.takewhile(lambda n: n <= largest, steps)]
