"""Activations of random networks, one per task. Letters: B tasks, N rows, H units."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from priorfit.registry import closest

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
    "elu": functional.elu,
    "sine": torch.sin,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "absolute": torch.abs,
    "square": lambda x: x.clamp(-1e4, 1e4).square(),
    "root": lambda x: x.sign() * x.abs().sqrt(),
    "logarithm": lambda x: x.sign() * x.abs().log1p(),
    "bell": lambda x: torch.exp(-0.5 * x.square()),
    "step": lambda x: (x > 0).to(x.dtype),
    "modulo": lambda x: x - x.floor(),
}


def check_activations(names: str | Sequence[str]) -> list[str]:
    """The names as a list; raises ValueError where one is unknown, or there is none."""
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen or [""]:
        if name not in ACTIVATIONS:
            raise ValueError(f"Unknown activation '{name}': {closest(name, ACTIVATIONS)}")
    return chosen


def activate(x: Tensor, kind: Tensor, names: Sequence[str]) -> Tensor:
    """Each task's own activation, names[kind[b]], of x (B, …)."""
    if len(names) == 1:
        return ACTIVATIONS[names[0]](x)
    result = torch.empty_like(x)
    for index, name in enumerate(names):
        chosen = (kind == index).nonzero()[:, 0]
        if len(chosen):
            result[chosen] = ACTIVATIONS[name](x[chosen])
    return result
