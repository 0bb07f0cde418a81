"""Layers of random networks, one network per task, padded to the widest.

Letters: B tasks, N rows, I inputs, H units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

UNSEEN_ROWS = 64  # drawn besides: statistics over all rows then tell nothing of the last one from the others
GROUP = 16  # tasks that are padded to a common width
TINY = 1e-5  # standard deviation below which a column is taken for constant


def similar(width: Tensor) -> tuple[Tensor, ...]:
    """Tasks (B,) in groups of similar width, so that little is spent on padding; indices, int64."""
    return width.argsort(stable=True).split(GROUP)


def draw_weights(fan_in: Tensor, fan_out: Tensor, dropped: Tensor, blocks: Tensor, generator: Generator) -> Tensor:
    """Weights of one layer of every task, (B, I, H) with I and H the largest: zero where a task has fewer units.

    What is left is normal with variance 1 / (its expected number per unit), so that units keep their scale.

    Args:
        fan_in, fan_out: units of each task, (B,), int64.
        dropped: the share of weights that is zero, element by element, (B,), below 1.
        blocks: units that feed and units that are fed are split into as many groups, and only like groups are
            connected, (B,), int64, at least 1.
    """
    device = generator.device
    rows, columns = _units(fan_in, device), _units(fan_out, device)  # (B, I), (B, H)
    shape = (len(fan_in), rows.shape[1], columns.shape[1])
    weights = torch.randn(shape, generator=generator, device=device)
    if (dropped > 0).any():
        weights *= torch.rand(shape, generator=generator, device=device) >= dropped[:, None, None]
    if (blocks > 1).any():
        group_in, group_out = (u * blocks[:, None] // f[:, None] for u, f in ((rows, fan_in), (columns, fan_out)))
        weights *= group_in[:, :, None] == group_out[:, None]
    weights *= (rows < fan_in[:, None])[:, :, None] & (columns < fan_out[:, None])[:, None]
    scale = (blocks / (fan_in * (1 - dropped))).sqrt()
    return weights.mul_(scale[:, None, None])


def _units(fan: Tensor, device: torch.device) -> Tensor:
    """0 … largest - 1 for every task, (B, largest)."""
    return torch.arange(int(fan.max()), device=device).expand(len(fan), -1)


def draw_blocks(fan_in: Tensor, fan_out: Tensor, blocked: Tensor, generator: Generator) -> Tensor:
    """How many blocks a layer has, uniform on 1 … ⌈√(the smaller side)⌉ where `blocked`, else 1: (B,), int64."""
    most = torch.minimum(fan_in, fan_out).float().sqrt().ceil()
    level = torch.rand(len(fan_in), generator=generator, device=generator.device)
    return torch.where(blocked, 1 + (level * most).long().clamp(max=most.long() - 1), 1)


def normal_like(x: Tensor, generator: Generator) -> Tensor:
    """Standard normal draws in the shape of `x`."""
    options: dict[str, Any] = {"generator": generator, "device": x.device, "dtype": x.dtype}
    return torch.randn(x.shape, **options)


def standardize(x: Tensor) -> Tensor:
    """Columns of x (B, N, H) with mean 0 and variance 1 over their rows, and 0 where they are constant."""
    x = x - x.mean(1, keepdim=True)
    scale = x.square().mean(1, keepdim=True).sqrt()
    return x * torch.where(scale > TINY, 1 / scale.clamp(min=TINY), 0)
