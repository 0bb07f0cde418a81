"""What may stand in y: numbers, or classes of every type, and words for the rest."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from priorfit.predictors.targets import read_classes, read_numbers

DATES = pd.date_range("2020", periods=3)


@pytest.mark.parametrize(
    ("y", "kind", "classes"),
    [
        pytest.param(["b", "a", "b"], "U", ["a", "b"], id="texts"),
        pytest.param([3, 1, 3], "i", [1, 3], id="whole numbers"),
        pytest.param([1.0, 0.0, 1.0], "f", [0, 1], id="float"),
        pytest.param([True, False, True], "b", [False, True], id="truth values"),
        pytest.param(np.array([[3], [1], [3]])[:, 0], "i", [1, 3], id="column of an array"),
        pytest.param(np.array([3, 1, 3], dtype=object), "i", [1, 3], id="objects that are numbers"),
        pytest.param(np.array([True, False, True], dtype=object), "b", [False, True], id="objects, true or not"),
        pytest.param(pd.Series(["b", "a", "b"]), "O", ["a", "b"], id="text of a frame"),
        pytest.param(pd.Series(["b", "a", "b"], dtype="category"), "O", ["a", "b"], id="category"),
        pytest.param(pd.Series([3, 1, 3], dtype="category"), "i", [1, 3], id="category of numbers"),
        pytest.param(pd.Series([3, 1, 3], dtype="Int64"), "i", [1, 3], id="nullable int"),
        pytest.param(pd.Series([True, False, True], dtype="boolean"), "b", [False, True], id="nullable bool"),
    ],
)
def test_classes_keep_their_type(y: Any, kind: str, classes: list[Any]) -> None:
    found, indices = read_classes(y)
    assert found.tolist() == classes
    assert found.dtype.kind == kind
    assert indices.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        pytest.param([1.5, 2, -3], [1.5, 2, -3], id="numbers"),
        pytest.param([True, False, True], [1, 0, 1], id="truth values"),
        pytest.param(pd.Series([1, 2, 3], dtype="Int64"), [1, 2, 3], id="nullable int"),
        pytest.param(pd.Series([1.5, 2, 3], dtype="Float32"), [1.5, 2, 3], id="nullable float"),
        pytest.param(np.array([1, 2.5, True], dtype=object), [1, 2.5, 1], id="objects"),
    ],
)
def test_numbers(y: Any, expected: list[float]) -> None:
    found = read_numbers(y)
    assert found.dtype == np.float64
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "y",
    [[1.0, np.nan], ["a", None], pd.Series([1, pd.NA], dtype="Int64"), np.array(["2020-01-01", "NaT"], dtype="M8[D]")],
    ids=["NaN", "None", "NA", "NaT"],
)
@pytest.mark.parametrize("read", [read_numbers, read_classes])
def test_missing_targets(y: Any, read: Any) -> None:
    with pytest.raises(ValueError, match=r"Input y contains NaN \(a missing target\), the first in row 1: drop"):
        read(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["red", "blue"], "y must hold numbers.*use PFNClassifier"),
        (np.array([10**400, 1], dtype=object), "y must hold numbers.*too large"),
        (np.array([datetime.date(2020, 1, 1)], dtype=object), "y must hold numbers"),
        (DATES, "y must hold numbers, not dates or times: give the time since a fixed date"),
        (DATES - DATES[0], "y must hold numbers, not dates or times"),
        ([1.0, np.inf], "y contains infinity"),
    ],
    ids=["texts", "huge", "objects that are dates", "dates", "durations", "infinity"],
)
def test_what_is_no_number(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_numbers(y)


def test_what_is_no_class() -> None:
    with pytest.raises(ValueError, match=r"Unknown label type.*To predict numbers, use PFNRegressor"):
        read_classes([0.5, 1.25])
    with pytest.raises(TypeError, match="y holds classes that cannot be used: make all of them texts"):
        read_classes(np.array(["a", 1], dtype=object))
