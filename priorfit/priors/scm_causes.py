"""Root causes of structural models. Letters: B tasks, N rows, K causes, C = 10 categories."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.registry import closest

CAUSES = ("normal", "mixed", "uniform", "mixture")
CATEGORIES = 10  # C, at most
CLUSTERS = 6  # at most


def check_causes(names: list[str]) -> list[str]:
    """Returns the names; raises ValueError where one is unknown, or there is none."""
    for name in names or [""]:
        if name not in CAUSES:
            raise ValueError(f"Unknown law of causes '{name}': {closest(name, CAUSES)}")
    return names


def draw_causes(batch_size: int, n_rows: int, n_causes: int, names: list[str], generator: Generator) -> Tensor:
    """Independent causes, (B, N, K); each task draws one of the named kinds for all of its causes.

    "normal": mean ~ N(0, 1) and standard deviation |N(0, 1) · mean| of its own; "uniform" on [0, 1]; "mixed": each
    cause is normal as before, or standardised categories, either 2 to 10 of them with random probabilities, or
    with those of Zipf's law r^-a, a ~ U(2, 4) (Hollmann et al. 2023, "TabPFN", and its released code); "mixture":
    each row is in one of 2 to 6 clusters with random probabilities, for all causes of the task, whose centres are
    standard normal and whose deviations are |N(0, 1)| / 2 for each cluster and cause.
    """
    options: dict[str, Any] = {"generator": generator, "device": generator.device}
    kind = torch.randint(len(names), (batch_size, 1, 1), **options)
    normal = _normal((batch_size, n_rows, n_causes), options)
    if names == ["normal"]:
        return normal
    level = torch.rand(batch_size, n_rows, n_causes, **options)
    result = normal
    if "uniform" in names:
        result = torch.where(kind == names.index("uniform"), level, result)
    if "mixed" in names:
        sort = torch.randint(3, (batch_size, 1, n_causes), **options)
        mixed = torch.where(sort == 0, normal, _categories(level, sort[:, 0] == 1, options))
        result = torch.where(kind == names.index("mixed"), mixed, result)
    if "mixture" in names:
        result = torch.where(kind == names.index("mixture"), _clusters(normal.shape, options), result)
    return result


def _normal(shape: tuple[int, int, int], options: dict[str, Any]) -> Tensor:
    mean, factor = torch.randn(2, shape[0], 1, shape[2], **options)
    return mean + (factor * mean).abs() * torch.randn(shape, **options)


def _clusters(shape: torch.Size, options: dict[str, Any]) -> Tensor:
    """Rows of Gaussian mixtures, in the given shape (B, N, K)."""
    batch_size, n_rows, n_causes = shape
    count = torch.randint(2, CLUSTERS + 1, (batch_size, 1), **options)
    border = _free(count, CLUSTERS, options).cumsum(-1)
    level = border[:, -1:] * torch.rand(batch_size, n_rows, **options)
    own = torch.searchsorted(border[:, :-1].contiguous(), level)[..., None].expand(shape)
    centre, deviation = torch.randn(2, batch_size, CLUSTERS, n_causes, **options)
    return centre.gather(1, own) + (deviation.abs() / 2).gather(1, own) * torch.randn(shape, **options)


def _free(count: Tensor, most: int, options: dict[str, Any]) -> Tensor:
    """Random weights of the first `count` (..., 1) of `most` classes, (..., most)."""
    weights = torch.rand(*count.shape[:-1], most, **options).clamp(min=1e-3)
    return weights * (torch.arange(most, device=count.device) < count)


def _categories(level: Tensor, zipf: Tensor, options: dict[str, Any]) -> Tensor:
    """Categories at levels (B, N, K) of their distribution, standardised by its moments; Zipf's where (B, K)."""
    rank = torch.arange(1.0, CATEGORIES + 1, device=level.device)
    shape = (*zipf.shape, 1)
    exponent = 2 + 2 * torch.rand(shape, **options)
    count = torch.randint(2, CATEGORIES + 1, shape, **options)
    free = _free(count, CATEGORIES, options)
    probability = torch.where(zipf[..., None], rank**-exponent, free)  # (B, K, C)
    probability = probability / probability.sum(-1, keepdim=True)
    border = probability.cumsum(-1)[..., :-1]  # (B, K, C - 1)
    code = torch.searchsorted(border.contiguous(), level.mT.contiguous()) + 1.0  # (B, K, N)
    mean = (probability * rank).sum(-1, keepdim=True)
    variance = (probability * (rank - mean).square()).sum(-1, keepdim=True)
    return ((code - mean) / variance.sqrt()).mT
