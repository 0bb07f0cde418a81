"""Between the units of the user's data and those of the prior that a network was trained on."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy import ndarray

FAR = 1e6  # in the network's units; beyond it float32 arithmetic would overflow somewhere in the network


class Units(NamedTuple):
    """The map value = loc + scale * z from the network's units z to the data's.

    Attributes:
        loc, scale: one entry per column, (F,), or one for all, ().
    """

    loc: ndarray
    scale: ndarray

    @classmethod
    def matching(cls, values: ndarray, prior_loc: float, prior_scale: float) -> Self:
        """Units that give the columns of `values`, (n, F) or (n,), the prior's mean and standard deviation.

        Columns that are constant, as all are in a single row, keep their scale up to the prior's own.
        """
        center, spread = mean_and_std(values)
        scale = spread / prior_scale
        return cls(center - scale * prior_loc, scale)

    @classmethod
    def unchanged(cls) -> Self:
        """The network's own units."""
        return cls(np.zeros(()), np.ones(()))

    def to_network(self, values: ndarray, name: str) -> ndarray:
        """`values` in the network's units, float32, same shape.

        Args:
            values: in the data's units.
            name: what they are called in error messages.

        Raises:
            ValueError: a value is too far out for the network's arithmetic.
        """
        with np.errstate(over="ignore"):
            z = (values - self.loc) / self.scale
        far = ~(np.abs(z) <= FAR)
        if far.any():
            raise ValueError(
                f"{name} has values that the network cannot take, the first in row {np.argwhere(far)[0, 0]}: "
                f"more than {FAR:,.0f} standard deviations (or units, where the training rows are constant) "
                "from the training rows. Check their units or drop those rows. With standardize=False, data "
                "must come in the units of the network's prior."
            )
        return z.astype(np.float32)


def mean_and_std(values: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and standard deviation over the first axis; 1 for columns that are constant up to rounding.

    Missing values (NaN) are passed over, and no column consists of them. Deviations are divided by the largest before
    they are squared, which would overflow or vanish.
    """
    values = values.astype(np.float64)
    center = np.nanmean(values, 0)
    deviations = values - center
    largest = np.nanmax(np.abs(deviations), 0)
    rounding = 10 * np.finfo(np.float64).eps * np.nanmax(np.abs(values), 0)
    unit = np.where(largest > rounding, largest, 1.0)
    spread = unit * np.sqrt(np.nanmean(np.square(deviations / unit), 0))
    return center, np.where(largest > rounding, spread, 1.0)
