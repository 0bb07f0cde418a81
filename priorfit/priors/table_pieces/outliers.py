"""Values far from the others. Letters as in `piece`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.piece import Piece, edit, pieces, within
from priorfit.priors.table_pieces.raw import Raw


@pieces.register("outliers")
class Outliers(Piece):
    """Values of columns of numbers moved away from their column's mean: x becomes mean + (x - mean) exp(|s e|).

    Args:
        tables: see `Piece`.
        columns: see `Piece`.
        rate: the share that is moved is uniform on 0 … `rate` in each affected column.
        strength: s; e ~ N(0, 1).

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, tables: float = 0.1, columns: float = 0.5, rate: float = 0.05, strength: float = 1.5) -> None:
        super().__init__(tables, columns)
        self.rate, self.strength = within("rate", rate), within("strength", strength, high=5)

    def change(self, raw: Raw, chosen: Tensor, generator: Generator) -> Raw:
        """Moves values of the chosen columns that are no codes."""
        return edit(raw, chosen & ~raw.categorical, lambda columns: self.moved(columns, generator))

    def moved(self, columns: Tensor, generator: Generator) -> Tensor:
        """Some of the values (P, N) moved."""
        options = {"generator": generator, "device": columns.device}
        rate = self.rate * torch.rand(len(columns), 1, **options)
        some = torch.rand(columns.shape, **options) < rate
        factor = (self.strength * torch.randn(columns.shape, **options).abs()).exp()
        mean = columns.mean(1, keepdim=True)
        return torch.where(some, mean + (columns - mean) * factor, columns)
