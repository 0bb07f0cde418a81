"""Named arrays of any shapes, one item after the other: nothing is padded, and each item is one contiguous read.

Layout: a group per name with two data sets, `values` (numbers of all items in a row) and `shapes` (items, RANK), filled
up with -1; an item without this array has -1 only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from priorfit.task_files.hdf5 import new_column, put

Arrays = Mapping[str, np.ndarray]
RANK = 8  # dimensions of an array, at most
SHAPE_ROWS = 256  # per chunk
CHUNKS = 2**10, 2**18  # numbers per chunk: as many as the first array has, within these


class RaggedIndex:
    """Where the arrays of the first `count` items are.

    Args:
        group: an open HDF5 group.
        count: how many of its items are complete.

    Raises:
        KeyError: the group holds fewer.
    """

    def __init__(self, group: Any, count: int) -> None:
        self.shapes: dict[str, np.ndarray] = {}
        self.ends: dict[str, np.ndarray] = {}
        for name, part in group.items():
            shapes = part["shapes"][:count]
            sizes = np.where(shapes[:, 0] < 0, 0, np.where(shapes < 0, 1, shapes).prod(1))
            self.shapes[name], self.ends[name] = shapes, sizes.cumsum()
            if len(shapes) < count or self.end(name, count) > len(part["values"]):
                raise KeyError(f"'{name}' lacks rows")

    def end(self, name: str, index: int) -> int:
        """How many numbers the items before `index` have."""
        return int(self.ends[name][index - 1]) if index else 0

    def read(self, group: Any, index: int) -> dict[str, np.ndarray]:
        """The arrays of one item."""
        found = {}
        for name, shapes in self.shapes.items():
            shape = shapes[index]
            if shape[0] >= 0:
                values = group[name]["values"][self.end(name, index) : self.end(name, index + 1)]
                found[name] = values.reshape(shape[shape >= 0])
        return found


def append(group: Any, count: int, items: Sequence[Arrays]) -> None:
    """Writes items after the first `count` ones; what an interrupted run left there is overwritten.

    Args:
        group: an open HDF5 group.
        count: how many of its items are complete.
        items: at least one.

    Raises:
        ValueError: an array of another type than those of its name, or of more than RANK dimensions.
    """
    index = RaggedIndex(group, count)
    for name in {**index.shapes, **{name: None for item in items for name in item}}:
        arrays = [item.get(name) for item in items]
        present = [array for array in arrays if array is not None]
        if name not in group:
            _create(group, name, count, present[0])
        part = group[name]
        wrong = [array.dtype for array in present if array.dtype != part["values"].dtype or array.ndim > RANK]
        if wrong:
            raise ValueError(f"'{name}' is {part['values'].dtype} of at most {RANK} dimensions, not {wrong[0]}.")
        start = index.end(name, count) if name in index.ends else 0
        put(part["values"], start, np.concatenate([array.ravel() for array in present] or [np.empty(0)]))
        put(part["shapes"], count, [_padded(array) for array in arrays])


def _create(group: Any, name: str, count: int, first: np.ndarray) -> None:
    """The empty data sets of a name that the first `count` items lack."""
    low, high = CHUNKS
    new_column(group, f"{name}/values", (), first.dtype, min(max(first.size, low), high))
    new_column(group, f"{name}/shapes", (RANK,), np.int64, SHAPE_ROWS, fill=-1).resize(count, 0)


def _padded(array: np.ndarray | None) -> list[int]:
    """A row of `shapes`."""
    shape = () if array is None else array.shape
    return [*shape, *[-1] * (RANK - len(shape))]
