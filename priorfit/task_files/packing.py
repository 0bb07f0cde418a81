"""Batches of tasks as plain arrays and a description, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from priorfit.priors import Curves, Evidence, JumpPaths, Regression, Table, Task
from priorfit.registry import closest
from priorfit.task_files.laws import inside, pack_law, unpack_law
from priorfit.task_files.ragged import Arrays

FAMILIES: dict[str, Any] = {cls.__name__: cls for cls in (Curves, Evidence, JumpPaths, Regression, Table)}
DIGEST = 16  # hexadecimal digits


class Packed(NamedTuple):
    """One batch.

    Attributes:
        layout: {"observed": name of the family, "law": description or None}, as JSON.
        arrays: `observed.<field>`, `hidden` and `law.<tensor>`, each with a row per task.
    """

    layout: str
    arrays: Arrays

    @property
    def digest(self) -> str:
        """Tells batches apart."""
        found = hashlib.sha256(self.layout.encode())
        for name, array in sorted(self.arrays.items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        return found.hexdigest()[:DIGEST]


def pack_task(task: Task) -> Packed:
    """A batch as it is stored.

    Raises:
        ValueError: observations or a law of an unknown class, values that are NaN, or tensors without a row per task.
    """
    family = type(task.observed).__name__
    if FAMILIES.get(family) is not type(task.observed):
        raise ValueError(f"Observations of the class '{family}' cannot be stored: {closest(family, FAMILIES)}")
    law, of_law = (None, {}) if task.law is None else pack_law(task.law)
    tensors = {f"observed.{name}": tensor for name, tensor in task.observed._asdict().items()}
    latent = {"hidden": task.hidden, **{f"law.{name}": tensor for name, tensor in of_law.items()}}
    for name, tensor in {**tensors, **latent}.items():
        if tensor.shape[:1] != (len(task),):
            raise ValueError(f"'{name}' must have a row for each of {len(task)} tasks, not {tuple(tensor.shape)}.")
        if name in latent and tensor.isnan().any():
            raise ValueError(f"'{name}' has values that are NaN: check the prior.")
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in {**tensors, **latent}.items()}
    return Packed(json.dumps({"observed": family, "law": law}, sort_keys=True), arrays)


def unpack_task(layout: str, arrays: Arrays) -> Task:
    """The batch that was packed, bit for bit.

    Raises:
        KeyError: arrays that the layout does not describe.
    """
    described: Mapping[str, Any] = json.loads(layout)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    family = FAMILIES[described["observed"]]
    observed = family(*(tensors[f"observed.{field}"] for field in family._fields))
    law = None if described["law"] is None else unpack_law(described["law"], inside("law", tensors))
    return Task(observed, tensors["hidden"], law)
