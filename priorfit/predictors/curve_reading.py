"""Learning curves as people hand them over: arrays padded with NaN, or ragged lists.

Letters: C curves, T entries of one of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from priorfit.predictors.curve_prefixes import Prefixes


def read_curves(curves: Any, steps: Any = None) -> Prefixes:
    """Observed prefixes, in the order of their steps; entries that are NaN were not observed.

    Args:
        curves: an array (C, T) or a list of C curves of any lengths.
        steps: of the same shape, or one list of T steps for all; 1, 2, … T by default.

    Raises:
        ValueError: no curves, not one per row, infinite values, or steps that do not fit, are below 1 or repeated.
    """
    values = _rows(curves, "curves")
    if not values:
        raise ValueError("There are no curves. One of which nothing has been observed yet is an empty list: [[]].")
    if steps is None:
        of_each = [np.arange(1.0, len(row) + 1) for row in values]
    else:
        shared = _shared_steps(steps)
        of_each = _rows(steps, "steps") if shared is None else [shared] * len(values)
    if len(of_each) != len(values):
        raise ValueError(f"There are {len(values)} curves and steps for {len(of_each)} of them.")
    pairs = enumerate(zip(of_each, values, strict=True))
    return Prefixes.padded([_observed(index, *pair) for index, pair in pairs])


def _rows(data: Any, name: str) -> list[ndarray]:
    """One array (T,) per curve."""
    if hasattr(data, "__array__"):  # a data frame would iterate over its columns
        data = np.asarray(data)
    rows = [np.asarray(row, dtype=np.float64) for row in data]
    if any(row.ndim != 1 for row in rows):
        raise ValueError(
            f"{name} must be an array (n_curves, n_steps) or a list with one list of numbers per curve. "
            "A single curve goes into a list of its own: [curve]."
        )
    return rows


def _shared_steps(steps: Any) -> ndarray | None:
    """Steps (T,) given once for all curves, else None."""
    try:
        array = np.asarray(steps, dtype=np.float64)
    except ValueError:  # ragged
        return None
    return array if array.ndim == 1 and array.size else None


def _observed(index: int, steps: ndarray, values: ndarray) -> tuple[ndarray, ndarray]:
    """Steps and values of curve `index` where it was observed, in the order of the steps."""
    if len(steps) != len(values):
        raise ValueError(f"Curve {index} has {len(values)} values and {len(steps)} steps.")
    seen = ~np.isnan(values)
    steps, values = steps[seen], values[seen]
    if np.isinf(values).any():
        raise ValueError(
            f"Curve {index} has an infinite value. Set it to NaN to leave it out, or end the curve before it."
        )
    if not (np.isfinite(steps) & (steps >= 1)).all():
        raise ValueError(f"The steps of curve {index} must be finite numbers from 1 on: the first epoch is step 1.")
    order = steps.argsort()
    steps = steps[order]
    repeated = steps[1:][np.diff(steps) == 0]
    if repeated.size:
        raise ValueError(f"Curve {index} has more than one value at step {repeated[0]:g}: keep one, or their mean.")
    return steps, values[order]
