"""The training step, the same for every prior and every network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from priorfit.models import Network
from priorfit.priors import Task
from priorfit.training.fisher import FisherPenalty
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
        fisher: the Fisher-trace penalty, or None for none.

    Raises:
        ValueError: a penalty together with `compile` or with a network whose gradients are not those of all it does.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Callable[..., Optimizer],
        warmup: int = 0,
        use_law: bool = True,
        compile: bool = False,
        identity: dict[str, Any] | None = None,
        fisher: FisherPenalty | None = None,
    ) -> None:
        super().__init__()
        if fisher is not None and compile:
            raise ValueError("What torch.compile makes cannot be differentiated twice: use compile=false or fisher=0.")
        if fisher is not None and not network.differentiable:
            raise ValueError(f"Networks '{network.registered_name}' give no full gradients by data: use fisher=0.")
        self.network, self.optimizer, self.warmup = network, optimizer, warmup
        self.use_law, self.identity, self.fisher = use_law, identity, fisher
        self.compute = torch.compile(network.compute, dynamic=True) if compile else network.compute

    def loss(self, distribution: Distribution, task: Task) -> Tensor:
        """Mean negative log density of the tasks' hidden part under the network's distribution, in nats."""
        if self.use_law and task.law is not None:
            return -distribution.expected_log_prob(task.law).mean()  # type: ignore[attr-defined]
        return -distribution.log_prob(task.hidden).mean()

    def training_step(self, task: Task, index: int) -> Tensor:
        """The loss of one batch, and the penalty that there may be."""
        if self.fisher is not None:
            return self.penalized_step(self.fisher, task, index)
        loss = self.loss(self.network.distribution(self.compute(*task.observed)), task)
        self.log("loss", loss, prog_bar=True, batch_size=len(task))
        return loss

    def penalized_step(self, fisher: FisherPenalty, task: Task, index: int) -> Tensor:
        """The loss of one batch plus the penalty; both are logged, the trace itself as "fisher"."""
        task = fisher.watched(task)
        with sdpa_kernel(SDPBackend.MATH):  # the only kind of attention whose gradient can be differentiated again
            distribution = self.network.distribution(self.compute(*task.observed))
            trace = fisher.trace(distribution, task.observed, self.global_rank, index)
        loss = self.loss(distribution, task)
        self.log_dict({"loss": loss, "fisher": trace}, prog_bar=True, batch_size=len(task))
        return loss + fisher.weight * trace

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
                "The run to resume trained another prior or network, or with another seed, batch size or file of "
                "tasks. Give the configuration it was started with, or start a new run under another name."
            )
