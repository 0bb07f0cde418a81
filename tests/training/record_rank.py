"""A callback that writes down what each rank of a training saw, for the tests of several processes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from priorfit.priors import Task


class RecordRank(Callback):
    """Writes rank_<r>.json: digests of the rank's batches and of its final weights."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.batches: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Task, batch_idx: int) -> None:
        self.batches.append(digest(batch.observed.y_context.numpy().tobytes() + batch.hidden.numpy().tobytes()))

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        weights = b"".join(parameter.detach().numpy().tobytes() for parameter in pl_module.network.parameters())
        record = {"batches": self.batches, "weights": digest(weights)}
        (self.folder / f"rank_{trainer.global_rank}.json").write_text(json.dumps(record))


def digest(data: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(data).hexdigest()
