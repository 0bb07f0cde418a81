"""Training rows for a network that takes tables of any kind, as each member of an ensemble sees them.

Letters: E members, n training rows of a member, m queries, F features of a member, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from priorfit.predictors.input_maps import fit_map
from priorfit.predictors.members import Member, n_digits
from priorfit.predictors.units import Units


@dataclass(eq=False)
class MemberTables:
    """As many tables as there are members, of one shape.

    Attributes:
        x: numbers, and codes of categories, of all rows and of the columns that are not constant, float64.
        y: targets with mean 0 and standard deviation 1, or indices of classes.
        kept: which columns of the user's table those are.
        categorical: which of them are categorical.
        members: who sees what.
        n_classes: C, or 0 for regression.
        y_units: between y and the user's targets.
    """

    x: ndarray
    y: ndarray
    kept: ndarray
    categorical: ndarray
    members: list[Member]
    n_classes: int
    y_units: Units

    def __post_init__(self) -> None:
        numbers = self.x[:, ~self.categorical]
        names = dict.fromkeys(member.transform for member in self.members)
        self._maps = {name: fit_map(name, numbers) for name in names}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles hold the fields; maps are fitted again."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @property
    def n_digits(self) -> int:
        """How many members, side by side, tell the classes apart together: they share columns and rows."""
        return n_digits(self.n_classes, self.n_groups)

    @property
    def n_groups(self) -> int:
        """How many classes the network tells apart, at least 2; 0 for regression."""
        return max(2, *(max(member.codes) + 1 for member in self.members)) if self.n_classes else 0

    def context(self) -> tuple[Tensor, ...]:
        """The arguments of the network's `encode`: those of `priorfit.priors.task.Table` without queries."""
        rows = [slice(None) if member.rows is None else member.rows for member in self.members]
        x = self._seen(self.x, rows)
        y = [self._coded(member)[part] for member, part in zip(self.members, rows, strict=True)]
        categorical = np.stack([self.categorical[member.features] for member in self.members])
        return x, _float32(np.stack(y)), torch.from_numpy(categorical), torch.full((len(x),), self.n_groups)

    def summary(self, network: Any, caches: Any, device: Any) -> tuple[Tensor | None, Tensor]:
        """The network's summary of what the first member sees, (1, J), of its encoded `caches`; and the rows, (1,)."""
        summary, rows = getattr(caches[0], "summary", None), self.members[0].rows
        return None if summary is None else summary[:1], torch.tensor([len(self.x if rows is None else rows)])

    def queries(self, x: ndarray) -> Tensor:
        """Queries, in the user's columns, as the members see them, (E, m, F), float32."""
        return self._seen(select(x, self.kept), [slice(None)] * len(self.members))

    def _coded(self, member: Member) -> ndarray:
        """Targets as a member sees them."""
        return np.asarray(member.codes)[self.y] if self.n_classes else self.y

    def _seen(self, x: ndarray, rows: list[Any]) -> Tensor:
        """What each member sees of x."""
        mapped = {}
        for name, numeric_map in self._maps.items():
            mapped[name] = x.copy()
            mapped[name][:, ~self.categorical] = numeric_map(x[:, ~self.categorical])
        pairs = zip(self.members, rows, strict=True)
        return torch.stack([_float32(mapped[member.transform][part][:, member.features]) for member, part in pairs])

    def state(self) -> tuple[dict[str, Any], dict[str, ndarray]]:
        """What JSON holds, and arrays, from which `restored` makes the same again."""
        plain = {"members": [list(member) for member in self.members], "n_classes": self.n_classes}
        arrays = {"x": self.x, "y": self.y, "kept": self.kept, "categorical": self.categorical}
        return plain, {**arrays, "y_loc": self.y_units.loc, "y_scale": self.y_units.scale}

    @classmethod
    def restored(cls, plain: dict[str, Any], arrays: dict[str, ndarray]) -> Self:
        """The opposite of `state`."""
        members = [Member(*member) for member in plain["members"]]
        units = Units(arrays["y_loc"], arrays["y_scale"])
        own = {name: arrays[name] for name in ("x", "y", "kept", "categorical")}
        return cls(**own, members=members, n_classes=plain["n_classes"], y_units=units)


def informative(x: ndarray) -> ndarray:
    """Indices of the columns of x that are neither constant nor all missing."""
    return np.flatnonzero((x != x[0]).any(0) & ~np.isnan(x).all(0))


def select(x: ndarray, kept: ndarray) -> ndarray:
    """Some columns of x, or one of zeros where none is kept."""
    return np.ascontiguousarray(x[:, kept]) if len(kept) else np.zeros((len(x), 1))


def _float32(values: ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
