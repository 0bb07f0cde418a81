"""Probabilities of paths, against products and sums written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import logsumexp

from priorfit.predictors.jump_quantities import generator_matrix
from priorfit.predictors.jump_reading import read_paths
from priorfit.predictors.path_likelihood import path_log_likelihoods

RATES = generator_matrix(np.array([[0, 1.0, 0], [0.5, 0, 2.0], [0, 0, 0]]))  # 0 and 1, until 2 is entered
INITIAL = np.array([0.6, 0.4, 0])


def test_paths_of_any_length_and_gaps() -> None:
    """Gaps of 1 beside padding, gaps that differ by rounding, a single observation."""
    paths = [([0.0, 1.0], [0, 1]), ([0.0, 0.1, 0.3, 0.3 + 0.1], [1, 0, 1, 2]), ([4.0], [1]), ([0, 1.0, 3.0], [0, 0, 2])]
    expected = []
    for times, states in paths:
        moves = [expm(RATES * gap) for gap in np.diff(times)]
        steps = [move[a, b] for move, a, b in zip(moves, states[:-1], states[1:], strict=True)]
        expected.append(np.log(INITIAL[states[0]]) + np.log(steps).sum())
    np.testing.assert_allclose(path_log_likelihoods(read_paths(paths), RATES, INITIAL), expected, rtol=1e-9)


def test_what_cannot_happen() -> None:
    paths = read_paths([([0, 1], [2, 2]), ([0, 1, 2], [0, 2, 1]), ([0, 1], [0, 2])])
    scores = path_log_likelihoods(paths, RATES, INITIAL)
    assert np.isneginf(scores).tolist() == [True, True, False]
    assert np.isfinite(path_log_likelihoods(paths, RATES, INITIAL, 0.01)).all()


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_probabilities_of_all_paths_add_up_to_one(noise: float) -> None:
    states = np.array(np.meshgrid(*4 * [range(3)])).reshape(4, -1).T
    scores = path_log_likelihoods(read_paths((np.array([0, 0.2, 1.2, 1.5]), states)), RATES, INITIAL, noise)
    assert logsumexp(scores) == pytest.approx(0, abs=1e-12)
