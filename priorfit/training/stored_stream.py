"""Batches of tasks from a file, in place of drawing them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from priorfit.priors import Task
from priorfit.task_files import TaskFile


class StoredStream(IterableDataset[Task]):
    """An endless stream of a file's batches; batch k of rank r depends on nothing but the seed and these numbers.

    Every epoch goes through all batches once, in an order of its own; ranks and workers take turns. So a resumed run
    needs one integer to go on, as with `TaskStream`.

    Args:
        file: holds N batches.
        seed: chooses the orders.
        rank: of this process among those that train together.
        world_size: how many these are.
        start: index of the first batch.
    """

    def __init__(self, file: TaskFile, seed: int, rank: int = 0, world_size: int = 1, start: int = 0) -> None:
        self.file, self.seed, self.rank, self.world_size, self.start = file, seed, rank, world_size, start

    def number(self, index: int) -> int:
        """Which of the file's batches is batch `index` of this rank."""
        epoch, position = divmod(index * self.world_size + self.rank, len(self.file))
        return int(order(self.seed, epoch, len(self.file))[position])

    def batch(self, index: int) -> Task:
        """Batch number `index`."""
        return self.file.batch(self.number(index))

    def __iter__(self) -> Iterator[Task]:
        """Batches from `start` on; data-loader workers take turns."""
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker else (0, 1)
        return map(self.batch, itertools.count(self.start + offset, step))


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, n_batches: int) -> np.ndarray:
    """The order of all batches in one epoch."""
    return np.random.default_rng((seed, epoch)).permutation(n_batches)
