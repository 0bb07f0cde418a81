"""What stands in y, checked: numbers, or classes and their indices.

Letters: n rows, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from priorfit.predictors.column_values import all_numbers, is_missing


def read_numbers(y: Any) -> ndarray:
    """Targets of a regression, (n,), float64.

    Raises:
        ValueError: missing, infinite or no numbers, dates, or several columns.
    """
    values = _column(y)
    if values.dtype.kind in "mM":
        raise ValueError("y must hold numbers, not dates or times: give the time since a fixed date as numbers.")
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"y must hold numbers. {error}. To predict classes, use PFNClassifier.") from error
    assert_all_finite(numbers, input_name="y")
    return numbers


def read_classes(y: Any) -> tuple[ndarray, ndarray]:
    """The classes, sorted, (C,), and the index of each row's class, (n,).

    Raises:
        ValueError: missing values, several columns, or numbers that are no classes.
        TypeError: classes of types that have no common order.
    """
    values = _column(y)
    if values.dtype.kind == "f":
        assert_all_finite(values, input_name="y")
    try:
        check_classification_targets(values)
        return np.unique(values, return_inverse=True)
    except ValueError as error:
        raise ValueError(f"{error} To predict numbers, use PFNRegressor.") from error
    except TypeError as error:
        raise TypeError(f"y holds classes that cannot be used: make all of them texts. {error}") from error


def _column(y: Any) -> ndarray:
    """y as an array (n,) without missing values; numbers and truth values among objects have a type of their own."""
    if not isinstance(getattr(y, "dtype", np.dtype(object)), np.dtype):
        y = np.asarray(y, dtype=object)  # of the types of a data frame: whole numbers and truth values remain such
    values = column_or_1d(y, warn=True)
    _refuse_missing(values)
    return np.array(values.tolist()) if values.dtype.kind == "O" and all_numbers(values) else values


def _refuse_missing(values: ndarray) -> None:
    """Raises ValueError where a target is missing."""
    missing = np.isnan(values) if values.dtype.kind in "fmM" else [is_missing(value) for value in values]
    if np.any(missing):
        raise ValueError(
            f"Input y contains NaN (a missing target), the first in row {np.argmax(missing)}: drop those rows."
        )
