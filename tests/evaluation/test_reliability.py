"""Calibration of classes: the curve by hand, and an error that is judged by what chance gives."""

from __future__ import annotations

import numpy as np
import pytest

from priorfit.evaluation.reliability import BINS, reliability

RNG = np.random.default_rng(3)


def test_the_curve_by_hand() -> None:
    confidence, correct = np.array([[0.51, 0.52], [0.99, 1.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    curve = reliability(confidence, correct, np.arange(2))
    middle = int(0.51 * BINS)
    assert curve.confidence[[middle, -1]] == pytest.approx([0.515, 0.995])
    assert curve.accuracy[[middle, -1]] == pytest.approx([0.5, 1.0])
    assert curve.share[[middle, -1]] == pytest.approx([0.5, 0.5])
    assert np.isnan(curve.accuracy[0])
    assert curve.error == pytest.approx(0.5 * 0.015 + 0.5 * 0.005)


@pytest.mark.parametrize(("tasks", "queries"), [(40, 1), (400, 4)])
def test_a_calibrated_networks_error_is_what_is_expected_of_it(tasks: int, queries: int) -> None:
    curves = []
    for _ in range(100):
        confidence = RNG.uniform(0.3, 1, (tasks, queries))
        curves.append(reliability(confidence, RNG.uniform(size=confidence.shape) < confidence, np.arange(tasks)))
    error = np.mean([curve.error for curve in curves])
    assert error > 0.01
    assert np.mean([curve.expected_error for curve in curves]) == pytest.approx(error, rel=0.1)


def test_one_independent_unit_does_not_tell_what_to_expect() -> None:
    confidence = RNG.uniform(0.3, 1, (20, 2))
    assert np.isnan(reliability(confidence, confidence > 0.5, np.zeros(20)).expected_error)


def test_values_that_depend_on_one_another_are_expected_to_err_more() -> None:
    """All answers of a unit are right or all are wrong, as often as is said."""
    confidence, unit = np.full((400, 5), 0.7), np.repeat(np.arange(40), 10)
    errors = [
        reliability(confidence, np.repeat(RNG.uniform(size=40) < 0.7, 50).reshape(400, 5), unit) for _ in range(200)
    ]
    assert np.mean([one.expected_error for one in errors]) == pytest.approx(
        np.mean([one.error for one in errors]), rel=0.1
    )
    assert (
        errors[0].expected_error
        > 3 * reliability(confidence, RNG.uniform(size=(400, 5)) < 0.7, np.arange(400)).expected_error
    )


def test_too_sure_a_network_errs_more_than_is_expected() -> None:
    confidence = RNG.uniform(0.5, 1, (1000, 2))
    curve = reliability(confidence, RNG.uniform(size=confidence.shape) < confidence - 0.1, np.arange(1000))
    assert curve.error == pytest.approx(0.1, abs=0.03)
    assert curve.error > 3 * curve.expected_error
