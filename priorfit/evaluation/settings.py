"""What is measured: how many tasks of which sizes, drawn from which prior."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from priorfit.checkpoints import Checkpoint
from priorfit.priors import Prior, priors


@dataclass(frozen=True)
class Settings:
    """Settings of one evaluation.

    Attributes:
        context_sizes: numbers of observed items; None for the prior's own `context_sizes`.
        tasks: tasks per context size, at least 2.
        queries: hidden items per task.
        batch_size: tasks per forward pass. Where a prior draws its sizes, each batch draws them once.
        draws: draws from the network's distribution for each task, at least 2.
        seed: chooses the tasks, together with the context size.
        levels: nominal coverage of the central intervals, each in (0, 1).
        device: a torch device, or "auto" for a GPU where there is one.
        prior: changes of the checkpoint's prior, see `changed_prior`.
        path: a file with tasks, see `priorfit.task_files`: its tasks are measured, and no others. None draws them.
        reference: the name of a reference that this file holds; None for "posterior" if it is there, or else what the
            prior itself computes.
        shifts: whether to measure shifts of the prior as well, see `Prior.shifts`.
        shift_tasks: tasks per shift and context size, at least 2, and no more than `tasks`.

    Raises:
        ValueError: a setting outside its range.
    """

    context_sizes: Sequence[int] | None = None
    tasks: int = 2000
    queries: int = 16
    batch_size: int = 50
    draws: int = 100
    seed: int = 0
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95)
    device: str = "auto"
    prior: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    reference: str | None = None
    shifts: bool = False
    shift_tasks: int = 100

    def __post_init__(self) -> None:
        if self.tasks < 2 or self.draws < 2 or self.queries < 1 or self.batch_size < 1 or self.seed < 0:
            raise ValueError(
                "Needs tasks >= 2 (for standard errors), draws >= 2, queries >= 1, batch_size >= 1, seed >= 0."
            )
        if self.shift_tasks < 2:
            raise ValueError(f"shift_tasks must be at least 2, for standard errors, not {self.shift_tasks}.")
        if not all(0 < level < 1 for level in self.levels):
            raise ValueError(f"levels must lie between 0 and 1: {list(self.levels)}.")
        if self.path is not None and self.prior:
            raise ValueError("Tasks of a file are as they are: changes of the prior and path=… exclude one another.")
        if self.path is None and self.reference is not None:
            raise ValueError("reference=… names one that is stored in a file: give data=hdf5 path=FILE as well.")
        sizes = self.context_sizes
        if sizes is not None and (not sizes or not all(isinstance(n, int) and n >= 0 for n in sizes)):
            raise ValueError(f"context_sizes must be whole numbers >= 0, at least one of them: {sizes!r}.")
        if self.device == "auto":
            object.__setattr__(self, "device", "cuda" if torch.cuda.is_available() else "cpu")


def changed_prior(checkpoint: Checkpoint, changes: Mapping[str, Any]) -> Prior:
    """The checkpoint's prior with some arguments changed: measure at other sizes, or under a shift.

    Args:
        checkpoint: holds the recorded arguments.
        changes: nested as the arguments are. A mapping changes only the keys that it names, unless it names a
            `law`: then it replaces the whole, as laws differ in their parameters.

    Raises:
        ValueError: arguments that the prior does not take.
        CheckpointError: the prior is not known here.
    """
    prior = checkpoint.prior
    return priors.build(prior.registered_name, merge(prior.arguments, changes)) if changes else prior


def spread_out(sizes: Iterable[int], most: int) -> list[int]:
    """At most so many of the sizes, from the smallest that is not empty to the largest."""
    seen = sorted({n for n in sizes if n > 0}) or [0]
    return [seen[i] for i in dict.fromkeys(np.linspace(0, len(seen) - 1, most).round().astype(int))]


def merge(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with `changes` merged into it, as `changed_prior` describes."""
    merged = dict(old)
    for key, value in changes.items():
        before = old.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping) and "law" not in value:
            merged[key] = merge(before, value)
        else:
            merged[key] = value
    return merged
