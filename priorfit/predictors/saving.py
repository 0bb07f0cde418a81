"""Fitted estimators as files: safetensors arrays, and one JSON document.

The document is that of the network's checkpoint (see `priorfit.checkpoint_file`) with one more entry, "estimator":

    version      1
    class        the estimator's name           parameters   its constructor's arguments
    network      digest of the weights that it was fitted with, which are not in the file
    columns      see `priorfit.predictors.columns`
    tables       which of `TABLES`, and what it needs beside the arrays
    n_features, feature_names, learned          its attributes

Reading runs no code from a file.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from priorfit.checkpoint_file import CheckpointError, open_file, plain, write
from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.predictors.columns import Columns
from priorfit.predictors.member_tables import MemberTables
from priorfit.predictors.plain_tables import PlainTables

if TYPE_CHECKING:
    from priorfit.predictors.table_estimator import TableEstimator

E = TypeVar("E", bound="TableEstimator")

VERSION = 1
TABLES = {"plain": PlainTables, "members": MemberTables}


def save_fitted(estimator: TableEstimator, path: AnyPath) -> Path:
    """Writes a fitted estimator: all of it or nothing.

    Raises:
        CheckpointError: parameters that JSON does not hold, or a file that cannot be written.
    """
    kind = next(name for name, cls in TABLES.items() if isinstance(estimator._tables, cls))
    settings, arrays = estimator._tables.state()
    names = getattr(estimator, "feature_names_in_", None)
    document = {
        "version": VERSION,
        "class": type(estimator).__name__,
        "parameters": {key: _storable(key, value) for key, value in estimator.get_params(deep=False).items()},
        "network": estimator.metadata_.get("weights_sha256"),
        "columns": list(estimator._columns),
        "tables": {"kind": kind, **settings},
        "n_features": estimator.n_features_in_,
        "feature_names": None if names is None else list(names),
        "learned": plain({**estimator._learned(), "unfamiliarity": getattr(estimator, "unfamiliarity_", np.nan)}),
    }
    tensors = {name: torch.from_numpy(np.array(array, order="C")) for name, array in arrays.items()}
    try:
        return write(Path(path), {**estimator.metadata_, "estimator": document}, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"Nothing was written to '{path}': {error}") from error


def load_fitted(cls: type[E], path: AnyPath, changes: dict[str, Any]) -> E:
    """Reads a fitted estimator and finds its network.

    Args:
        cls: the class that was saved.
        path: the file.
        changes: of its parameters.

    Raises:
        CheckpointError: the file or the network cannot be had, or is not what it should be.
    """
    try:
        document, tensors = open_file(Path(path))
        estimator = _restored(cls, document, {name: tensor.numpy() for name, tensor in tensors.items()}, changes)
    except CheckpointError as error:
        raise CheckpointError(f"Cannot read '{path}': {error}") from error
    checkpoint = estimator._open()
    if not estimator._fitted_with(checkpoint):
        raise CheckpointError(
            f"The checkpoint {estimator.checkpoint!r} is not the one that the estimator in '{path}' was fitted with: "
            "name that one (load(path, checkpoint=…)), or fit again."
        )
    estimator._attach_network_of(checkpoint)
    return estimator


def _restored(cls: type[E], document: dict[str, Any], arrays: dict[str, Any], changes: dict[str, Any]) -> E:
    """The estimator of a document, without its network."""
    own = document.pop("estimator", None)
    if not isinstance(own, dict):
        raise CheckpointError("it is a trained network, not a fitted estimator: priorfit.load reads it.")
    if own.get("version") != VERSION:
        raise CheckpointError("it was written by a newer priorfit. Upgrade: pip install --upgrade priorfit")
    if own.get("class") != cls.__name__:
        raise CheckpointError(f"it holds a {own.get('class')}, not a {cls.__name__}: {own.get('class')}.load reads it.")
    try:
        estimator = cls(**{**own["parameters"], **changes})
        settings = own["tables"]
        estimator._tables = TABLES[settings["kind"]].restored(settings, arrays)
        estimator._columns = Columns(*own["columns"])
        estimator.n_features_in_ = own["n_features"]
        estimator._relearn(own["learned"])
        unfamiliarity = own["learned"].get("unfamiliarity")
        estimator.unfamiliarity_ = math.nan if unfamiliarity is None else unfamiliarity
        if own["feature_names"] is not None:
            estimator.feature_names_in_ = np.array(own["feature_names"], dtype=object)
        estimator.metadata_ = {**document, "weights_sha256": own["network"]}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"another version of priorfit wrote it ({error}): fit again.") from error
    return estimator


def _storable(name: str, value: Any) -> Any:
    """A parameter as JSON holds it."""
    if isinstance(value, Checkpoint):
        raise CheckpointError(
            "the checkpoint was given as an object: fit with its name or path, which the file can hold."
        )
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, torch.device):
        return str(value)
    return plain(value)
