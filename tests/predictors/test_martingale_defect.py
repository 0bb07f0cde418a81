"""The martingale defect: how often exact predictives are rejected, and predictives that drift are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from priorfit.predictors.martingale_defect import sign_flip_test
from tests.predictors.normal_network import NormalNetwork, normal_draws


@pytest.mark.parametrize("n_draws", [50, 150])
def test_level_of_the_defect(n_draws: int) -> None:
    """Of exact predictives, 5 % of p-values are below 5 %, and half of them below a half."""
    p_values = [normal_draws(NormalNetwork(), n_draws, 5, seed).defect.p_value for seed in range(80)]
    assert (np.array(p_values) <= 0.05).sum() <= binom.ppf(0.999, 80, 0.05)
    assert binom.ppf(0.001, 80, 0.5) <= (np.array(p_values) <= 0.5).sum() <= binom.ppf(0.999, 80, 0.5)


def test_level_for_skewed_changes() -> None:
    """Rare large changes, as where little is left to learn at most inputs."""
    random = np.random.RandomState(0)
    p_values = []
    for _ in range(100):
        jumps = (random.uniform(size=(100, 1, 8, 1)) < 0.1) - 0.1
        p_values.append(sign_flip_test(jumps * np.ones((1, 2, 1, 3)), random)[0])
    assert (np.array(p_values) <= 0.05).sum() <= binom.ppf(0.999, 100, 0.05)


@pytest.mark.parametrize("spoilt", [{"bias": 0.1}, {"growth": 1.02}, {"growth": 0.98}, {"memory": 4}])
def test_power_of_the_defect(spoilt: dict[str, Any]) -> None:
    defect = normal_draws(NormalNetwork(**spoilt)).defect
    assert defect.p_value < 0.01
    assert defect.largest > 1.5 * defect.expected_largest
    assert f"{defect.largest:.3f}" in str(defect)


def test_a_bias_shows_in_the_predictive_mean() -> None:
    """Each row with a bias b std moves the mean of the n rows before it by b std / (n + 1)."""
    defect = normal_draws(NormalNetwork(bias=0.1), 3000, 3).defect
    assert defect.mean_drift is not None
    assert defect.mean_drift_error is not None
    np.testing.assert_array_equal(defect.horizons, [1, 2, 3])
    stds = np.sqrt(1 + 1 / np.arange(5, 9))
    steps = 0.1 * (stds[:-1] / np.arange(6, 9) + np.diff(stds))  # the bias follows the standard deviation
    expected = np.cumsum(steps) / stds[0]
    assert (np.abs(defect.mean_drift - expected[:, None]) < 4 * defect.mean_drift_error).all()


def test_what_the_defect_cannot_see() -> None:
    """Without learning nothing drifts; noise and prior inflated alike are the exact predictive of another prior."""
    stubborn = normal_draws(NormalNetwork(memory=-4)).defect
    assert stubborn.p_value == 1
    assert stubborn.largest < 1e-5
    assert normal_draws(NormalNetwork(inflation=1.3), 1000).defect.p_value > 0.01
