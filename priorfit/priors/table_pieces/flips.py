"""Labels that are wrong. Letters: B tasks, N rows, m queries, K the largest number of classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor


def flip(y: Tensor, law: Tensor, count: Tensor, highest: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Replaces some labels by draws that are uniform on their task's classes, and mixes their law accordingly.

    Args:
        y: (B, N), int64.
        law: probabilities of the queries' classes before this, (B, m, K).
        count: classes of each task, (B,).
        highest: a task's share of replaced labels is uniform on 0 … `highest` in one half of all tasks, else 0.

    Returns:
        Labels and probabilities, in the same shapes.
    """
    options: dict[str, Any] = {"generator": generator, "device": y.device}
    some, share = torch.rand(2, len(y), 1, **options)
    share = torch.where(some < 0.5, highest * share, 0.0)  # (B, 1)
    replaced, level = torch.rand(2, *y.shape, **options)
    other = (level * count[:, None]).long().clamp(max=count[:, None] - 1)
    even = (torch.arange(law.shape[-1], device=y.device) < count[:, None]) / count[:, None]  # (B, K)
    return torch.where(replaced < share, other, y), torch.lerp(law, even[:, None], share[..., None])
