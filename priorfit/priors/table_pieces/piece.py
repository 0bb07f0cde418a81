"""What is done to the features of a table: pieces that can be put together, each from plain numbers.

Letters: B tasks, N rows, F features, P columns that a piece acts on, of all tasks together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.raw import Raw
from priorfit.registry import Registered, Registry


class Piece(Registered, ABC):
    """Something that happens to some columns of some tables.

    Args:
        tables: probability that it happens to a table at all.
        columns: in such a table, each column is affected with a probability that is uniform on 0 … `columns`.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, tables: float, columns: float) -> None:
        self.tables, self.columns = within("tables", tables), within("columns", columns)

    def __call__(self, raw: Raw, generator: Generator) -> Raw:
        """The table after this has happened to it; rows keep their order."""
        return self.change(raw, self.choose(raw, generator), generator)

    @abstractmethod
    def change(self, raw: Raw, chosen: Tensor, generator: Generator) -> Raw:
        """Acts on the `chosen` columns, (B, F) bool."""

    def choose(self, raw: Raw, generator: Generator) -> Tensor:
        """The columns to act on, (B, F) bool."""
        batch_size, n_features = raw.categorical.shape
        draws = torch.rand(batch_size, n_features + 2, generator=generator, device=generator.device)
        return (draws[:, :1] < self.tables) & (draws[:, 2:] < self.columns * draws[:, 1:2])


pieces: Registry[Piece] = Registry("piece")


def edit(raw: Raw, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Raw:
    """The table with its chosen columns, as rows of a matrix (P, N), changed."""
    columns = raw.x.mT.clone()  # (B, F, N)
    columns[chosen] = change(columns[chosen])
    return raw._replace(x=columns.mT)


def within(name: str, value: Any, low: float = 0, high: float = 1) -> float:
    """Returns a number from `low` to `high`.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low} to {high}, not {value!r}.")
    return value


def whole_range(name: str, value: Any, low: int, high: int) -> tuple[int, int]:
    """A whole number, or [low, high] of such, as a range.

    Raises:
        ValueError: it is none, or not within `low` and `high`.
    """
    first, last = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
    if not (isinstance(first, int) and isinstance(last, int) and low <= first <= last <= high):
        raise ValueError(f"{name} must be a whole number from {low} to {high}, or [low, high] of such; got {value!r}.")
    return first, last
