"""A callback that breaks a training off, as a crash would."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from priorfit.priors import Task


class Crash(RuntimeError):
    """What the callback raises."""


class Record(Callback):
    """Remembers what a training has seen, and raises `Crash` after some steps.

    Args:
        until: that many steps.
    """

    seen: list[float] = []  # of every batch, also across objects, as Hydra makes one for each run

    def __init__(self, until: int = 1000) -> None:
        self.until = until

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Task, index: int) -> None:
        """Remembers the batch."""
        if trainer.global_step == self.until:
            raise Crash
        self.seen.append(batch.hidden.sum().item())

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}
