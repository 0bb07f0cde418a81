"""Columns that say nothing. Letters as in `piece`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.piece import Piece, edit, pieces
from priorfit.priors.table_pieces.raw import Raw


@pieces.register("irrelevant")
class Irrelevant(Piece):
    """Columns whose values are dealt to other rows at random: they keep their law and lose all they said.

    Args:
        tables: see `Piece`.
        columns: see `Piece`.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, tables: float = 0.2, columns: float = 0.5) -> None:
        super().__init__(tables, columns)

    def change(self, raw: Raw, chosen: Tensor, generator: Generator) -> Raw:
        """Permutes the rows of each chosen column on its own."""

        def dealt(columns: Tensor) -> Tensor:
            order = torch.rand(columns.shape, generator=generator, device=columns.device).argsort(1)
            return columns.gather(1, order)

        return edit(raw, chosen, dealt)
