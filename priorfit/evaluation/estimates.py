"""Means with standard errors that respect which values are independent.

Letters: T tasks, S values of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error (NaN where fewer than two independent units were seen)."""

    mean: float
    standard_error: float


def estimate(values: Array, unit: Array) -> Estimate:
    """Mean of values (T, S) and its standard error, from the spread between independent units.

    With u the units' sums of the tasks' deviations from the mean and G their number,
    s.e.² = G / (G - 1) Σ u² / T²; for one task per unit that is the usual variance over T.
    """
    tasks = values.mean(1)
    _, index = np.unique(unit, return_inverse=True)
    sums = np.bincount(index, weights=tasks - tasks.mean())
    n_units = len(sums)
    variance = n_units / (n_units - 1) * np.square(sums).sum() if n_units > 1 else math.nan
    return Estimate(float(tasks.mean()), float(np.sqrt(variance)) / len(tasks))


def estimate_present(values: Array, unit: Array) -> Estimate:
    """The same of the values that are not NaN; tasks without any are left out.

    Raises:
        ValueError: no values.
    """
    present = ~np.isnan(values)
    kept = present.any(1)
    if not kept.any():
        raise ValueError("There are no values to average.")
    sums = np.where(present, values, 0.0).sum(1, keepdims=True)
    return estimate((sums / np.maximum(present.sum(1, keepdims=True), 1))[kept], unit[kept])
