"""Batches of synthetic tasks, each a pure function of (seed, rank, index)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator
from torch.utils.data import IterableDataset, get_worker_info

from priorfit.priors import Prior, Task

TRAINING, VALIDATION, PREPARATION, EVALUATION, PENALTY = range(5)  # purposes: streams that never meet


def task_generator(
    seed: int, purpose: int, rank: int = 0, index: int = 0, device: torch.device | str = "cpu"
) -> Generator:
    """A generator that depends on all four numbers.

    They are hashed, because torch's CPU generator keeps only the low 32 bits of its seed.

    Raises:
        ValueError: a negative number.
    """
    if min(seed, purpose, rank, index) < 0:
        raise ValueError(f"seed, rank and index must not be negative: {seed}, {rank}, {index}.")
    state = np.random.SeedSequence((seed, purpose, rank, index)).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) & (2**63 - 1))


class TaskStream(IterableDataset[Task]):
    """An endless stream of batches; batch k of rank r is the same whenever and wherever it is drawn.

    So a resumed run needs one integer to go on with the batches it would have seen, and no two ranks or workers
    draw the same batch.

    Args:
        prior: what draws the tasks.
        batch_size: B, tasks per batch.
        seed: chooses the stream.
        rank: of this process among those that train together.
        start: index of the first batch.
        device: where tasks are drawn.
    """

    def __init__(
        self,
        prior: Prior,
        batch_size: int,
        seed: int,
        rank: int = 0,
        start: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.prior, self.batch_size, self.seed = prior, batch_size, seed
        self.rank, self.start, self.device = rank, start, device

    def batch(self, index: int) -> Task:
        """Batch number `index`."""
        generator = task_generator(self.seed, TRAINING, self.rank, index, self.device)
        return self.prior.sample(self.batch_size, generator=generator)

    def __iter__(self) -> Iterator[Task]:
        """Batches from `start` on; data-loader workers take turns."""
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker else (0, 1)
        return map(self.batch, itertools.count(self.start + offset, step))
