"""Writing files of tasks and their references: piece by piece, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from priorfit.priors import Task
from priorfit.task_files.hdf5 import canonical, check_count, creating, new_column, opened, put
from priorfit.task_files.packing import DIGEST, Packed, pack_task
from priorfit.task_files.ragged import Arrays, append
from priorfit.task_files.task_file import FORMAT, SCHEMA_VERSION, TaskFile, text_sha256

SECONDS, BYTES = 2.0, 2**26  # what is drawn in this time, or takes this space, is written at once
INDEX_ROWS = 1024  # per chunk
Advance = Callable[[int], object]
OTHER = "holds other tasks than are to be written. Move it away, or give another name"


def write_tasks(
    path: Path, key: Mapping[str, Any], total: int, draw: Callable[[int], Iterable[Task]], advance: Advance
) -> None:
    """Writes batches until the file has `total` of them; those that it has stay.

    Args:
        path: of the file.
        key: what decides its tasks, see `task_file`.
        total: batches.
        draw: gives the batches from a number on, always the same ones.
        advance: hears of the number of tasks of each batch, also of those that are there already.

    Raises:
        ValueError: the file is damaged, no such file, or of other tasks; tasks that cannot be stored; another process
            has written to it meanwhile.
    """
    if not path.exists():
        _create(path, canonical(key))
    file = _checked(path, key)
    stored, waiting, since = len(file), [], time.monotonic()
    with opened(path, "r+") as handle:
        handle.attrs["planned"] = total
    first = max(0, stored - 1)  # the last one is drawn again, to see that it is the same
    advance(min(first, total) * file.batch_size)
    for number, task in zip(range(first, total), draw(first), strict=False):
        packed = pack_task(task)
        if number >= stored:
            waiting.append(packed)
        elif packed.digest != file.digests[number]:
            raise ValueError(f"'{path}' {OTHER}: another version of the prior's code, or of torch, drew them.")
        advance(len(task))
        if time.monotonic() - since > SECONDS or sum(_size(one) for one in waiting) > BYTES:
            stored, waiting, since = _write(path, stored, waiting), [], time.monotonic()
    _write(path, stored, waiting)


def _create(path: Path, key: str) -> None:
    """A file without batches."""
    with creating(path, FORMAT, SCHEMA_VERSION, key) as file:
        file.attrs.update({"key_sha256": text_sha256(key), "batches": 0, "planned": 0, "layouts": "[]"})
        for name in ("arrays", "references"):
            file.create_group(name)
        new_column(file, "index/layout", (), np.int64, INDEX_ROWS)
        new_column(file, "index/digest", (), h5py.string_dtype(length=DIGEST), INDEX_ROWS)


def _checked(path: Path, key: Mapping[str, Any]) -> TaskFile:
    """The file, if it is of the tasks that are to be written."""
    file = TaskFile(path)
    wanted = json.loads(canonical(key))
    different = [name for name in {**wanted, **file.key} if wanted.get(name) != file.key.get(name)]
    if different:
        raise ValueError(f"'{path}' {OTHER}: they differ in {', '.join(different)}.")
    return file


def _write(path: Path, stored: int, batches: Sequence[Packed]) -> int:
    """Adds batches; returns how many there are then."""
    if not batches:
        return stored
    with opened(path, "r+") as file:
        attributes: Any = file.attrs
        check_count(file, "batches", stored)
        layouts: list[str] = json.loads(attributes["layouts"])
        layouts += dict.fromkeys(one.layout for one in batches if one.layout not in layouts)
        append(file["arrays"], stored, [one.arrays for one in batches])
        put(file["index/layout"], stored, [layouts.index(one.layout) for one in batches])
        put(file["index/digest"], stored, [one.digest for one in batches])
        attributes["layouts"] = json.dumps(layouts)
        file.flush()
        attributes["batches"] = stored + len(batches)
    return stored + len(batches)


def _size(packed: Packed) -> int:
    """Bytes."""
    return sum(array.nbytes for array in packed.arrays.values())


def write_reference(
    path: Path, name: str, key: Mapping[str, Any], compute: Callable[[range], Iterable[Arrays]], advance: Advance
) -> None:
    """Adds a reference to a file of tasks; batches that have it are left as they are.

    Args:
        path: of the file.
        name: of the reference.
        key: method and settings, as JSON holds them.
        compute: gives the arrays of the batches with these numbers, in their order: `log_prob` (B, S) and diagnostics
            (B, …).
        advance: hears of the number of tasks of each batch, also of those that are there already.

    Raises:
        ValueError: a file that cannot be used or lacks batches, another reference of that name, scores that are not
            finite, or another process that has written to it meanwhile.
    """
    file = TaskFile(path).check_complete()
    text = canonical(key)
    stored = _begin_reference(path, name, text)
    advance(stored * file.batch_size)
    missing = range(stored, len(file))
    for number, arrays in zip(missing, compute(missing) if missing else (), strict=True):
        found = {key: np.asarray(array) for key, array in arrays.items()}
        _check_scores(name, found)
        with opened(path, "r+") as handle:
            group: Any = handle[f"references/{name}"]
            check_count(group, "batches", number)
            append(group["arrays"], number, [found])
            handle.flush()
            group.attrs["batches"] = number + 1
        advance(len(found["log_prob"]))


def _begin_reference(path: Path, name: str, key: str) -> int:
    """How many batches have this reference; none where it is new."""
    with opened(path, "r+") as file:
        references: Any = file["references"]
        if name not in references:
            group = references.create_group(name)
            group.create_group("arrays")
            group.attrs.update({"key": key, "batches": 0})
        attributes = references[name].attrs
        if attributes["key"] != key:
            raise ValueError(
                f"'{path}' holds a reference '{name}' with other settings: {attributes['key']}. Give another file."
            )
        return int(attributes["batches"])


def _check_scores(name: str, found: Arrays) -> None:
    """Refuses scores that no evaluation could use."""
    log_prob = found.get("log_prob")
    if log_prob is None or log_prob.ndim != 2 or any(len(array) != len(log_prob) for array in found.values()):
        raise ValueError(f"The reference '{name}' must give log_prob (B, S), and diagnostics with B rows.")
    if not np.isfinite(log_prob).all():
        count = int((~np.isfinite(log_prob)).sum())
        raise ValueError(f"{count} of {log_prob.size} log densities of the reference '{name}' are not finite.")
