"""The training step, the same for every prior and every network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from priorfit.models import Network
from priorfit.priors import Task
from priorfit.training.task_data import ValidationBatch


class Amortized(LightningModule):
    """Lowers the negative log density of tasks' hidden part under the network's distribution.

    The expected loss is the expected KL divergence from the true posterior to the network's, plus a constant
    (Müller et al. 2022, section 3).

    Args:
        network: what is trained.
        optimizer: makes the optimiser from named parameters.
        warmup: steps in which the learning rate rises to its peak; after it, a cosine down to zero.
        use_law: where a task carries its hidden part's law, train on the expected log density under that law
            instead of one draw's: the same minimiser, less gradient noise.
        compile: whether the network's tensor-to-tensor part runs through torch.compile.
        identity: what a checkpoint must agree on to be resumed (the resolved prior and network).
    """

    def __init__(
        self,
        network: Network,
        optimizer: Callable[..., Optimizer],
        warmup: int = 0,
        use_law: bool = True,
        compile: bool = False,
        identity: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.warmup = network, optimizer, warmup
        self.use_law, self.identity = use_law, identity
        self.compute = torch.compile(network.compute, dynamic=True) if compile else network.compute

    def loss(self, task: Task) -> Tensor:
        """Mean negative log density of the tasks' hidden part, in nats."""
        distribution = self.network.distribution(self.compute(*task.observed))
        if self.use_law and task.law is not None:
            return -distribution.expected_log_prob(task.law).mean()  # type: ignore[attr-defined]
        return -distribution.log_prob(task.hidden).mean()

    def training_step(self, task: Task, index: int) -> Tensor:
        """The loss of one batch."""
        loss = self.loss(task)
        self.log("loss", loss, prog_bar=True, batch_size=len(task))
        return loss

    def validation_step(self, batch: ValidationBatch, index: int) -> None:
        """Logs the loss on fixed tasks and, where there is a reference, the gap to it in nats."""
        log_prob = self.network(*batch.task.observed).log_prob(batch.task.hidden)
        options = {"batch_size": len(batch.task), "sync_dist": True}
        self.log("val/loss", -log_prob.mean(), **options)
        if not log_prob.isfinite().all():
            raise FloatingPointError("The network's log density is not finite: lower the learning rate.")
        if batch.reference is not None:
            gap = (batch.reference - log_prob).mean()
            self.log("gap", gap, prog_bar=True, **options)
            self.log(f"gap/n={batch.n_context}", gap, **options)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser, with linear warm-up and cosine decay over the trainer's steps."""
        optimizer = self.optimizer(self.network.named_parameters())
        total = self.trainer.max_steps

        def factor(step: int) -> float:
            if step < self.warmup:
                return (step + 1) / self.warmup
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - self.warmup) / max(1, total - self.warmup))))

        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Records what is trained."""
        checkpoint["identity"] = self.identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to resume another training.

        Raises:
            ValueError: the checkpoint is of another prior, network or seed.
        """
        if checkpoint.get("identity") != self.identity:
            raise ValueError(
                "The run to resume trained another prior or network, or with another seed or batch size. Give the "
                "configuration it was started with, or start a new run under another name."
            )
