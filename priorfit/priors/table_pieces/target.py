"""What becomes of the raw target: numbers or classes, noise, and the law that this makes known.

Letters: B tasks, N = n + m rows (n context rows, then m queries), P numbers that say what a law is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution

from priorfit.priors.laws import Law
from priorfit.priors.table_pieces.piece import within
from priorfit.priors.table_pieces.warp import kumaraswamy
from priorfit.registry import Registered, Registry


class Labels(NamedTuple):
    """Targets, and what is known of them."""

    y: Tensor  # (B, N), float32
    n_classes: Tensor  # (B,), int64; 0 for numbers
    missing: Tensor  # (B,), bool: not every class occurs in the context, though it has rows enough
    parameters: Tensor | None  # (B, m, P): the law of each query's target given everything drawn but its noise


class Values(NamedTuple):
    """A target without and with noise."""

    clean: Tensor  # (B, N), without noise
    noisy: Tensor  # (B, N)
    sd: Tensor | None  # (B, 1), of the noise; None where unknown
    vector: Tensor | None = None  # (B, N, D), as in `Raw`


class Target(Registered, ABC):
    """Makes the target.

    The raw target is warped where that is asked for, and gets Gaussian noise: that of its table, and the one given
    here. It keeps its scale: standardised over all rows, a target's last value could be told from the others.

    Args:
        noise: sd of further noise, in standard deviations of the raw target over all rows: None, a number or the
            arguments of a `Law`.
        warp: probability that a task's target is bent by a random monotone map of its range, see `Warp`.

    Raises:
        ValueError: numbers out of range.
    """

    most_classes = 0

    def __init__(self, noise: float | Mapping[str, Any] | None, warp: float) -> None:
        self.noise = None if noise is None else Law("noise", noise)
        self.warp = within("warp", warp)

    def draw_number(self, batch_size: int, n_context: int, generator: Generator) -> Tensor:
        """The number of classes of each task, (B,) int64; 0 for numbers."""
        return torch.zeros(batch_size, dtype=torch.int64, device=generator.device)

    def values(self, raw: Tensor, noise: Tensor | None, generator: Generator) -> Values:
        """The target, warped and noisy, from `raw` (B, N), whose own noise has the given sd, (B,)."""
        clean, sd = raw, None if noise is None else noise[:, None].float()
        if self.noise is not None:
            own = self.noise.sample((len(raw), 1), generator).float() * raw.std(1, correction=0, keepdim=True)
            sd = own if sd is None else torch.hypot(own, sd)
        if self.warp:
            some = torch.rand(len(raw), generator=generator, device=raw.device) < self.warp
            clean = torch.where(some[:, None], kumaraswamy(clean, generator), clean)
        noisy = clean
        if sd is not None:
            noisy = clean + sd * torch.randn(clean.shape, generator=generator, device=clean.device)
        return Values(clean, noisy, sd)

    @abstractmethod
    def label(self, values: Values, count: Tensor, n_context: int, generator: Generator) -> Labels:
        """The targets, with `count` classes (B,)."""

    @abstractmethod
    def law(self, parameters: Tensor) -> Distribution:
        """The law of the queries' targets with these parameters (B, m, P), batch shape (B, m)."""


targets: Registry[Target] = Registry("kind of target")
