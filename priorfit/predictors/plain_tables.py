"""Training rows for a network that takes finite numbers in the units of its prior.

Letters: n training rows, m queries, F features.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from priorfit.predictors.columns import Columns
from priorfit.predictors.loading import RegressionNetwork
from priorfit.predictors.units import Units


class PlainTables(NamedTuple):
    """One table (B = 1) of finite numbers.

    Attributes:
        x: in the network's units, (n, F), float32.
        y: in the network's units, (n,), float32.
        x_units, y_units: between those and the user's.
        labels: what error messages call the columns.
    """

    x: ndarray
    y: ndarray
    x_units: Units
    y_units: Units
    labels: list[str]

    @classmethod
    def fit(cls, x: ndarray, y: ndarray, columns: Columns, network: RegressionNetwork, standardize: bool) -> Self:
        """From training rows x (n, F) and targets y (n,).

        Raises:
            ValueError: categorical columns, missing values, or values too far out for the network's arithmetic.
        """
        if columns.categorical.any():
            raise ValueError(
                f"could not convert string to float: {columns.labels[columns.categorical.argmax()]} is categorical or "
                "holds text, and the network of this checkpoint takes numbers only. Encode it "
                "(sklearn.preprocessing.OneHotEncoder is one way), or use a checkpoint for tables of any kind "
                "(priorfit.list_checkpoints() names them)."
            )
        _refuse_missing(x, columns.labels)
        x_units = y_units = Units.unchanged()
        if standardize:
            x_units = Units.matching(x, network.x_loc.item(), network.x_scale.item())
            y_units = Units.matching(y, network.y_loc.item(), network.y_scale.item())
        return cls(x_units.to_network(x, "X"), y_units.to_network(y, "y"), x_units, y_units, columns.labels)

    def context(self) -> tuple[Tensor, ...]:
        """The arguments of the network's `encode`."""
        return torch.from_numpy(self.x)[None], torch.from_numpy(self.y)[None]

    def summary(self, network: RegressionNetwork, caches: Any, device: torch.device) -> tuple[Tensor | None, Tensor]:
        """The network's summary of the training rows, (1, J), and how much is observed, (1,)."""
        x, y = (part.to(device) for part in self.context())
        with torch.inference_mode():
            return network.summary(x, y, x[:, :0]), network.n_observed(x, y, x[:, :0])

    def queries(self, x: ndarray) -> Tensor:
        """Queries x (m, F) as the network takes them, (1, m, F), float32.

        Raises:
            ValueError: missing values, or values too far out for the network's arithmetic.
        """
        _refuse_missing(x, self.labels)
        return torch.from_numpy(self.x_units.to_network(x, "X"))[None]

    def state(self) -> tuple[dict[str, Any], dict[str, ndarray]]:
        """What JSON holds, and arrays, from which `restored` makes the same again."""
        arrays = {"x": self.x, "y": self.y, "x_loc": self.x_units.loc, "x_scale": self.x_units.scale}
        return {"labels": self.labels}, {**arrays, "y_loc": self.y_units.loc, "y_scale": self.y_units.scale}

    @classmethod
    def restored(cls, plain: dict[str, Any], arrays: dict[str, ndarray]) -> Self:
        """The opposite of `state`."""
        units = (Units(arrays[f"{name}_loc"], arrays[f"{name}_scale"]) for name in "xy")
        return cls(arrays["x"], arrays["y"], *units, labels=plain["labels"])


def _refuse_missing(x: ndarray, labels: list[str]) -> None:
    """Raises ValueError where a value is missing."""
    missing = np.isnan(x)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise ValueError(
            f"Input X contains NaN (a missing value), the first in row {row} of {labels[column]}, and the network of "
            "this checkpoint takes numbers only. Impute (sklearn.impute.SimpleImputer is one way), drop those rows, or "
            "use a checkpoint for tables of any kind (priorfit.list_checkpoints() names them)."
        )
