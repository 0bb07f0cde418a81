"""HDF5 files that grow: rows are added at their end, and count when all of them are on disk.

Every such file says in its attributes what it is: `format`, `schema_version`, `key` (JSON: all that its numbers depend
on) and `provenance` (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from priorfit.files import replacing
from priorfit.provenance import provenance


def canonical(key: Mapping[str, Any]) -> str:
    """The one JSON text of a key.

    Raises:
        ValueError: it holds something that JSON does not.
    """
    try:
        return json.dumps(key, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"A key holds plain numbers, strings, lists and dictionaries only: {error}.") from error


@contextmanager
def opened(path: Path, mode: str = "r") -> Iterator[h5py.File]:
    """The file, open; what goes wrong with it becomes a ValueError that says what to do."""
    if not path.exists():
        raise ValueError(f"There is no file '{path}'.")
    try:
        with h5py.File(path, mode) as file:
            yield file
    except (OSError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"Cannot use '{path}': {error}. If no other process has it open, it is no HDF5 file or a damaged one: move "
            "it away, and what it should hold is computed again."
        ) from error


@contextmanager
def creating(path: Path, file_format: str, version: int, key: str) -> Iterator[h5py.File]:
    """A new file with its first attributes, to be filled; it appears as `path` when the block ends."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"format": file_format, "schema_version": version, "key": key})
        file.attrs["provenance"] = json.dumps(provenance())
        yield file


def check_format(file: h5py.File, path: Path, file_format: str, version: int) -> None:
    """Refuses files of other programs and of newer versions.

    Raises:
        ValueError: it is one.
    """
    attributes: Any = file.attrs
    if attributes.get("format") != file_format:
        raise ValueError(f"'{path}' is no file of {file_format}. Move it away, or give another name.")
    if attributes["schema_version"] > version:
        raise ValueError(f"'{path}' was written by a newer priorfit: update it, or give another name.")


def new_column(group: Any, name: str, shape: Sequence[int], dtype: Any, chunk: int, fill: Any = None) -> Any:
    """An empty data set (0, *shape) that can grow, and whose damage is noticed when it is read."""
    return group.create_dataset(
        name,
        (0, *shape),
        dtype,
        maxshape=(None, *shape),
        chunks=(chunk, *shape),
        fillvalue=fill,
        fletcher32=True,
    )


def put(data: Any, start: int, values: Any) -> None:
    """Writes rows from `start` on, which become the last ones of a data set."""
    data.resize(start + len(values), 0)
    if len(values):
        data[start:] = np.asarray(values, data.dtype)


def check_count(holder: Any, attribute: str, expected: int) -> None:
    """Refuses to add to a file (or to a group of one) that holds another number of things than it did.

    Raises:
        ValueError: somebody else has added some.
    """
    if holder.attrs[attribute] != expected:
        raise ValueError(f"Another process writes to '{holder.file.filename}'. Wait for it, then start again.")
