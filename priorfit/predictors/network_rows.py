"""Rows of a table as a network sees them that is asked about many completions of the table at once.

Letters: n observed rows, N observed and drawn rows, m queries, F features, R draws, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length
from torch import Tensor
from torch.distributions import Categorical, Distribution

from priorfit.models import Network
from priorfit.predictors.column_values import as_table
from priorfit.predictors.columns import Chosen, Columns
from priorfit.predictors.loading import predicts_classes, predicts_numbers
from priorfit.predictors.member_tables import MemberTables
from priorfit.predictors.members import Member
from priorfit.predictors.plain_tables import PlainTables
from priorfit.predictors.targets import read_classes, read_numbers
from priorfit.predictors.units import Units


@dataclass(frozen=True, eq=False)
class NetworkRows:
    """Observed rows, and the way between the user's units and the network's.

    Attributes:
        network: what predicts; it sees rows, or whole tables where it `takes_tables`.
        X: the observed inputs as the user gave them, (n, F).
        y: the observed targets, as numbers or as the user's classes, (n,).
        columns: what the columns of X hold.
        tables: the rows in the network's units.
        classes: the user's classes, (C,), or None where targets are numbers.
    """

    network: Any
    X: ndarray
    y: ndarray
    columns: Columns
    tables: PlainTables | MemberTables
    classes: ndarray | None

    @classmethod
    def read(cls, network: Network, X: Any, y: ArrayLike, categorical_features: Chosen, standardize: bool) -> Self:
        """Reads observed rows.

        Args:
            network: of rows or of tables.
            X: (n, F).
            y: (n,), classes where the network predicts nothing but classes.
            categorical_features: see `PFNClassifier`.
            standardize: see `PFNRegressor`.

        Raises:
            ValueError: data that this network cannot be shown.
        """
        table = np.asarray(as_table(X))
        table = table.astype(np.float64) if table.dtype.kind in "biuf" else table
        check_consistent_length(table, y)
        columns = Columns.fit(table, categorical_features)
        x = columns.transform(table)
        if predicts_classes(network) and not predicts_numbers(network):
            classes, indices = read_classes(y)
            if len(classes) < 2:
                raise ValueError("y holds one class only: future rows can be drawn from the classes in y alone.")
            tables = _whole_table(x, indices, columns, len(classes), Units.unchanged())
            return cls(network, table, classes[indices], columns, tables, classes)
        numbers = read_numbers(y)
        if getattr(network, "takes_tables", False):
            units = Units.matching(numbers, 0.0, 1.0)
            tables = _whole_table(x, units.to_network(numbers, "y"), columns, 0, units)
        else:
            tables = PlainTables.fit(x, numbers, columns, _with_units(network, standardize), standardize)
        return cls(network, table, numbers, columns, tables, None)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        network: Network = self.network
        tensors: Iterator[Tensor] = chain(network.parameters(), network.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def context(self) -> tuple[Tensor, Tensor]:
        """The observed x (1, n, F) and y (1, n)."""
        x, y, *_ = self.tables.context()
        return x.to(self.device), y.to(self.device)

    def queries(self, X: ndarray) -> Tensor:
        """The user's inputs (..., F) as the network sees them, same shape."""
        x = self.columns.transform(X.reshape(-1, X.shape[-1]))
        return self.tables.queries(x)[0].reshape(*X.shape[:-1], -1).to(self.device)

    def predict(self, x: Tensor, y: Tensor, x_query: Tensor) -> Distribution:
        """The network's predictive at x_query (R, m, F) given completed rows x (R, N, F) and y (R, N)."""
        facts = (part.to(x.device).expand(len(x), *part.shape[1:]) for part in self.tables.context()[2:])
        return self.network(x, y, x_query, *facts)

    def quantiles(self, predictive: Distribution, levels: Tensor) -> Tensor:
        """Where the predictive (R, m) reaches levels (R, m): numbers, or indices of classes.

        Raises:
            ValueError: a distribution of numbers that has no quantiles.
        """
        if isinstance(predictive, Categorical):
            upper = self.probabilities(predictive).double().cumsum(-1)[..., :-1]
            return (levels[..., None] > upper).sum(-1)
        try:
            return predictive.icdf(levels)
        except NotImplementedError:
            raise ValueError(
                f"Rows cannot be drawn from a {type(predictive).__name__}, which has no quantile function (icdf): let "
                "the network return a distribution that has one, priorfit.distributions.BarDistribution for instance."
            ) from None

    def probabilities(self, predictive: Categorical) -> Tensor:
        """Of the user's C classes, (R, m, C)."""
        assert self.classes is not None
        return predictive.probs[..., : len(self.classes)]

    def to_user(self, y: Tensor) -> ndarray:
        """Targets in the user's units, or the user's classes, same shape."""
        values = y.cpu().numpy()
        if self.classes is not None:
            return self.classes[values.astype(int)]
        return self.tables.y_units.loc + self.tables.y_units.scale * values.astype(np.float64)


def _whole_table(x: ndarray, y: ndarray, columns: Columns, n_classes: int, units: Units) -> MemberTables:
    """All rows and columns in their own order, as the one member of an ensemble sees them."""
    member = Member(list(range(x.shape[1])), list(range(n_classes)), "none", None)
    return MemberTables(x, y, np.arange(x.shape[1]), columns.categorical, [member], n_classes, units)


def _with_units(network: Any, standardize: bool) -> Any:
    """The network, which must know its prior's units where rows are to be standardised."""
    if standardize and not all(hasattr(network, name) for name in ("x_loc", "x_scale", "y_loc", "y_scale")):
        raise ValueError(
            f"standardize=True needs a network that knows the units of its prior (x_loc, x_scale, y_loc, y_scale), and "
            f"{type(network).__name__} does not: give X and y in those units, with standardize=False."
        )
    return network
