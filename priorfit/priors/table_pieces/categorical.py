"""Columns of numbers become columns of codes. Letters as in `piece`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.bins import draw_counts, encode, permutations, rank_thresholds
from priorfit.priors.table_pieces.piece import Piece, edit, pieces, whole_range, within
from priorfit.priors.table_pieces.raw import Raw

MOST = 100  # categories


@pieces.register("categorical")
class CategoricalColumns(Piece):
    """Columns cut at the values of random rows, so that every category occurs, and their codes 0, 1, 2, …

    Args:
        tables: see `Piece`.
        columns: see `Piece`.
        categories: their number: fixed, or [low, high] for a uniform draw per column.
        shuffled: probability that a column's codes are in random order, not in that of its values.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(
        self,
        tables: float = 0.2,
        columns: float = 1.0,
        categories: int | Sequence[int] = (2, 10),
        shuffled: float = 0.7,
    ) -> None:
        super().__init__(tables, columns)
        self.low, self.high = whole_range("categories", categories, 2, MOST)
        self.shuffled = within("shuffled", shuffled)

    def change(self, raw: Raw, chosen: Tensor, generator: Generator) -> Raw:
        """Cuts the chosen columns that are no codes yet."""
        chosen = chosen & ~raw.categorical
        raw = edit(raw, chosen, lambda columns: self.codes(columns, generator))
        return raw._replace(categorical=raw.categorical | chosen)

    def codes(self, columns: Tensor, generator: Generator) -> Tensor:
        """Codes of the values (P, N), float32."""
        count = draw_counts(len(columns), self.low, self.high, generator)
        rows = torch.full_like(count, columns.shape[1])
        thresholds = rank_thresholds(columns, count, rows, self.high, generator)
        ordered = torch.rand(len(columns), generator=generator, device=columns.device) >= self.shuffled
        names = permutations(count, self.high, ordered, generator)
        return names.gather(1, encode(columns, thresholds)).float()
