"""Tables as people hand them over: which values stand in a column, as numbers or as names of categories.

Letters: n rows, F columns.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy import ndarray
from sklearn.utils import check_array

CATEGORY_TYPES = ("category", "categorical", "enum")  # how the types of data frames' categorical columns begin
MISSING_TYPES = ("NAType", "NaTType")  # pandas' own, by name: pandas need not be installed
TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


def as_table(X: Any) -> Any:
    """A data frame as it is, or anything else as a checked array (n, F) that may hold objects and NaN.

    Raises:
        ValueError: not of two dimensions, empty, or complex numbers.
        TypeError: a sparse matrix.
    """
    if is_frame(X):
        if 0 in X.shape:
            what = "sample" if not X.shape[0] else "feature"
            raise ValueError(f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required.")
        return X
    if not hasattr(X, "dtype") and not hasattr(X, "__array__") and np.asarray(X).dtype.kind in "US":
        X = np.array(X, dtype=object)  # of a list with texts and numbers, NumPy makes texts
    keep: Any = None  # whatever type it has
    return check_array(X, dtype=keep, ensure_all_finite=False, input_name="X")


def is_frame(X: Any) -> bool:
    """Whether X has named columns of types of their own, as the data frames of pandas and polars have."""
    return hasattr(X, "columns") and hasattr(X, "dtypes") and len(getattr(X, "shape", ())) == 2


def columns_of(table: Any) -> Iterator[tuple[ndarray, bool]]:
    """The values (n,) of each column of what `as_table` returned, and whether its type is a categorical one."""
    for index in range(table.shape[1]):
        column = table.iloc[:, index] if hasattr(table, "iloc") else table[:, index]
        yield np.asarray(column), str(column.dtype).lower().startswith(CATEGORY_TYPES)


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or what pandas has for either."""
    if value is None or type(value).__name__ in MISSING_TYPES:
        return True
    return isinstance(value, Real | Decimal) and bool(value != value)


def all_numbers(values: ndarray) -> bool:
    """Whether all that is not missing are numbers or truth values."""
    if values.dtype.kind != "O":
        return values.dtype.kind in "biuf"
    return all(is_missing(value) or isinstance(value, Real | Decimal | np.bool_) for value in values)


def to_numbers(values: ndarray, where: str) -> ndarray:
    """Values (n,) as float64, NaN where they are missing.

    Args:
        values: of one column.
        where: what the column is called in error messages.

    Raises:
        ValueError: text, dates or an infinite value.
    """
    if values.dtype.kind not in "biuf":
        values = np.array([_number(value, row, where) for row, value in enumerate(values)])
    with np.errstate(over="ignore"):  # of longer types than float64
        numbers = values.astype(np.float64)
    infinite = np.isinf(numbers)
    if infinite.any():
        raise ValueError(
            f"Input X contains infinity, the first in row {infinite.argmax()} of {where}: put a large finite number "
            "in its place, or NaN where nothing is known."
        )
    return numbers


def to_names(values: ndarray, where: str) -> list[str | None]:
    """Values (n,) as the names of categories: None where they are missing, "3" for the numbers 3 and 3.0.

    Args:
        values: of one column.
        where: what the column is called in error messages.

    Raises:
        ValueError: dates.
        TypeError: values that are neither texts nor numbers.
    """
    return [None if is_missing(value) else _name(value, row, where) for row, value in enumerate(values)]


def _number(value: Any, row: int, where: str) -> float:
    """One number."""
    if is_missing(value):
        return np.nan
    _refuse_times(value, row, where)
    if isinstance(value, str | bytes):
        raise ValueError(
            f"could not convert string to float: {value!r} in row {row} of {where}, which held numbers when the "
            "estimator was fitted. Give the same columns, of the same types, in the same order."
        )
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _name(value: Any, row: int, where: str) -> str:
    """The name of one category."""
    _refuse_times(value, row, where)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, Real | Decimal):
        number: Any = value
        return str(int(number)) if number == number // 1 else str(float(number))
    raise TypeError(
        f"The values of {where} cannot be used, the first in row {row}: an argument must be a string or a number, not "
        f"{type(value).__name__!r}. Turn it into columns of numbers or texts."
    )


def _refuse_times(value: Any, row: int, where: str) -> None:
    """Raises ValueError for dates, times and durations."""
    if isinstance(value, TIMES):
        raise ValueError(
            f"The values of {where} are dates or times, the first in row {row}: give what matters of them as numbers "
            "(year, month, days since a fixed date) in columns of their own."
        )
