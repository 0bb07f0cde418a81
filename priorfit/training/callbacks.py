"""Callbacks that Lightning lacks."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, convert_inf


class StepProgressBar(TQDMProgressBar):
    """A progress bar over all optimiser steps: the stream has no end of its own, so Lightning shows no total."""

    @property
    def total_train_batches(self) -> int | float:
        """Batches in the whole training."""
        if self.trainer.max_steps < 0:
            return super().total_train_batches
        return self.trainer.max_steps * self.trainer.accumulate_grad_batches

    def init_train_tqdm(self) -> Tqdm:
        """The bar, from where a resumed run goes on: Lightning sets it up when an epoch starts, which was before."""
        bar = super().init_train_tqdm()
        bar.reset(convert_inf(self.total_train_batches))
        bar.initial = bar.n = self.trainer.global_step * self.trainer.accumulate_grad_batches
        bar.set_description(f"Epoch {self.trainer.current_epoch}")
        return bar

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands beside the bar: the loss and, where the prior has a reference, the gap to it in nats."""
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items
