"""What the estimators for tables share: reading columns, encoding the training rows, asking in batches, saving.

Letters: n training rows, m queries, F features, E members, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy import ndarray
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.predictors.column_values import as_table
from priorfit.predictors.columns import Chosen, Columns
from priorfit.predictors.input_maps import check_transforms
from priorfit.predictors.limits import check_count, check_room, trained_sizes
from priorfit.predictors.loading import TableNetwork, network_class, network_on, resolve_device
from priorfit.predictors.member_tables import MemberTables, informative, select
from priorfit.predictors.members import Room, draw_members
from priorfit.predictors.network_estimator import NetworkEstimator
from priorfit.predictors.plain_tables import PlainTables
from priorfit.predictors.saving import load_fitted, save_fitted
from priorfit.predictors.unfamiliar import has_check, unfamiliarity
from priorfit.predictors.units import Units

ROWS_FACTOR = 4  # times the rows of the longest training tasks: as many are shown to a member
MEMBERS_AT_ONCE = 8  # in one batch: bounds memory


class TableEstimator(NetworkEstimator):
    """Base of the estimators for tables. A subclass reads targets, and says what to make of the members' answers."""

    n_estimators: int
    transforms: Sequence[str]
    categorical_features: Chosen
    max_rows: int | None
    query_batch: int
    ignore_limits: bool
    random_state: Any
    n_features_in_: int
    feature_names_in_: ndarray
    unfamiliarity_: float

    _columns: Columns
    _tables: PlainTables | MemberTables
    _left_out: ClassVar = (*NetworkEstimator._left_out, "_caches")

    def __sklearn_tags__(self) -> Any:
        """Whether missing values are taken depends on the network, as far as that is known without a download."""
        tags = super().__sklearn_tags__()
        if hasattr(self, "_tables"):
            tags.input_tags.allow_nan = isinstance(self._tables, MemberTables)
        else:
            network = network_class(self.checkpoint)
            tags.input_tags.allow_nan = bool(getattr(network, "takes_tables", False))
        return tags

    def save(self, path: AnyPath) -> Path:
        """Writes the fitted estimator to one safetensors file: training rows, settings and the checkpoint's name.

        The network's weights are not stored: `load` finds them through the checkpoint. No pickle is involved.

        Args:
            path: where to; missing folders are made.

        Returns:
            The path.

        Raises:
            NotFittedError: before `fit`.
            CheckpointError: the checkpoint was given as an object, another parameter is more than plain numbers and
                texts, or the file cannot be written.
        """
        check_is_fitted(self, "metadata_")
        return save_fitted(self, path)

    @classmethod
    def load(
        cls, path: AnyPath, *, checkpoint: AnyPath | Checkpoint | None = None, device: str | torch.device | None = None
    ) -> Self:
        """Reads what `save` wrote; predictions are the same as before.

        Args:
            path: the file.
            checkpoint: where the network is, if not where it was.
            device: where it is to run, if not where it did.

        Raises:
            CheckpointError: no such file, not one that `save` of this class wrote, damaged, or the network is not to
                be had or not the one that the estimator was fitted with.
        """
        changes = {"checkpoint": checkpoint, "device": device}
        return load_fitted(cls, path, {key: value for key, value in changes.items() if value is not None})

    def _read_training(self, X: Any, y: Any) -> Any:
        """X as a table, with its columns' names and number noted and compared with y."""
        self._check_settings()
        table = as_table(X)
        validate_data(self, table, y, skip_check_array=True)
        check_consistent_length(table, y)
        return table

    def _check_settings(self) -> None:
        """Raises ValueError for settings that cannot be used."""
        check_count("query_batch", self.query_batch)
        check_count("n_estimators", self.n_estimators)
        if self.max_rows is not None:
            check_count("max_rows", self.max_rows)
        check_transforms(self.transforms)

    def _fit(self, table: Any, y: ndarray, n_classes: int) -> Self:
        """Encodes training rows.

        Args:
            table: what `_read_training` returned.
            y: numbers, or indices of classes, (n,).
            n_classes: C, or 0 for regression.
        """
        device = resolve_device(self.device)
        checkpoint = self._open()
        network = network_on(checkpoint.network, device)
        names = getattr(self, "feature_names_in_", None)
        self._columns = Columns.fit(table, self.categorical_features, names)
        x = self._columns.transform(table)
        self._tables = self._tables_for(network, checkpoint.metadata, x, y, n_classes)
        self._attach(network, device)
        self.metadata_ = checkpoint.metadata
        self.unfamiliarity_ = self._compared(network, device)
        return self

    def _compared(self, network: Any, device: torch.device) -> float:
        """How unlike the training's draws the training rows are."""
        if not has_check(self.metadata_):
            return math.nan
        summary, size = self._tables.summary(network, self._caches, device)
        return float(unfamiliarity(self.metadata_, network, [summary], [size], "data")[0])

    def _tables_for(
        self, network: Any, metadata: dict[str, Any], x: ndarray, y: ndarray, n_classes: int
    ) -> PlainTables | MemberTables:
        """What the network is shown of training rows x (n, F) and targets y (n,)."""
        return self._member_tables(network, metadata, x, y, n_classes)

    def _member_tables(
        self, network: TableNetwork, metadata: dict[str, Any], x: ndarray, y: ndarray, n_classes: int
    ) -> MemberTables:
        """What members see."""
        trained = trained_sizes(metadata)
        rows = None if self.ignore_limits or trained.rows is None else ROWS_FACTOR * trained.rows
        room = Room(self.max_rows or rows, network.max_features, network.max_classes)
        kept = informative(x)
        check_room((len(x), len(kept)), trained, room)
        seen = select(x, kept)
        categorical = self._columns.categorical[kept] if len(kept) else np.zeros(1, dtype=bool)
        random = check_random_state(self.random_state)
        features = range(seen.shape[1])
        members = draw_members(self.n_estimators, features, y, n_classes, room, self.transforms, random)
        units = Units.unchanged() if n_classes else Units.matching(y, 0.0, 1.0)
        targets = y if n_classes else units.to_network(y, "y").astype(np.float64)
        return MemberTables(seen, targets, kept, categorical, members, n_classes, units)

    def _attach(self, network: Any, device: torch.device) -> None:
        """Encodes the training rows too, a few members at a time."""
        parts = zip(*(part.split(MEMBERS_AT_ONCE) for part in self._tables.context()), strict=True)
        with torch.inference_mode():
            self._caches = [network.encode(*(tensor.to(device) for tensor in part)) for part in parts]
        super()._attach(network, device)

    def _answers(self, X: Any) -> Iterator[tuple[list[Any], int]]:
        """The members' distributions, some of the E members each, for `query_batch` rows; and how many of those count.

        The network always sees `query_batch` rows: matrix products of other shapes round differently.
        """
        check_is_fitted(self, "metadata_")
        check_count("query_batch", self.query_batch)
        table = as_table(X)
        validate_data(self, table, skip_check_array=True, reset=False)
        x = self._columns.transform(table)
        self._restore()
        for rows in self._tables.queries(x).split(self.query_batch, 1):  # (E, rows, F)
            padded = torch.nn.functional.pad(rows, (0, 0, 0, self.query_batch - rows.shape[1]))
            yield self._decode(padded), rows.shape[1]

    def _decode(self, queries: Tensor) -> list[Any]:
        """Distributions at queries (E, query_batch, F)."""
        parts = zip(self._caches, queries.split(MEMBERS_AT_ONCE), strict=True)
        with torch.inference_mode():
            return [self._network.decode(cache, part.to(self._device)) for cache, part in parts]

    def _learned(self) -> dict[str, Any]:
        """What a saved file holds of a subclass's own attributes, as JSON takes it."""
        return {}

    def _relearn(self, learned: dict[str, Any]) -> None:
        """Sets the attributes that `_learned` returned."""
