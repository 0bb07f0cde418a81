"""Scores against closed forms and values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from priorfit.evaluation.proper_scores import brier, crps, energy_score

RNG = np.random.default_rng(2)


def normal_crps(y: np.ndarray, sd: float) -> np.ndarray:
    """Gneiting and Raftery 2007, equation 22."""
    z = y / sd
    return sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))


def test_crps_of_few_draws_has_no_bias() -> None:
    truth = np.repeat([-1.0, 0.0, 2.5], 40_000)
    score, own = crps(1.5 * RNG.normal(size=(4, len(truth))), truth)
    assert score.reshape(3, -1).mean(1) == pytest.approx(normal_crps(np.array([-1, 0, 2.5]), 1.5), abs=0.02)
    assert own.mean() == pytest.approx(1.5 / math.sqrt(math.pi), abs=0.01)


def test_the_energy_score_of_one_number_is_the_crps() -> None:
    draws, truth = RNG.normal(size=(9, 5, 1)), RNG.normal(size=(5, 1))
    for energy, single in zip(energy_score(draws, truth), crps(draws[..., 0], truth[..., 0]), strict=True):
        assert energy == pytest.approx(single)


def test_the_energy_score_of_normal_vectors() -> None:
    """E|X - X'| / 2 = E|X| / sqrt(2), and E|X| = sqrt(2) Γ((d + 1) / 2) / Γ(d / 2)."""
    score, own = energy_score(RNG.normal(size=(10, 4000, 3)), np.zeros((4000, 3)))
    length = math.sqrt(2) * math.gamma(2) / math.gamma(1.5)
    assert own.mean() == pytest.approx(length / math.sqrt(2), abs=0.02)
    assert score.mean() == pytest.approx(length * (1 - 1 / math.sqrt(2)), abs=0.02)


def test_what_is_expected_under_the_prediction_is_the_mean_over_its_draws() -> None:
    truth = RNG.normal(size=(4000, 2))
    score, own = energy_score(RNG.normal(size=(20, 4000, 2)), truth)
    difference = score - own
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))


def test_brier_by_hand() -> None:
    score, own = brier(np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]]), np.array([1, 1]))
    assert score == pytest.approx([0.49 + 0.64 + 0.01, 0])
    assert own == pytest.approx([1 - 0.49 - 0.04 - 0.01, 0])
