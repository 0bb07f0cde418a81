"""Correlation functions of the scaled distance r (Rasmussen & Williams 2006, chapter 4)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def rbf(r: Tensor) -> Tensor:
    """exp(-r² / 2)."""
    return torch.exp(-r.square() / 2)


def matern12(r: Tensor) -> Tensor:
    """exp(-r)."""
    return torch.exp(-r)


def matern32(r: Tensor) -> Tensor:
    """(1 + √3 r) exp(-√3 r)."""
    scaled = math.sqrt(3) * r
    return (1 + scaled) * torch.exp(-scaled)


def matern52(r: Tensor) -> Tensor:
    """(1 + √5 r + 5 r² / 3) exp(-√5 r)."""
    scaled = math.sqrt(5) * r
    return (1 + scaled + scaled.square() / 3) * torch.exp(-scaled)


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "rbf": rbf,
    "matern12": matern12,
    "matern32": matern32,
    "matern52": matern52,
}
