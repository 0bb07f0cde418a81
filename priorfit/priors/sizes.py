"""How large the tasks of a batch are: points, features, and the split into context and queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator

from priorfit.registry import closest

SPLITS = ("weighted", "uniform", "log_uniform", "prefix")


class Drawn(NamedTuple):
    """The sizes of one batch."""

    n_context: int
    n_query: int
    n_features: int


class Sizes:
    """The law of a batch's sizes; all tasks of one batch share them.

    Args:
        points: N, context and queries together; a number, or [low, high] for a draw.
        features: F; a number, or [low, high].
        context: n. "weighted" draws it from 0 … N - 1 with weight 1 / (N - n), which gives every context
            length the same number of scored queries (Müller et al. 2022, released code); "uniform" gives each
            length the same weight; "log_uniform" gives n a weight of 1 / (n + 1), as small contexts are where
            posteriors change most from row to row; "prefix" draws it uniformly and makes the context the n
            points that come first along the first feature; a number fixes it.
        queries: at most this many queries per task, however many points are left: further queries of one task
            say little that is new, and cost as much as the first. None keeps all.
        ordered: the context is what comes first along the first feature, also where its length is a number.
        points_law: "uniform", or "log_uniform" for as many small tasks as large ones on a scale of ratios.
        features_law: likewise.
        cells: at most so many points × features: points are cut to cells // features, but never below their `low`.

    Raises:
        ValueError: impossible sizes or an unknown split.
    """

    def __init__(
        self,
        points: int | Sequence[int],
        features: int | Sequence[int] = 1,
        context: int | str = "weighted",
        queries: int | None = None,
        ordered: bool = False,
        points_law: str = "uniform",
        features_law: str = "uniform",
        cells: int | None = None,
    ) -> None:
        self.points = whole_range("points", points, 1)
        self.features = whole_range("features", features, 1)
        if isinstance(context, str) and context not in SPLITS:
            raise ValueError(f"Unknown split '{context}': {closest(context, SPLITS)} Or give a number.")
        if not isinstance(context, int | str):
            raise ValueError(f"context must be a whole number or a split, not {context!r}.")
        if isinstance(context, int) and not 0 <= context < self.points[0]:
            raise ValueError(
                f"context={context} leaves no query: it must be at least 0 and below points={self.points[0]}."
            )
        if queries is not None and not (isinstance(queries, int) and queries >= 1):
            raise ValueError(f"queries must be a whole number >= 1, or None for no limit; got {queries!r}.")
        if cells is not None and not (isinstance(cells, int) and cells >= 1):
            raise ValueError(f"cells must be a whole number >= 1, or None for no limit; got {cells!r}.")
        for name, law in (("points_law", points_law), ("features_law", features_law)):
            if law not in LAWS:
                raise ValueError(f"{name} must be {' or '.join(LAWS)}, not {law!r}.")
        self.points_law, self.features_law, self.cells = points_law, features_law, cells
        self.context, self.queries = context, queries
        self.ordered = ordered or context == "prefix"

    def draw(self, generator: Generator) -> Drawn:
        """Draws the sizes of one batch."""
        n_points = LAWS[self.points_law](*self.points, generator)
        n_features = LAWS[self.features_law](*self.features, generator)
        if self.cells is not None:
            n_points = min(n_points, max(self.points[0], self.cells // n_features))
        if not isinstance(self.context, str):
            n_context = self.context
        elif self.context in ("weighted", "log_uniform"):
            weights = 1 / torch.arange(1, n_points + 1, dtype=torch.float64, device=generator.device)
            weights = weights.flip(0) if self.context == "weighted" else weights
            n_context = int(torch.multinomial(weights, 1, generator=generator))
        else:
            n_context = _integer(0, n_points - 1, generator)
        n_query = n_points - n_context
        return Drawn(n_context, min(n_query, self.queries or n_query), n_features)


def whole_range(name: str, value: Any, minimum: int) -> tuple[int, int]:
    """A number as a range of one."""
    low, high = (value, value) if not isinstance(value, Sequence) or len(value) != 2 else value
    if not (isinstance(low, int) and isinstance(high, int) and minimum <= low <= high):
        raise ValueError(f"{name} must be a whole number >= {minimum}, or [low, high] of such; got {value!r}.")
    return low, high


def _integer(low: int, high: int, generator: Generator) -> int:
    """A whole number, uniform on low … high."""
    return int(torch.randint(low, high + 1, (), generator=generator, device=generator.device))


def _log_integer(low: int, high: int, generator: Generator) -> int:
    """A whole number whose logarithm is uniform, rounded down, on low … high."""
    level = float(torch.rand((), generator=generator, dtype=torch.float64, device=generator.device))
    return min(int(low * ((high + 1) / low) ** level), high)


LAWS: dict[str, Callable[[int, int, Generator], int]] = {"uniform": _integer, "log_uniform": _log_integer}
