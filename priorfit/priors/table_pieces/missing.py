"""Values that are missing. Letters as in `piece`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.piece import Piece, edit, pieces, within
from priorfit.priors.table_pieces.raw import Raw


@pieces.register("missing")
class MissingValues(Piece):
    """Values replaced by NaN, completely at random or depending on the value itself.

    Args:
        tables: see `Piece`.
        columns: see `Piece`.
        rate: the share that is missing is uniform on 0 … `rate` in each affected column, at most 0.5.
        informative: probability that what is missing in a column depends on its values: a value at level u of its
            column, between 0 and 1, is then missing with probability 2 u times the column's share, or 2 (1 - u)
            times it.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, tables: float = 0.2, columns: float = 1.0, rate: float = 0.3, informative: float = 0.0) -> None:
        super().__init__(tables, columns)
        self.rate, self.informative = within("rate", rate, high=0.5), within("informative", informative)

    def change(self, raw: Raw, chosen: Tensor, generator: Generator) -> Raw:
        """Makes values of the chosen columns missing."""
        return edit(raw, chosen, lambda columns: self.thinned(columns, generator))

    def thinned(self, columns: Tensor, generator: Generator) -> Tensor:
        """Some of the values (P, N) missing."""
        options = {"generator": generator, "device": columns.device}
        rate, informative, upper = torch.rand(3, len(columns), 1, **options)
        chance = (self.rate * rate).expand_as(columns)
        if self.informative:
            level = levels(columns)
            level = torch.where(upper < 0.5, level, 1 - level)
            chance = torch.where(informative < self.informative, 2 * chance * level, chance)
        return torch.where(torch.rand(columns.shape, **options) < chance, torch.nan, columns)


def levels(values: Tensor) -> Tensor:
    """The share of each row of (P, N) that is below a value, equal values counted half: mean 1/2."""
    ordered = values.sort(1).values
    below, up_to = (torch.searchsorted(ordered, values.contiguous(), right=right) for right in (False, True))
    return (below + up_to) / (2 * values.shape[1])
