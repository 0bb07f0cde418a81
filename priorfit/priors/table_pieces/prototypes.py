"""Vectors become codes: each has that of the nearest prototype, which is the vector of a random row.

Letters: P tables, N rows, D components of a vector, K the largest number of codes.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from priorfit.priors.table_pieces.bins import random_rows

COLDEST = 1e-6  # where noise vanishes


def closeness(vectors: Tensor, prototypes: Tensor, count: Tensor) -> Tensor:
    """-|v - p|² / 2 of vectors (P, N, D) and prototypes (P, K, D), up to what the K share: (P, N, K).

    Minus infinity from each table's `count` (P,) on.
    """
    unused = torch.arange(prototypes.shape[1], device=vectors.device) >= count[:, None, None]
    return (vectors @ prototypes.mT - prototypes.square().sum(-1)[:, None] / 2).masked_fill(unused, -torch.inf)


def row_closeness(vectors: Tensor, count: Tensor, rows: Tensor, k: int, generator: Generator) -> Tensor:
    """Closeness to prototypes that are vectors of distinct random rows, in random order.

    Each of these rows is closest to itself: every code occurs among them, unless vectors are tied.

    Args:
        vectors: (P, N, D).
        count: number of prototypes, at most K, (P,).
        rows: the random rows are among so many first ones, (P,).
        k: K.

    Returns:
        (P, N, K), minus infinity from `count` on.
    """
    index = random_rows(vectors[..., 0], rows, k, generator)  # (P, K), or fewer
    prototypes = vectors.gather(1, index[..., None].expand(-1, -1, vectors.shape[2]))
    scores = closeness(vectors, prototypes, count)
    return torch.nn.functional.pad(scores, (0, k - scores.shape[2]), value=-torch.inf)


def noisy_codes(scores: Tensor, temperature: Tensor | None, generator: Generator) -> tuple[Tensor, Tensor | None]:
    """The code of the highest score plus temperature times Gumbel noise, and its law, softmax(score / temperature).

    Args:
        scores: (P, N, K).
        temperature: (P, 1); None where there is no noise, and no law then.

    Returns:
        (P, N), int64, and (P, N, K).
    """
    if temperature is None:
        return scores.argmax(-1), None
    scores = scores / temperature.clamp(min=COLDEST)[..., None]
    noise = torch.rand(scores.shape, generator=generator, device=scores.device).clamp(min=1e-30).log_().neg_().log_()
    return (scores - noise).argmax(-1), scores.softmax(-1)
