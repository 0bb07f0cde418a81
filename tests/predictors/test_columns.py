"""Columns of every kind become numbers and codes, and what cannot is refused with words."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy import nan, ndarray
from scipy import sparse

from priorfit.predictors.column_values import as_table
from priorfit.predictors.columns import MOST_CATEGORIES, Columns


def read(X: Any, chosen: Any = None, names: list[str] | None = None) -> tuple[ndarray, list[bool]]:
    """What becomes of X, and which columns are categorical."""
    table = as_table(X)
    columns = Columns.fit(table, chosen, names)
    return columns.transform(table), columns.categorical.tolist()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        pytest.param(pd.Series([1.5, nan, -2.0]), [1.5, nan, -2.0], id="float"),
        pytest.param(pd.Series([1, 2, 3], dtype="int8"), [1, 2, 3], id="int"),
        pytest.param(pd.Series([1, pd.NA, 3], dtype="Int64"), [1, nan, 3], id="nullable int"),
        pytest.param(pd.Series([1.5, pd.NA, 3], dtype="Float32"), [1.5, nan, 3], id="nullable float"),
        pytest.param(pd.Series([True, False, True]), [1, 0, 1], id="bool"),
        pytest.param(pd.Series([True, None, False], dtype="boolean"), [1, nan, 0], id="nullable bool"),
        pytest.param(pd.Series([1, None, Decimal("2.5")], dtype=object), [1, nan, 2.5], id="objects that are numbers"),
        pytest.param(pd.Series([None, pd.NaT, nan], dtype=object), [nan, nan, nan], id="nothing at all"),
    ],
)
def test_numeric_columns(column: pd.Series, expected: list[float]) -> None:
    x, categorical = read(pd.DataFrame({"a": column}))
    np.testing.assert_array_equal(x[:, 0], expected)
    assert categorical == [False]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        pytest.param(pd.Series(["b", "a", None, "b"]), [1, 0, nan, 1], id="text"),
        pytest.param(pd.Series(["b", "a", pd.NA, "b"], dtype="string"), [1, 0, nan, 1], id="nullable text"),
        pytest.param(pd.Series(["b", "a", nan, "b"], dtype="category"), [1, 0, nan, 1], id="category"),
        pytest.param(pd.Series([7, 5, 100, 7], dtype="category"), [1, 0, 2, 1], id="category of numbers"),
        pytest.param(pd.Series(["x", 2.0, None, True], dtype=object), [2, 0, nan, 1], id="mixed objects"),
    ],
)
def test_categorical_columns(column: pd.Series, expected: list[float]) -> None:
    x, categorical = read(pd.DataFrame({"a": column}))
    np.testing.assert_array_equal(x[:, 0], expected)
    assert categorical == [True]


def test_arrays_and_lists_of_objects() -> None:
    rows = [["red", 1, 0.5], ["blue", None, 2], [None, 3, nan]]
    for X in (rows, np.array(rows, dtype=object), pd.DataFrame(rows)):
        x, categorical = read(X)
        np.testing.assert_array_equal(x, [[1, 1, 0.5], [0, nan, 2], [nan, 3, nan]])
        assert categorical == [True, False, False]
    assert read(np.array([["1", "2"], ["3", "4"]]))[1] == [True, True]


@pytest.mark.parametrize("chosen", [[0, -1], np.array([0, 2]), [True, False, True], ["a", "c"], pd.Index(["c", "a"])])
def test_columns_of_numbers_may_be_chosen_to_be_categorical(chosen: Any) -> None:
    x, categorical = read(np.array([[30, 1.0, 0.5], [20, 2.0, nan], [30, 3.0, 1.5]]), chosen, ["a", "b", "c"])
    np.testing.assert_array_equal(x, [[1, 1, 0], [0, 2, nan], [1, 3, 1]])
    assert categorical == [True, False, True]


@pytest.mark.parametrize("chosen", [[3], [-4], ["z"], [True, False], "a", [[0]], [0.5]])
def test_choices_that_name_no_column(chosen: Any) -> None:
    with pytest.raises(ValueError, match=r"categorical_features must be .* 3 columns of X \(named a, b, c\)"):
        read(np.eye(3), chosen, ["a", "b", "c"])
    with pytest.raises(ValueError, match="fit a data frame to use them"):
        read(np.eye(3), ["a"])


def test_what_was_not_seen_is_missing_and_types_may_differ_from_file_to_file() -> None:
    columns = Columns.fit(as_table(pd.DataFrame({"a": pd.Series([3, 5, 5], dtype="category")})))
    later = pd.DataFrame({"a": pd.Series([5.0, "3", "5.0", 4, nan, True], dtype=object)})
    np.testing.assert_array_equal(columns.transform(as_table(later))[:, 0], [1, 0, nan, nan, nan, nan])


def test_the_most_frequent_categories_are_kept() -> None:
    names = [f"c{index:03d}" for index in range(MOST_CATEGORIES + 10)]
    frequent = names[10:]
    x, _ = read(pd.DataFrame({"a": names + frequent}))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(x[:, 0])), np.arange(10))
    np.testing.assert_array_equal(x[-MOST_CATEGORIES:, 0], np.arange(MOST_CATEGORIES))


def test_columns_survive_json() -> None:
    table = as_table(pd.DataFrame({"a": ["é", None, "b"], "b": [1.0, 2.0, 3.0]}))
    columns = Columns.fit(table, names=["a", "b"])
    restored = Columns(*json.loads(json.dumps(columns)))
    assert restored == columns
    np.testing.assert_array_equal(restored.transform(table), columns.transform(table))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([[1.0, 2.0], [np.inf, 3.0]], ValueError, "infinity, the first in row 1 of column 0"),
        (pd.DataFrame({"a": [1.0, -np.inf]}), ValueError, "infinity, the first in row 1"),
        (np.array([[10**400], [1]], dtype=object), ValueError, "infinity, the first in row 0"),
        (pd.DataFrame({"a": pd.date_range("2020", periods=2)}), ValueError, "dates or times, the first in row 0"),
        (pd.DataFrame({"a": pd.date_range("2020", periods=2, tz="UTC")}), ValueError, "dates or times"),
        (pd.DataFrame({"a": pd.to_timedelta([1, 2])}), ValueError, "days since a fixed date"),
        (np.array([[datetime.date(2020, 1, 1)], [None]], dtype=object), ValueError, "dates or times"),
        (np.array([[{"a": 1}], [{}]], dtype=object), TypeError, "must be a string or a number, not 'dict'"),
        (np.array([[1j]]), ValueError, "Complex data not supported"),
        (sparse.csr_array(np.eye(2)), TypeError, "[Ss]parse"),
        ([1.0, 2.0], ValueError, "Reshape your data"),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\)"),
        (pd.DataFrame(index=[0, 1]), ValueError, r"0 feature\(s\)"),
    ],
)
def test_what_cannot_be_read(X: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read(X)


def test_text_in_a_column_that_held_numbers() -> None:
    columns = Columns.fit(as_table(pd.DataFrame({"a": [1.0, 2.0]})), names=["a"])
    with pytest.raises(ValueError, match="could not convert string to float: 'red' in row 1 of column 'a', which held"):
        columns.transform(as_table(pd.DataFrame({"a": [1, "red"]})))
