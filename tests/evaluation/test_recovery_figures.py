"""Axes of recovery figures show what most truths are like, whatever a few means are."""

from __future__ import annotations

import numpy as np
import pytest

from priorfit.evaluation.recovery_figures import limits

RNG = np.random.default_rng(0)


def test_a_few_huge_means_do_not_set_the_axes() -> None:
    truth = RNG.uniform(-1, 1, 300)
    mean = np.where(np.arange(300) < 10, 1e4, truth)
    low, high, scale = limits(truth, mean)
    assert scale == "linear"
    assert low == pytest.approx(-1.16, abs=0.05)
    assert high == pytest.approx(1.16, abs=0.05)


def test_means_that_are_all_wrong_stay_in_sight() -> None:
    low, high, _ = limits(RNG.uniform(-1, 1, 300), np.full(300, 5.0))
    assert low < -0.9
    assert 5 < high < 6


@pytest.mark.parametrize(("sigma", "scale"), [(0.5, "linear"), (2.0, "log")])
def test_positive_truths_over_orders_of_magnitude_have_logarithmic_axes(sigma: float, scale: str) -> None:
    truth = np.exp(sigma * RNG.normal(size=300))
    low, high, found = limits(truth, truth)
    assert found == scale
    if scale == "log":
        assert np.log([low, high]) == pytest.approx([-6, 6], abs=2)
        assert limits(np.append(truth, 0.0), np.append(truth, 1.0))[2] == "linear"
        assert limits(truth, -truth)[2] == "linear"
