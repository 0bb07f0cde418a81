"""Random monotone maps of a column's range. Letters as in `piece`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.piece import Piece, edit, pieces, within
from priorfit.priors.table_pieces.raw import Raw


@pieces.register("warp")
class Warp(Piece):
    """Columns of numbers bent by a random Kumaraswamy distribution function, on the range of their values.

    F(u) = 1 - (1 - u^a)^b with log a, log b ~ N(0, strength²), u = 0 at the least and 1 at the largest value of all
    rows; the range stays (Hollmann et al. 2025, "Accurate predictions on small data with a tabular foundation
    model").

    Args:
        tables: see `Piece`.
        columns: see `Piece`.
        strength: standard deviation of log a and log b.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, tables: float = 0.3, columns: float = 1.0, strength: float = 0.5) -> None:
        super().__init__(tables, columns)
        self.strength = within("strength", strength, high=3)

    def change(self, raw: Raw, chosen: Tensor, generator: Generator) -> Raw:
        """Bends the chosen columns that are no codes."""
        return edit(raw, chosen & ~raw.categorical, lambda columns: kumaraswamy(columns, generator, self.strength))


def kumaraswamy(values: Tensor, generator: Generator, strength: float = 0.5) -> Tensor:
    """Each row of (P, N), bent with its own a and b; see `Warp`."""
    shape = (2, len(values), 1)
    a, b = (strength * torch.randn(shape, generator=generator, device=values.device)).exp()
    low, high = values.aminmax(dim=1, keepdim=True)
    width = high - low
    u = ((values - low) / torch.where(width > 0, width, 1.0)).clamp(0, 1)
    return low + width * -torch.expm1(b * torch.log1p(-(u**a)))
