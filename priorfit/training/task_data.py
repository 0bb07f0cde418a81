"""Lightning's view of a prior: an endless training stream and fixed validation tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from priorfit.priors import Prior, Task
from priorfit.task_files import TaskFile
from priorfit.training.stored_stream import StoredStream
from priorfit.training.task_stream import VALIDATION, TaskStream, task_generator


class ValidationBatch(NamedTuple):
    """Tasks of one context size, with the log density of their hidden part under the truth that there is.

    That is the prior's reference or, without one, the hidden part's law given the task's own latents: an oracle.
    """

    n_context: int
    task: Task
    reference: Tensor | None


class TaskData(LightningDataModule):
    """Streams training tasks, and draws validation tasks and their reference once.

    Args:
        prior: what draws the tasks.
        batch_size: B, tasks per training batch and rank.
        seed: chooses the stream.
        validation: `tasks`, `queries` and `context_sizes` of the fixed validation tasks.
        num_workers: processes that draw tasks ahead; 0 draws them in the training process, on its device.
        file: holds training tasks of this prior in batches of B, to be read instead of drawn; None draws them.
    """

    def __init__(
        self,
        prior: Prior,
        batch_size: int,
        seed: int,
        validation: Mapping,
        num_workers: int = 0,
        file: TaskFile | None = None,
    ) -> None:
        super().__init__()
        self.file = file
        self.prior, self.batch_size, self.seed = prior, batch_size, seed
        self.validation, self.num_workers = validation, num_workers
        self.start = 0
        self.batches: list[ValidationBatch] = []

    def train_dataloader(self) -> DataLoader:
        """The training stream of this rank, from where a resumed run stopped."""
        trainer = self.trainer
        assert trainer is not None
        rank, device = trainer.global_rank, "cpu" if self.num_workers else trainer.strategy.root_device
        if self.file is None:
            stream = TaskStream(self.prior, self.batch_size, self.seed, rank, self.start, device)
        else:
            stream = StoredStream(self.file, self.seed, rank, trainer.world_size, self.start)
        return ResumableLoader(stream, batch_size=None, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader:
        """One batch per context size, the same in every run with this prior and seed, and on every rank."""
        if not self.batches:
            sizes = tqdm(self.validation["context_sizes"], "Validation tasks", leave=False)
            self.batches = [self._validation_batch(n) for n in sizes]
        return DataLoader(self.batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]

    def _validation_batch(self, n_context: int) -> ValidationBatch:
        prior = self.prior.with_context(n_context, self.validation["queries"])
        generator = task_generator(self.seed, VALIDATION, index=n_context)
        task = prior.sample(self.validation["tasks"], generator=generator)
        truth = prior.truth(task)
        reference = None if truth is None else truth.log_prob(task.hidden).float()
        return ValidationBatch(n_context, task, reference)

    def state_dict(self) -> dict[str, int]:
        """The index of the next training batch: a checkpoint is only written between optimiser steps."""
        assert self.trainer is not None
        return {"start": self.trainer.global_step * self.trainer.accumulate_grad_batches}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continues the stream after the last batch that the saved weights have seen."""
        self.start = state_dict["start"]


class ResumableLoader(DataLoader):
    """Tells Lightning that resuming in mid-stream is safe; the position is `TaskData`'s to keep."""

    def state_dict(self) -> dict:
        """Nothing: batches are numbered by the stream itself."""
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """Nothing to restore."""
