"""Scores of slow references on the fixed tasks of an evaluation, computed in batches and kept in a cache.

Letters: B tasks per batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from priorfit.evaluation.reference_cache import ReferenceCache, fingerprints, task_key
from priorfit.evaluation.scoring import Array, draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.priors import Prior, Task

Method = Callable[[Task, int], Mapping[str, Array]]  # of B tasks and the batch's number; arrays (B, …)


def cached_scores(
    prior: Prior,
    n_context: int,
    settings: Settings,
    method: tuple[str, Mapping[str, Any]],
    compute: Method,
    folder: Path,
    progress: bool = True,
) -> dict[str, Array]:
    """The scores of the fixed tasks of one context size, read from the cache in `folder` as far as it has them.

    Batches are computed whole, so that a batch's random numbers do not depend on what the cache had of it.

    Args:
        prior: draws the tasks.
        n_context: their context size.
        settings: how many there are.
        method: the beginning of the file's name, and all that the scores depend on beside the tasks, as JSON holds it.
        compute: gives the scores of a batch.
        folder: of the cache.
        progress: whether to show a bar.

    Raises:
        ValueError: batches that are not whole, or a cache that cannot be used.
    """
    if settings.tasks % settings.batch_size:
        raise ValueError(
            f"tasks={settings.tasks} must be a multiple of batch_size={settings.batch_size}: then more tasks begin "
            "with the same ones, whose scores the cache has."
        )
    tasks, batch_size = list(draw_tasks(prior, n_context, settings)), settings.batch_size
    name, described = method
    key = {**task_key(prior, n_context, settings), "method": dict(described)}

    def missing_rows(missing: range) -> Iterator[dict[str, Array]]:
        with tqdm(total=settings.tasks, initial=missing.start, unit="task", disable=not progress) as bar:
            bar.set_description(f"{name}, n = {n_context}")
            for number in range(missing.start // batch_size, len(tasks)):
                scores = compute(tasks[number], number)
                for index in range(len(tasks[number])):
                    if number * batch_size + index >= missing.start:
                        yield {name: values[index] for name, values in scores.items()}
                        bar.update()

    known = [one for batch in tasks for one in fingerprints(batch)]
    return ReferenceCache(folder, name, key).complete(known, missing_rows)
