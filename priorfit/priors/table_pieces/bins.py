"""Numbers become codes: thresholds, and the order of the codes.

Letters: P columns, N rows, K the largest number of codes.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

INF = float("inf")


def draw_counts(size: int, low: int, high: int, generator: Generator) -> Tensor:
    """Numbers of codes, uniform on low … high, (P,) int64."""
    return torch.randint(low, high + 1, (size,), generator=generator, device=generator.device)


def rank_thresholds(values: Tensor, count: Tensor, rows: Tensor, k: int, generator: Generator) -> Tensor:
    """Thresholds at the values of random rows.

    Of `count` distinct random rows, all values but the smallest become thresholds; as a value at a threshold is
    above it, each of these rows has another code, unless values are tied: every code occurs. The codes' shares are
    Dirichlet(2, 1, …, 1) for many rows, and so uniform on the simplex once codes are shuffled.

    Args:
        values: (P, N).
        count: number of codes, at most K, (P,).
        rows: the random rows are among so many first ones, (P,).
        k: K.

    Returns:
        Increasing thresholds, (P, K - 1); infinite from `count` - 1 on.
    """
    index = random_rows(values, rows, k, generator)
    unused = torch.arange(index.shape[1], device=values.device) >= count[:, None]
    thresholds = torch.where(unused, INF, values.gather(1, index)).sort(1).values[:, 1:]
    return torch.nn.functional.pad(thresholds, (0, k - 1 - thresholds.shape[1]), value=INF)


def quantile_thresholds(values: Tensor, count: Tensor, rows: Tensor, k: int) -> Tensor:
    """Thresholds that give each code the same number of the first `rows` rows; shapes as in `rank_thresholds`."""
    ordered = torch.where(_beyond(values, rows), INF, values).sort(1).values
    j = torch.arange(1, k, device=values.device)
    index = (j * rows[:, None] / count[:, None]).long().clamp(max=values.shape[1] - 1)
    return torch.where(j < count[:, None], ordered.gather(1, index), INF)


def random_rows(values: Tensor, rows: Tensor, k: int, generator: Generator) -> Tensor:
    """Distinct random rows of `values` (P, N), in random order, the first `rows` (P,) before others: (P, min(K, N))."""
    order = torch.rand(values.shape, generator=generator, device=values.device) + _beyond(values, rows)
    return order.topk(min(k, values.shape[1]), 1, largest=False).indices


def _beyond(values: Tensor, rows: Tensor) -> Tensor:
    """Which of (P, N) are not among the first `rows`."""
    return torch.arange(values.shape[1], device=values.device) >= rows[:, None]


def encode(values: Tensor, thresholds: Tensor) -> Tensor:
    """How many thresholds (P, K - 1) are at or below each value (P, N), int64."""
    return torch.searchsorted(thresholds.contiguous(), values.contiguous(), right=True)


def permutations(count: Tensor, k: int, ordered: Tensor, generator: Generator) -> Tensor:
    """A new name for each code, (P, K) int64: a random order of 0 … count - 1, or that order itself."""
    names = torch.arange(k, device=count.device)
    keys = torch.rand(len(count), k, generator=generator, device=count.device) + (names >= count[:, None])
    return torch.where(ordered[:, None], names, keys.argsort(1))
