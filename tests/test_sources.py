"""Rows of several sources: where fields and indicators stand, and what is refused."""

from __future__ import annotations

import pytest
import torch

from priorfit.sources import Source, as_sources, pack, row_width, unpack

SOURCES = (Source("position", 2), Source("bearing", 1, angle=True))


def test_rows_hold_fields_side_by_side_and_then_indicators() -> None:
    position = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    rows = pack(SOURCES, {"bearing": torch.tensor([[[0.5]]]), "position": position})
    expected = [[1.0, 2.0, 0.0, 1.0, 0.0], [3.0, 4.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.5, 0.0, 1.0]]
    assert rows.tolist() == [expected]
    assert row_width(SOURCES) == 5
    assert rows.dtype == torch.float32


def test_unpack_returns_what_was_packed() -> None:
    values = {"position": torch.randn(3, 2, 2), "bearing": torch.randn(3, 4, 1)}
    parts = unpack(SOURCES, pack(SOURCES, values))
    assert parts["position"][0][:, :2].equal(values["position"])
    assert parts["bearing"][0][:, 2:].equal(values["bearing"])
    assert parts["position"][1].tolist() == [[1, 1, 0, 0, 0, 0]] * 3
    assert parts["bearing"][1].tolist() == [[0, 0, 1, 1, 1, 1]] * 3
    assert not parts["bearing"][0][:, :2].any()


def test_sources_may_be_absent_or_without_observations() -> None:
    assert pack(SOURCES, {"bearing": torch.ones(2, 3, 1)}).shape == (2, 3, 5)
    assert pack(SOURCES, {"position": torch.ones(2, 0, 2)}).shape == (2, 0, 5)
    assert pack(SOURCES, {"position": torch.ones(2, 0, 2), "bearing": torch.ones(2, 1, 1)}).shape == (2, 1, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"range": torch.ones(1, 1, 1)}, "unknown: range"),
        ({}, "none was given"),
        ({"position": torch.ones(1, 1, 3)}, r"must be \(B, N, 2\), not \(1, 1, 3\)"),
        ({"position": torch.ones(1, 2)}, "must be"),
        ({"bearing": torch.full((1, 1, 1), torch.nan)}, "NaN"),
        ({"position": torch.ones(1, 1, 2), "bearing": torch.ones(2, 1, 1)}, "same number of tasks"),
    ],
)
def test_values_of_no_source_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack(SOURCES, values)


def test_rows_of_other_sources_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, N, 5\), not \(1, 1, 4\)"):
        unpack(SOURCES, torch.ones(1, 1, 4))


def test_sources_are_built_from_dictionaries() -> None:
    plain = [{"name": "position", "size": 2}, {"name": "bearing", "size": 1, "angle": True}]
    assert as_sources(plain) == SOURCES == as_sources(SOURCES)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "one at least"),
        ([{"name": "a", "size": 1}] * 2, "names of their own"),
        ([{"name": "a"}], "size"),
        ([{"name": "a", "size": 0}], "size of source 'a'"),
        ([{"name": "", "size": 1}], "needs a name"),
        ([{"name": "a", "size": 1, "unit": "km"}], "unit"),
    ],
)
def test_impossible_sources_are_refused(sources: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_sources(sources)
