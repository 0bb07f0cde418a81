"""Rows of several sources as standardised values.

Letters: B tasks, N rows, D numbers per row.
"""

from __future__ import annotations

import math

import torch

from priorfit.models.row_features import RowFeatures
from priorfit.sources import Source, pack
from tests.cases import assert_same, seeded

SOURCES = (Source("place", 2), Source("seen", 1, angle=True), Source("flag", 1))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def test_values_are_standardised_by_median_and_quartiles_of_their_own_source() -> None:
    """The zeros in rows of other sources do not count."""
    draws = torch.randn(2000, 3, 2, generator=seeded()) * torch.tensor([2.0, 10.0]) + torch.tensor([5.0, -40.0])
    rows = pack(SOURCES, {"place": draws, "seen": torch.ones(2000, 3, 1)})
    features = RowFeatures(SOURCES)
    features.fit(rows.flatten(0, 1))
    assert_same(features.loc[:2], torch.tensor([5.0, -40.0]), rtol=0, atol=0.5)
    assert_same(features.scale[:2], 0.6745 * torch.tensor([2.0, 10.0]), rtol=0.05, atol=0)
    values, indicators = features(rows)
    own = values[:, :3, :2].flatten(0, 1)
    assert_same(own.median(0).values, torch.zeros(2), rtol=0, atol=1e-3)
    assert_same(own.abs().median(0).values, torch.ones(2), rtol=0.05, atol=0)
    assert_same(indicators[0], torch.tensor([[1.0, 0, 0]] * 3 + [[0, 1.0, 0]] * 3))
    assert (values[:, 3:, :2] == 0).all()
    assert features.owner.tolist() == [0, 0, 1, 2, 1]


def test_angles_become_cosine_and_sine() -> None:
    angles = torch.tensor([0.3, 0.3 + 2 * math.pi, -math.pi, math.pi])
    values, _ = RowFeatures(SOURCES)(pack(SOURCES, {"seen": angles[:, None, None]}))
    assert_same(values[:, 0, 2], angles.cos(), **CLOSE)
    assert_same(values[:, 0, 4], angles.sin(), **CLOSE)
    assert_same(values[0], values[1], **CLOSE)
    assert (values[:, 0, [0, 1, 3]] == 0).all()


def test_flags_that_are_mostly_one_value_and_sources_without_rows_keep_finite_scales() -> None:
    rows = pack(SOURCES, {"flag": (torch.arange(20) == 0).float()[None, :, None]})
    features = RowFeatures(SOURCES)
    features.fit(rows[0])
    assert_same(features.scale, torch.ones(4))
    assert_same(features.loc, torch.zeros(4))
    features.fit(rows[0, :0])
    assert_same(features(rows)[0][0, :, 3], rows[0, :, 3])
