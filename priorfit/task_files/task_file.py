"""Tasks of one prior in an HDF5 file, with references, read batch by batch.

Layout, beside the attributes that `hdf5` describes:

    batches, planned   attributes: how many batches are complete, and how many there are to be
    key_sha256         attribute: digest of `key`
    layouts            attribute: a list of the descriptions that batches have (`packing.Packed.layout`), as JSON
    index/layout       which of these each batch has, (batches,)
    index/digest       `packing.Packed.digest` of each batch, (batches,)
    arrays/<name>/…    the batches' arrays, see `ragged`
    references/<name>  attributes `key` (JSON: method and settings) and `batches`; arrays/… likewise: "log_prob" (B, S)
                       of the hidden values, and diagnostics, (B, …)

The key holds the prior's name and arguments, `purpose` ("training" or "evaluation"), `seed` and `batch_size`, and for
an evaluation `context_sizes`, `queries` and `tasks` (per context size). Batches of an evaluation stand in the order of
the context sizes.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from priorfit.priors import Prior, Task, priors
from priorfit.registry import closest
from priorfit.task_files.hdf5 import check_format, opened
from priorfit.task_files.packing import Packed, unpack_task
from priorfit.task_files.ragged import RaggedIndex

FORMAT, SCHEMA_VERSION = "priorfit tasks", 1


class StoredReference(NamedTuple):
    """Where the scores of a reference are, and of how many batches there are some."""

    index: RaggedIndex
    batches: int
    key: str


class TaskFile:
    """Reads tasks that `write_tasks` wrote, and references to them.

    Every read opens the file and closes it, so that objects can go to other processes.

    Args:
        path: of the file.

    Attributes:
        key: what decides its tasks, see the module.

    Raises:
        ValueError: no such file, one of another program or of a newer version, or a damaged one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with opened(self.path) as file:
            check_format(file, self.path, FORMAT, SCHEMA_VERSION)
            attributes: Any = file.attrs
            if text_sha256(attributes["key"]) != attributes["key_sha256"]:
                raise KeyError("its key was changed")
            self.key: dict[str, Any] = json.loads(attributes["key"])
            self.layouts: list[str] = json.loads(attributes["layouts"])
            self._batches, self.planned = int(attributes["batches"]), int(attributes["planned"])
            self._read_index(file)

    def _read_index(self, file: h5py.File) -> None:
        """Where everything is."""
        index: Any = file["index"]
        self._layout, digests = index["layout"][: len(self)], index["digest"][: len(self)]
        self.digests = [digest.decode() for digest in digests]
        self._arrays = RaggedIndex(file["arrays"], len(self))
        if len(self._layout) < len(self) or len(digests) < len(self):
            raise KeyError("its index lacks rows")
        self._references: dict[str, StoredReference] = {}
        for name, group in file["references"].items():  # type: ignore[union-attr]
            count = int(group.attrs["batches"])
            self._references[name] = StoredReference(RaggedIndex(group["arrays"], count), count, group.attrs["key"])

    def __len__(self) -> int:
        """How many batches are complete."""
        return self._batches

    @property
    def batch_size(self) -> int:
        """B, tasks per batch; the last one of a context size may have fewer."""
        return self.key["batch_size"]

    @property
    def tasks(self) -> int:
        """How many tasks there are in all."""
        return int(self._arrays.shapes["hidden"][:, 0].sum()) if len(self) else 0

    @property
    def context_sizes(self) -> list[int]:
        """The context sizes of tasks for an evaluation; empty for tasks of whatever sizes the prior draws."""
        return self.key.get("context_sizes", [])

    @property
    def references(self) -> list[str]:
        """Names of stored references."""
        return list(self._references)

    @cached_property
    def prior(self) -> Prior:
        """What the tasks were drawn from.

        Raises:
            ValueError: its class is not known here, or refuses the recorded arguments.
        """
        name = self.key["prior"]["name"]
        try:
            return priors.build(name, self.key["prior"]["arguments"])
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The prior '{name}' of '{self.path}' cannot be built: {error} If its class is your own, import it "
                "first; if another version of priorfit wrote the file, use that one or write it again."
            ) from error

    @property
    def digest(self) -> str:
        """Tells files of different tasks apart."""
        return text_sha256("".join([json.dumps(self.key, sort_keys=True), *self.digests]))[:16]

    def check_complete(self) -> TaskFile:
        """Returns this file if it has all batches that were asked for.

        Raises:
            ValueError: writing it was interrupted.
        """
        if len(self) < max(self.planned, 1):
            raise ValueError(
                f"'{self.path}' has {len(self)} of {self.planned} batches: finish it with the command that began it."
            )
        return self

    def batches_of(self, n_context: int) -> range:
        """The numbers of the batches of one context size.

        Raises:
            ValueError: the file has no tasks of that size.
        """
        if n_context not in self.context_sizes:
            known = ", ".join(map(str, self.context_sizes)) or "none: its tasks have the sizes that the prior drew"
            raise ValueError(f"'{self.path}' has no tasks of the fixed context size {n_context}; it has {known}.")
        each, first = -(-self.key["tasks"] // self.batch_size), self.context_sizes.index(n_context)
        return range(first * each, (first + 1) * each)

    def context_of(self, number: int) -> int:
        """The context size of a batch of an evaluation."""
        return self.context_sizes[number // len(self.batches_of(self.context_sizes[0]))]

    def batch(self, number: int) -> Task:
        """Batch number 0, 1, …, on the CPU.

        Raises:
            ValueError: it is damaged.
        """
        with opened(self.path) as file:
            packed = Packed(self.layouts[self._layout[number]], self._arrays.read(file["arrays"], number))
            if packed.digest != self.digests[number]:
                raise KeyError(f"batch {number} was changed")
            return unpack_task(*packed)

    def reference(self, name: str, number: int) -> dict[str, np.ndarray]:
        """What a stored reference says of a batch: `log_prob` (B, S) in nats, and diagnostics (B, …).

        Raises:
            ValueError: no such reference, one that was not finished, or damage.
        """
        found = self.check_reference(name)
        with opened(self.path) as file:
            return found.index.read(file[f"references/{name}/arrays"], number)

    def check_reference(self, name: str) -> StoredReference:
        """Where the reference of that name is.

        Raises:
            ValueError: there is none, or it was not finished.
        """
        if name not in self._references:
            raise ValueError(
                f"'{self.path}' has no reference '{name}': {closest(name, self._references)} Add it: python -m "
                f"scripts.dump_tasks --output {self.path} --reference {name}"
            )
        found = self._references[name]
        if found.batches < len(self):
            raise ValueError(
                f"The reference '{name}' in '{self.path}' has {found.batches} of {len(self)} batches: finish it with "
                f"python -m scripts.dump_tasks --output {self.path} --reference {name}"
            )
        return found


def text_sha256(text: str) -> str:
    """The digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
