"""What is seen of a structural model's nodes. Letters: B tasks, N rows, F features, D components, C columns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.prototypes import row_closeness

MOST = 10  # categories
EXTRA = 2.0  # mean number of categories beyond two


class Nodes(NamedTuple):
    """Features, and the target behind them."""

    values: Tensor  # (B, N, F + 1)
    categorical: Tensor  # (B, F), bool: features whose values are codes 0, 1, 2, …
    vector: Tensor | None = None  # (B, N, D): the node that the target is a component of
    unrelated: Tensor | None = None  # (B,), bool: see `Raw`


def draw_codes(vectors: Tensor, generator: Generator) -> Tensor:
    """Codes of the nearest of K vectors of random rows, of vectors (C, N, D): (C, N), float32; K as in `Graph`."""
    level = torch.rand(len(vectors), generator=generator, dtype=torch.float64, device=vectors.device)
    extra = level.clamp(min=1e-300).log() / torch.tensor(EXTRA / (1 + EXTRA)).log()
    count = 2 + extra.long().clamp(max=MOST - 2)
    rows = torch.full_like(count, vectors.shape[1])
    return row_closeness(vectors, count, rows, MOST, generator).argmax(-1).float()
