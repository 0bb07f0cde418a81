"""Long tails shortened. Letters as in `piece`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.piece import Piece, edit, pieces, within
from priorfit.priors.table_pieces.raw import Raw


@pieces.register("soft_clip")
class SoftClip(Piece):
    """Columns of numbers with logarithmic tails: |z| > s becomes s + log(1 + |z| - s), z in standard deviations.

    Mean and standard deviation are those of all rows.

    Args:
        tables: see `Piece`.
        columns: see `Piece`.
        sigma: s.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, tables: float = 1.0, columns: float = 1.0, sigma: float = 4.0) -> None:
        super().__init__(tables, columns)
        self.sigma = within("sigma", sigma, high=100)

    def change(self, raw: Raw, chosen: Tensor, generator: Generator) -> Raw:
        """Shortens the tails of the chosen columns that are no codes."""
        return edit(raw, chosen & ~raw.categorical, self.clipped)

    def clipped(self, columns: Tensor) -> Tensor:
        """The values (P, N) with shorter tails."""
        mean = columns.mean(1, keepdim=True)
        sd = (columns - mean).square().mean(1, keepdim=True).sqrt()
        z = (columns - mean) / torch.where(sd > 0, sd, 1.0)
        far = self.sigma + torch.log1p((z.abs() - self.sigma).clamp(min=0))
        return torch.where(z.abs() > self.sigma, mean + sd * z.sign() * far, columns)
