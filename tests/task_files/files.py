"""Small files of tasks, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from priorfit.evaluation.scoring import draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.priors import GaussianProcess, Prior, Task
from priorfit.task_files import TaskFile, write_tasks
from priorfit.training.task_stream import TaskStream

PRIOR = GaussianProcess({"points": [5, 9], "features": [1, 2]})
BATCH = 4


def training_key(prior: Prior = PRIOR, seed: int = 3) -> dict[str, Any]:
    named = {"name": prior.registered_name, "arguments": prior.arguments}
    return {"prior": named, "purpose": "training", "batch_size": BATCH, "seed": seed}


def stream(prior: Prior = PRIOR, seed: int = 3) -> TaskStream:
    return TaskStream(prior, BATCH, seed)


def write(path: Path, batches: int, prior: Prior = PRIOR, seed: int = 3, until: int = 1000) -> TaskFile:
    """Writes what a training would draw; the prior breaks off at batch number `until`."""

    def draw(first: int) -> Iterator[Task]:
        for number in count(first):
            if number == until:
                raise KeyboardInterrupt
            yield stream(prior, seed).batch(number)

    write_tasks(path, training_key(prior, seed), batches, draw, lambda n: None)
    return TaskFile(path)


def write_evaluation(path: Path, prior: Prior, settings: Settings) -> TaskFile:
    """Writes the fixed tasks that an evaluation would draw."""
    own = {name: getattr(settings, name) for name in ("context_sizes", "tasks", "queries", "batch_size", "seed")}
    named = {"name": prior.registered_name, "arguments": prior.arguments}
    tasks = [task for n in settings.context_sizes or () for task in draw_tasks(prior, n, settings)]
    key = {"prior": named, "purpose": "evaluation", **own}
    write_tasks(path, key, len(tasks), lambda first: tasks[first:], lambda n: None)
    return TaskFile(path)
