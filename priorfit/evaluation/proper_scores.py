"""Proper scores from draws or probabilities, each with its expectation if the truth were drawn from the prediction.

A score says little alone. The expectation under the prediction itself is what a calibrated network scores on average,
so that the difference of the two has the null value 0.
Letters: L draws, N truths, d numbers each, K classes.
"""

from __future__ import annotations

import numpy as np
import torch

Array = np.ndarray


def crps(draws: Array, truth: Array) -> tuple[Array, Array]:
    """CRPS of draws (L, ...) at truths (...), in the truth's units, and its expectation under the prediction.

    E|X - y| - E|X - X'| / 2, its second part without bias from finitely many draws: the fair estimator, computed from
    sorted draws (Zamo and Naveau 2018, "Estimation of the continuous ranked probability score ...").
    """
    n_draws = len(draws)
    weights = 2 * np.arange(1, n_draws + 1) - n_draws - 1
    own = np.tensordot(weights, np.sort(draws, 0), 1) / (n_draws * (n_draws - 1))
    return np.abs(draws - truth).mean(0) - own, own


def energy_score(draws: Array, truth: Array) -> tuple[Array, Array]:
    """Energy score of draws (L, N, d) at truths (N, d), (N,), and its expectation under the prediction.

    E|X - y| - E|X - X'| / 2 with Euclidean distances; for d = 1 it is the CRPS. Fair, as there
    (Gneiting and Raftery 2007, "Strictly proper scoring rules, prediction, and estimation", section 4.3).
    """
    n_draws = len(draws)
    each = torch.from_numpy(np.moveaxis(draws, 1, 0).copy())  # (N, L, d)
    own = torch.cdist(each, each).sum((1, 2)).numpy() / (2 * n_draws * (n_draws - 1))
    return np.linalg.norm(draws - truth, axis=-1).mean(0) - own, own


def brier(probabilities: Array, truth: Array) -> tuple[Array, Array]:
    """Σ_k (p_k - [y = k])² for probabilities (..., K) and classes (...), and its expectation 1 - Σ_k p_k²."""
    squares = np.square(probabilities).sum(-1)
    own = np.take_along_axis(probabilities, truth.astype(int)[..., None], -1)[..., 0]
    return 1 - 2 * own + squares, 1 - squares
