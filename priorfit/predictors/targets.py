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
        ValueError: missing, infinite or no numbers, or several columns.
    """
    values = column_or_1d(y, warn=True)
    _refuse_missing(values)
    if not all_numbers(values):
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"y must hold numbers. {error}. To predict classes, use PFNClassifier.") from error
    numbers = values.astype(np.float64)
    assert_all_finite(numbers, input_name="y")
    return numbers


def read_classes(y: Any) -> tuple[ndarray, ndarray]:
    """The classes, sorted, (C,), and the index of each row's class, (n,).

    Raises:
        ValueError: missing values, several columns, or numbers that are no classes.
        TypeError: classes of types that have no common order.
    """
    values = column_or_1d(y, warn=True)
    _refuse_missing(values)
    if getattr(y, "dtype", None) is not None and values.dtype.kind == "O" and str(y.dtype) != "object":
        values = np.array(values.tolist())  # a column of a data frame, whose type NumPy does not know
    if values.dtype.kind == "f":
        assert_all_finite(values, input_name="y")
    try:
        check_classification_targets(values)
    except ValueError as error:
        raise ValueError(f"{error} To predict numbers, use PFNRegressor.") from error
    try:
        return np.unique(values, return_inverse=True)
    except TypeError as error:
        raise TypeError(f"y holds classes of types that cannot be sorted: make all of them texts. {error}") from error


def _refuse_missing(values: ndarray) -> None:
    """Raises ValueError where a target is missing."""
    missing = np.isnan(values) if values.dtype.kind == "f" else [is_missing(value) for value in values]
    if np.any(missing):
        raise ValueError(
            f"Input y contains NaN (a missing target), the first in row {np.argmax(missing)}: drop those rows."
        )
