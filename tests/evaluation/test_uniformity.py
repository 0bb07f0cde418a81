"""Simultaneous bands and the test behind them hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from priorfit.evaluation.uniformity import band, levels, null, shares, uniformity

RNG = np.random.default_rng(0)


def outside(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    found = shares(values)
    return bool(((found < low) | (found > high)).any())


@pytest.mark.parametrize("n_values", [20, 100, 1000])
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_bands_hold_all_points_at_once(n_values: int, coverage: float) -> None:
    low, high = band(n_values, coverage)
    left = np.mean([outside(RNG.uniform(size=n_values), low, high) for _ in range(2000)])
    error = math.sqrt(coverage * (1 - coverage) * (1 / 2000 + 1 / 4000))  # of this simulation and of the band's own
    assert left < 1 - coverage + 4 * error
    assert left > 1 - coverage - 4 * error - (0.03 if n_values == 20 else 0)  # counts are few: bands are cautious


def test_a_band_for_each_point_alone_would_be_left_far_more_often() -> None:
    low, high = (binom.ppf(tail, 1000, levels()) / 1000 for tail in (0.025, 0.975))
    assert np.mean([outside(RNG.uniform(size=1000), low, high) for _ in range(300)]) > 0.3
    simultaneous = band(1000)
    assert (simultaneous[0] <= low).all()
    assert (simultaneous[1] >= high).all()


@pytest.mark.parametrize("n_columns", [1, 5])
def test_p_values_of_uniform_values_are_small_as_rarely_as_they_say(n_columns: int) -> None:
    p_values = np.array([uniformity(RNG.uniform(size=(200, n_columns))).p_value for _ in range(800)])
    for level in (0.05, 0.3):
        assert (p_values <= level).mean() < level + 4 * math.sqrt(level / 800)
    if n_columns == 1:
        assert abs((p_values <= 0.3).mean() - 0.3) < 0.08


def test_the_p_value_is_below_a_twentieth_where_the_curve_leaves_the_band() -> None:
    low, high = band(300)
    samples = [RNG.beta(1, 1.15, 300) for _ in range(200)]
    left = [outside(values, low, high) for values in samples]
    assert left == [uniformity(values[:, None]).p_value < 0.05 for values in samples]
    assert 20 < sum(left) < 180


@pytest.mark.parametrize("power", [1.0, 1.3])
def test_log_gamma_is_the_statistic_over_its_quantile(power: float) -> None:
    """γ = 2 min over i of min(P(Bin(N, z_i) <= R_i), P(Bin(N, z_i) >= R_i)): Säilynoja et al. 2022, equation 8."""

    def gamma(values: np.ndarray) -> float:
        counts = (values[:, None] <= levels()).sum(0)
        lower, upper = binom.cdf(counts, 60, levels()), binom.sf(counts - 1, 60, levels())
        return 2 * np.minimum(lower, upper).min()

    values = RNG.uniform(size=60) ** power
    threshold = np.quantile([gamma(RNG.uniform(size=60)) for _ in range(2000)], 0.05)
    found = uniformity(values[:, None])
    assert found.log_gamma == pytest.approx(math.log(gamma(values) / threshold), abs=0.3)
    two = uniformity(np.stack([values, values], 1))
    assert two.log_gamma > found.log_gamma  # the more columns, the smaller the quantile
    assert two.p_value == pytest.approx(min(1.0, 2 * found.p_value))


def test_log_gamma_is_negative_where_the_curve_leaves_the_band() -> None:
    low, high = band(300)
    samples = [RNG.beta(1, 1.15, 300) for _ in range(100)]
    left = [outside(values, low, high) for values in samples]
    assert left == [uniformity(values[:, None]).log_gamma < 0 for values in samples]
    assert 10 < sum(left) < 90


@pytest.mark.parametrize(
    ("shift", "width"), [(0.0, 0.7), (0.0, 1.4), (0.3, 1.0)], ids=["too narrow", "too wide", "shifted"]
)
def test_what_is_not_uniform_is_seen_in_any_column(shift: float, width: float) -> None:
    wrong = norm.cdf((RNG.normal(size=500) - shift) / width)
    found = uniformity(np.stack([RNG.uniform(size=500), wrong], 1))
    assert found.p_value < 0.01
    assert found.error > 1.3 * found.expected_error


def test_a_wrong_column_among_many_is_seen_through_any_number_of_tests() -> None:
    values = RNG.uniform(size=(500, 30))
    values[:, 7] = values[:, 7] ** 2
    assert uniformity(values).p_value < 1e-10  # 4000 simulated samples alone could not say less than 30 / 4001


def test_the_expected_error_is_that_of_a_brownian_bridge() -> None:
    """E|B(a)| = sqrt(2 a (1 - a) / π), whose mean over a is sqrt(2 / π) π / 8."""
    for n_values in (100, 1000):
        assert null(n_values).expected_error == pytest.approx(0.3133 / math.sqrt(n_values), rel=0.04)
    errors = [uniformity(RNG.uniform(size=(100, 1))).error for _ in range(400)]
    assert np.mean(errors) == pytest.approx(null(100).expected_error, rel=0.1)


def test_only_columns_that_most_rows_have_are_tested() -> None:
    values = RNG.uniform(size=(300, 3))
    values[:20] = np.nan
    values[:100, 1] = np.nan
    found = uniformity(values)
    assert found == uniformity(values[20:, [0, 2]])
    assert found.values == 280
    with pytest.raises(ValueError, match="no values"):
        uniformity(np.full((5, 1), np.nan))
