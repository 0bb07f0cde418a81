"""Scores of a slow reference in HDF5, written as they are computed: an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from priorfit.evaluation.scoring import Array
from priorfit.evaluation.settings import Settings
from priorfit.priors import Prior, Task
from priorfit.registry import plain
from priorfit.task_files.hdf5 import canonical, check_count, check_format, creating, new_column, opened, put

FORMAT, SCHEMA_VERSION = "priorfit reference scores", 1
CHUNK_ROWS = 64
FINGERPRINT = 16  # hexadecimal digits


class ReferenceCache:
    """The file of one reference on one sequence of tasks: named arrays with a row per task, in the tasks' order.

    Layout: attributes `format`, `schema_version`, `key` and `provenance` (JSON), and `tasks`, the number of rows that
    are complete; a data set `fingerprint` (tasks,), and one data set (tasks, …) for each score in the group `scores`.

    Args:
        folder: where files are kept; made when first written to.
        name: of the reference, such as "mcmc": the file's name begins with it.
        key: all that the scores depend on, as JSON holds it: prior, task sizes, seeds, settings of the method. Its
            digest is the rest of the file's name.

    Attributes:
        path: the file.

    Raises:
        ValueError: a key that JSON does not hold.
    """

    def __init__(self, folder: Path, name: str, key: Mapping[str, Any]) -> None:
        self.key = canonical(key)
        self.path = folder / f"{name}-{hashlib.sha256(self.key.encode()).hexdigest()[:16]}.h5"

    def complete(
        self, fingerprints: Sequence[str], compute: Callable[[range], Iterable[Mapping[str, Array]]]
    ) -> dict[str, Array]:
        """The scores of all tasks; those that the file lacks are computed, and written one by one.

        Args:
            fingerprints: of every task, see `fingerprints`.
            compute: gives the scores of the tasks with these numbers, in their order: for each the same names,
                and arrays of the same shapes.

        Returns:
            For each name an array (tasks, …), float64.

        Raises:
            ValueError: the file is damaged, no such file, of a newer version or about other tasks, or another
                process has written to it meanwhile. It stays as it is.
        """
        stored = self._verified(fingerprints)
        missing = range(stored, len(fingerprints))
        if missing:
            for index, scores in zip(missing, compute(missing), strict=True):
                self._append(index, fingerprints[index], scores)
        return self._read(len(fingerprints))

    def _verified(self, fingerprints: Sequence[str]) -> int:
        """How many of these tasks the file holds, which must be the first ones."""
        if not self.path.exists():
            return 0
        with opened(self.path) as file:
            check_format(file, self.path, FORMAT, SCHEMA_VERSION)
            attributes: Any = file.attrs
            stored = min(int(attributes["tasks"]), len(fingerprints))
            known: Any = file["fingerprint"]
            same = list(known.asstr()[:stored]) == list(fingerprints[:stored])
            if attributes["key"] != self.key or not same:
                raise ValueError(
                    f"'{self.path}' holds scores of other tasks: another version of the prior's code, or of torch, "
                    "drew them. Move it away, or choose another folder."
                )
            return stored

    def _append(self, index: int, fingerprint: str, scores: Mapping[str, Array]) -> None:
        """Writes the row of task number `index`; it counts when all of it is on disk."""
        row = {name: np.asarray(values, np.float64) for name, values in scores.items()}
        if not self.path.exists():
            self._create({name: values.shape for name, values in row.items()})
        with opened(self.path, "r+") as file:
            group: Any = file["scores"]
            check_count(file, "tasks", index)
            if set(group) != set(row):
                raise ValueError(f"'{self.path}' holds {', '.join(group)}, and the method gave {', '.join(row)}.")
            for data, values in [(file["fingerprint"], fingerprint), *((group[name], row[name]) for name in row)]:
                put(data, index, [values])
            file.flush()
            file.attrs["tasks"] = index + 1

    def _create(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Writes a file without rows, for scores of these shapes per task."""
        with creating(self.path, FORMAT, SCHEMA_VERSION, self.key) as file:
            file.attrs["tasks"] = 0
            new_column(file, "fingerprint", (), h5py.string_dtype(length=FINGERPRINT), CHUNK_ROWS)
            for name, shape in shapes.items():
                new_column(file, f"scores/{name}", shape, np.float64, CHUNK_ROWS)

    def _read(self, tasks: int) -> dict[str, Array]:
        """The first rows of every score."""
        with opened(self.path) as file:
            group: Any = file["scores"]
            return {name: data[:tasks] for name, data in group.items()}


def task_key(prior: Prior, n_context: int, settings: Settings) -> dict[str, Any]:
    """What decides which tasks `draw_tasks` draws.

    Arguments at their defaults are left out, so that arguments which a prior gets later change no keys, and so are
    those that `with_context` overrides.
    """
    fixed = prior.with_context(n_context, settings.queries)
    defaults = {name: plain(p.default) for name, p in inspect.signature(type(prior).__init__).parameters.items()}
    changed = {name: value for name, value in fixed.arguments.items() if value != defaults[name]}
    return {
        "prior": {"name": prior.registered_name, "arguments": changed},
        "n_context": n_context,
        "queries": settings.queries,
        "seed": settings.seed,
        "batch_size": settings.batch_size,
    }


def fingerprints(task: Task) -> list[str]:
    """For each task of a batch the digest of its observed and hidden numbers."""
    arrays = [part.detach().cpu().contiguous().numpy() for part in (*task.observed, task.hidden)]
    rows = (b"".join(array[index].tobytes() for array in arrays) for index in range(len(task)))
    return [hashlib.sha256(row).hexdigest()[:FINGERPRINT] for row in rows]
