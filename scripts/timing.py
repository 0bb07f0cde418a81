"""Processor times of methods on the same tasks, one task at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from priorfit.evaluation.scoring import draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.priors import Prior, Task


def seconds_per_task(
    method: Callable[[Task], object], prior: Prior, n_context: int, settings: Settings, tasks: int
) -> float:
    """Mean processor time of a method, in seconds per task.

    A first task, on which memory is allocated and programs are compiled, is not counted.

    Args:
        method: is given batches of one task.
        prior: draws the tasks.
        n_context: their context size.
        settings: their queries and seed.
        tasks: how many to time.
    """
    first, *timed = draw_tasks(prior, n_context, replace(settings, tasks=tasks + 1, batch_size=1))
    with torch.inference_mode():
        method(first)
        started = time.process_time()
        for task in timed:
            method(task)
    return (time.process_time() - started) / len(timed)


def milliseconds(seconds: float) -> str:
    """A time as a cell of a table."""
    return f"{1e3 * seconds:.3g}"


def ratio(slow: float, fast: float) -> str:
    """How many times as long the first takes, as a cell of a table."""
    return f"{slow / fast:.3g} ×"
