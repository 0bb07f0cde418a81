"""What was observed of several learning curves.

Letters: C curves, n observed steps of the longest prefix, S copies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy import ndarray


class Prefixes(NamedTuple):
    """Observed steps and values, from left to right; zeros stand past the end of shorter prefixes.

    Attributes:
        steps: increasing along each curve, (C, n).
        values: (C, n).
        lengths: how many were observed of each curve, (C,), int64.
    """

    steps: ndarray
    values: ndarray
    lengths: ndarray

    @classmethod
    def padded(cls, pairs: Sequence[tuple[ndarray, ndarray]]) -> Self:
        """From the steps and values of each curve."""
        lengths = np.array([len(steps) for steps, _ in pairs], dtype=np.int64)
        empty = np.zeros((len(pairs), lengths.max()))
        prefixes = cls(empty, empty.copy(), lengths)
        for part, rows in zip((prefixes.steps, prefixes.values), zip(*pairs, strict=True), strict=True):
            part[prefixes.observed] = np.concatenate(rows)
        return prefixes

    @property
    def observed(self) -> ndarray:
        """Where there is an observation and not padding, (C, n)."""
        return np.arange(self.steps.shape[1]) < self.lengths[:, None]

    @property
    def last_steps(self) -> ndarray:
        """The last observed step of each curve, 0 where there is none, (C,)."""
        return self.steps.max(1, initial=0)

    def with_values(self, change: Callable[[ndarray], ndarray]) -> Self:
        """The same with other values: what `change` makes of all that were observed, in one array."""
        values = np.zeros_like(self.values)
        values[self.observed] = change(self.values[self.observed])
        return self._replace(values=values)

    def take(self, curves: slice | Sequence[int]) -> Self:
        """Some of the curves, no wider than they need."""
        lengths = self.lengths[curves]
        width = lengths.max()
        return type(self)(self.steps[curves, :width], self.values[curves, :width], lengths)

    def repeat(self, copies: int) -> Self:
        """All curves S times over, (S * C, n)."""
        return type(self)(*(np.concatenate([part] * copies, axis=0) for part in self))

    def append(self, steps: ndarray, values: ndarray) -> Self:
        """With one more observation of each curve, at `steps` (C,) after its last one."""
        curves = np.arange(len(self.lengths))
        all_steps, all_values = (np.pad(part, ((0, 0), (0, 1))) for part in (self.steps, self.values))
        all_steps[curves, self.lengths], all_values[curves, self.lengths] = steps, values
        return type(self)(all_steps, all_values, self.lengths + 1)
