"""CurveNormalizer: the published formulas, their inverses, and what they refuse."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from priorfit import CurveNormalizer

INF = math.inf
NORMALIZERS = [
    CurveNormalizer(),
    CurveNormalizer(minimize=True),
    CurveNormalizer(lower=0, upper=100, soft_lower=50, soft_upper=90),
    CurveNormalizer(lower=-INF, upper=1, soft_lower=-3),
    CurveNormalizer(lower=-INF, upper=INF, soft_lower=-2, soft_upper=5, minimize=True),
    CurveNormalizer.loss(2.3),
    CurveNormalizer.loss(7.5, lower=3.2),
]


def published(values: ndarray, normalizer: CurveNormalizer) -> ndarray:
    """The formula of specifications, case by case, with the logistic function written out."""
    lower, upper = normalizer.lower, normalizer.upper
    low = lower if normalizer.soft_lower is None else normalizer.soft_lower
    high = upper if normalizer.soft_upper is None else normalizer.soft_upper

    def s(x: Any) -> Any:
        return 1 / (1 + np.exp(-(2 * (x - low) / (high - low) - 1)))

    if math.isinf(lower) and math.isinf(upper):
        y = s(values)
    elif math.isinf(lower):
        y = s(values) / s(upper)
    elif math.isinf(upper):
        y = (s(values) - s(lower)) / (1 - s(lower))
    else:
        y = (s(values) - s(lower)) / (s(upper) - s(lower))
    return 1 - y if normalizer.minimize else y


def values_of(normalizer: CurveNormalizer) -> ndarray:
    """Increasing values from bound to bound, or from far to far beyond the soft ones."""
    low, high = normalizer._soft
    return np.linspace(
        max(normalizer.lower, low - 3 * (high - low)), min(normalizer.upper, high + 3 * (high - low)), 50
    )


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=str)
def test_the_published_formula(normalizer: CurveNormalizer) -> None:
    values = values_of(normalizer)
    np.testing.assert_allclose(normalizer.transform(values), published(values, normalizer), atol=1e-12)


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=str)
def test_values_come_back(normalizer: CurveNormalizer) -> None:
    values = values_of(normalizer)
    back = normalizer.inverse_transform(normalizer.transform(values))
    np.testing.assert_allclose(back, values, rtol=1e-9, atol=1e-9)
    assert back.dtype == np.float64


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=str)
def test_order_is_kept_or_turned_round(normalizer: CurveNormalizer) -> None:
    change = np.diff(normalizer.transform(values_of(normalizer)))
    assert ((change < 0) if normalizer.minimize else (change > 0)).all()


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=str)
def test_bounds_are_the_ends_of_the_unit_interval(normalizer: CurveNormalizer) -> None:
    bounds = np.array([normalizer.lower, normalizer.upper])
    ends = [1, 0] if normalizer.minimize else [0, 1]
    np.testing.assert_allclose(normalizer.transform(bounds), ends, atol=1e-12)
    np.testing.assert_allclose(normalizer.inverse_transform(ends), bounds, atol=1e-12)
    beyond = [1.4, -0.2] if normalizer.minimize else [-0.2, 1.4]
    np.testing.assert_allclose(normalizer.inverse_transform(beyond), bounds, atol=1e-12)


def test_accuracies_hardly_change() -> None:
    values = np.linspace(0, 1, 101)
    assert np.abs(CurveNormalizer().transform(values) - values).max() == pytest.approx(0.0153, abs=1e-4)
    np.testing.assert_allclose(CurveNormalizer(upper=100).transform(100 * values), CurveNormalizer().transform(values))


def test_losses_start_where_an_untrained_model_is_and_end_at_one() -> None:
    normalizer = CurveNormalizer.loss(2.3)
    expected = [0, math.exp(-1), 1]  # 1 - (s(1) - s(-1)) / (1 - s(-1)) = s(-1) / s(1)
    np.testing.assert_allclose(normalizer.transform([INF, 2.3, 0.0]), expected, atol=1e-12)
    assert normalizer == CurveNormalizer(lower=0.0, upper=INF, soft_upper=2.3, minimize=True)


def test_nan_passes_and_shapes_stay() -> None:
    normalizer = CurveNormalizer.loss(2.3)
    values = np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, 2.0]])
    forward = normalizer.transform(values)
    np.testing.assert_array_equal(np.isnan(forward), np.isnan(values))
    np.testing.assert_allclose(normalizer.inverse_transform(forward), values)
    assert normalizer.transform(1).shape == ()
    assert normalizer.transform([]).shape == (0,)


@pytest.mark.parametrize("far", [-1e6, -1e100, -1e308])
def test_far_bounds_are_as_good_as_none(far: float) -> None:
    values = np.array([-2.0, 0.3, 1.0])
    expected = CurveNormalizer(lower=-INF, soft_lower=0).transform(values)
    np.testing.assert_allclose(CurveNormalizer(lower=far, soft_lower=0).transform(values), expected, atol=1e-12)
    np.testing.assert_allclose(CurveNormalizer(far, -far, 0, 1e-3).inverse_transform([0.5]), [0.5e-3])


def test_values_far_above_the_first_loss_stay_finite_inside() -> None:
    normalizer = CurveNormalizer.loss(0.01)
    assert normalizer.transform([1e300]).tolist() == [0]
    assert normalizer.inverse_transform([0.0]).tolist() == [INF]


def test_rounding_beyond_a_bound_is_no_error() -> None:
    assert CurveNormalizer().transform(np.float32([1.0000001]))[0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"lower": 1, "upper": 0}, "lower <= soft_lower < soft_upper <= upper, not 1, 1, 0, 0.*minimize=True"),
        ({"lower": 1, "upper": 1}, "lower <= soft_lower"),
        ({"soft_lower": -0.1}, "lower <= soft_lower"),
        ({"soft_upper": 1.1}, "lower <= soft_lower"),
        ({"soft_lower": 0.5, "soft_upper": 0.5}, "lower <= soft_lower"),
        ({"soft_lower": 0.7, "soft_upper": 0.3}, "lower <= soft_lower"),
        ({"upper": INF}, r"soft_upper must be a finite number, not inf.*CurveNormalizer.loss\(initial\)"),
        ({"lower": -INF}, "soft_lower must be a finite number, not -inf"),
        ({"lower": np.nan}, "soft_lower must be a finite number, not nan"),
        ({"lower": np.nan, "soft_lower": 0.1}, "lower <= soft_lower"),
        ({"upper": INF, "soft_upper": np.nan}, "soft_upper must be a finite number, not nan"),
    ],
)
def test_bad_bounds(bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurveNormalizer(**bounds)


@pytest.mark.parametrize(("initial", "lower"), [(0, 0), (-1, 0), (2, 3), (INF, 0), (np.nan, 0), (1, -INF)])
def test_bad_losses(initial: float, lower: float) -> None:
    with pytest.raises(ValueError, match="soft_"):
        CurveNormalizer.loss(initial, lower=lower)


@pytest.mark.parametrize(("value", "normalizer"), [(1.2, CurveNormalizer()), (-0.1, CurveNormalizer.loss(2))])
def test_values_beyond_hard_bounds_are_refused(value: float, normalizer: CurveNormalizer) -> None:
    with pytest.raises(ValueError, match=f"The value {value} is not between the normalizer's bounds"):
        normalizer.transform([0.5, np.nan, value])


def test_it_is_a_plain_value() -> None:
    normalizer = CurveNormalizer.loss(2.3)
    assert repr(normalizer).startswith("CurveNormalizer(lower=0.0, upper=inf")
    assert pickle.loads(pickle.dumps(normalizer)) == copy.deepcopy(normalizer) == normalizer
    with pytest.raises(FrozenInstanceError):
        normalizer.lower = 1.0  # type: ignore[misc]
