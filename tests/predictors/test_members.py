"""The members of an ensemble: what each sees, and what is done to its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import nan
from numpy.random import RandomState
from scipy import stats
from sklearn.preprocessing import PowerTransformer

from priorfit.predictors.input_maps import BULK, FARTHEST, MAPS, check_transforms, fit_map
from priorfit.predictors.member_tables import informative
from priorfit.predictors.members import Member, Room, class_codes, draw_members, n_digits

AMPLE = Room(None, 100, 10)


def members(
    n: int, features: int = 5, y: np.ndarray | None = None, n_classes: int = 3, room: Room = AMPLE
) -> list[Member]:
    y = np.arange(30) % max(n_classes, 1) if y is None else y
    return draw_members(n, range(features), y, n_classes, room, ("none", "power"), RandomState(0))


def test_the_first_member_sees_the_table_as_it_is() -> None:
    assert members(1) == [Member([0, 1, 2, 3, 4], [0, 1, 2], "none", None)]


def test_members_differ_in_columns_classes_and_transforms() -> None:
    several = members(12)
    assert all(sorted(member.features) == [0, 1, 2, 3, 4] for member in several)
    assert len({tuple(member.features) for member in several}) > 8
    pairs = {(tuple(member.codes), member.transform) for member in several}
    assert len(pairs) == 6  # every rotation with every transform
    assert several == members(12)


def test_regression_has_no_codes() -> None:
    assert [member.codes for member in members(2, n_classes=0)] == [[], []]


def test_more_columns_than_fit_are_dealt_at_random() -> None:
    several = members(8, features=50, room=Room(None, 7, 10))
    assert all(len(set(member.features)) == 7 for member in several)
    assert len({tuple(member.features) for member in several}) == 8


def test_more_rows_than_fit_are_drawn_with_every_class_in_its_share() -> None:
    y = RandomState(0).permutation(np.repeat([0, 1, 2], [600, 399, 1]))
    several = members(3, y=y, room=Room(100, 100, 10))
    for member in several:
        assert member.rows == sorted(set(member.rows or []))
        np.testing.assert_allclose(np.bincount(y[member.rows]), [60, 39, 1], atol=1)
    assert len({tuple(member.rows or []) for member in several}) == 3
    assert all(len(member.rows or []) == 100 for member in members(2, y=y, n_classes=0, room=Room(100, 100, 10)))


def test_every_class_has_a_row_even_where_there_is_hardly_room() -> None:
    y = np.repeat(np.arange(8), [1000, 1, 1, 1, 1, 1, 1, 1])
    (member,) = members(1, y=y, n_classes=8, room=Room(8, 100, 10))
    assert set(y[member.rows]) == set(range(8))


@pytest.mark.parametrize(
    ("n_classes", "most"), [(3, 2), (4, 2), (7, 2), (11, 10), (20, 10), (100, 10), (101, 10), (9, 3)]
)
@pytest.mark.parametrize("turn", [0, 3])
def test_output_codes_tell_all_classes_apart(n_classes: int, most: int, turn: int) -> None:
    codes = np.array(class_codes(n_classes, most, turn, RandomState(0)))
    assert len(codes) == n_digits(n_classes, most) == int(np.ceil(np.log(n_classes) / np.log(most) - 1e-9))
    assert len(set(map(tuple, codes.T))) == n_classes
    groups = codes.max() + 1
    assert groups <= most
    assert all(set(row) == set(range(groups)) for row in codes)  # every group has a class


def test_columns_that_tell_nothing() -> None:
    x = np.array([[1.0, nan, nan, 5.0, 0.0], [1.0, nan, 2.0, 5.0, 1.0], [1.0, nan, 2.0, nan, 2.0]])
    assert informative(x).tolist() == [2, 3, 4]


# --- transforms ---------------------------------------------------------------------------------------------


@pytest.fixture
def x() -> np.ndarray:
    """Columns that are normal, skewed, with one far value, nearly all missing, in two values, huge, and offset."""
    generator = np.random.default_rng(0)
    normal = generator.normal(size=(50, 4))
    rare = np.r_[np.full(48, nan), 1.0, 2.0]
    far = np.r_[np.zeros(49), 1e9]
    return np.c_[
        normal[:, 0], np.exp(3 * normal[:, 1]), far, rare, normal[:, 2] > 0, 1e200 * normal[:, 3], 1e9 + normal[:, 0]
    ]


@pytest.mark.parametrize("name", MAPS)
def test_transforms_keep_order_and_missing_values(x: np.ndarray, name: str) -> None:
    transform = fit_map(name, x)
    z = transform(x)
    np.testing.assert_array_equal(np.isnan(z), np.isnan(x))
    assert np.nanmax(np.abs(z)) < 10
    for before, after in zip(x.T, z.T, strict=True):
        order = np.argsort(before)
        assert (np.diff(after[order][: np.isfinite(before).sum()]) >= 0).all()
        assert np.nanstd(after) > 0.1
    far = transform(np.full((2, 7), [[1e300], [-1e300]]))
    assert np.isfinite(far).all()
    assert (np.abs(far) <= FARTHEST).all()
    np.testing.assert_allclose(transform(x[3:5]), z[3:5], rtol=1e-12)  # whatever else is asked


def test_none_shifts_and_scales(x: np.ndarray) -> None:
    z = fit_map("none", x)(x)
    np.testing.assert_allclose(np.nanmean(z, 0), np.zeros(7), atol=1e-6)
    np.testing.assert_allclose(np.nanstd(z, 0), np.ones(7), rtol=1e-6)


def test_quantile_gives_normal_scores(x: np.ndarray) -> None:
    z = fit_map("quantile", x)(x)
    scores = stats.norm.ppf((stats.rankdata(x[:, 1]) - 0.5) / 50)
    np.testing.assert_allclose(z[:, 1], scores, rtol=1e-12)
    ties = stats.norm.ppf((stats.rankdata(x[:, 4]) - 0.5) / 50)
    np.testing.assert_allclose(z[:, 4], ties, rtol=1e-12)


def test_power_is_yeo_johnson(x: np.ndarray) -> None:
    column = x[:, 1:2]
    standard = np.clip((column - column.mean()) / column.std(), -BULK, BULK)
    np.testing.assert_allclose(fit_map("power", column)(column), PowerTransformer().fit_transform(standard), rtol=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_a_single_row_and_no_numeric_column(name: str) -> None:
    np.testing.assert_array_equal(fit_map(name, np.array([[3.0, -7.0]]))(np.array([[3.0, -7.0]])), [[0, 0]])
    assert fit_map(name, np.empty((4, 0)))(np.empty((2, 0))).shape == (2, 0)


def test_unknown_transforms() -> None:
    with pytest.raises(ValueError, match="Unknown transform 'quantiles': did you mean 'quantile'"):
        check_transforms(["none", "quantiles"])
