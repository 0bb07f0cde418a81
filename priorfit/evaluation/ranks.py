"""Numbers that are uniform on [0, 1] where a network is calibrated, from draws of its distributions.

Ranks among finitely many draws are discrete and can be tied; a random share of the rank makes them exactly uniform.
Letters: L draws, N truths, d numbers each, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

Array = np.ndarray


def randomized_rank(draws: Array, truth: Array, rng: Generator) -> Array:
    """Where the truth stands among draws, from 0 (below all) to 1, ties broken at random.

    u = (#{draws < truth} + U (1 + #{draws = truth})) / (L + 1) with U uniform is uniform if truth and draws have one
    law, whether it is continuous or not (simulation-based calibration: Talts et al. 2018).

    Args:
        draws: (L, ...).
        truth: (...).
        rng: draws U.
    """
    below, equal = (draws < truth).sum(0), (draws == truth).sum(0)
    return (below + rng.uniform(size=truth.shape) * (1 + equal)) / (len(draws) + 1)


def randomized_pit(probabilities: Array, truth: Array, rng: Generator) -> Array:
    """P(Y < y) + U P(Y = y) for classes y: (...) of probabilities (..., K) and classes (...)."""
    upto = np.cumsum(probabilities, -1)
    index = truth.astype(int)[..., None]
    own = np.take_along_axis(probabilities, index, -1)[..., 0]
    return np.take_along_axis(upto, index, -1)[..., 0] - rng.uniform(size=own.shape) * own


def highest_density_level(log_density_of_draws: Array, log_density_of_truth: Array, rng: Generator) -> Array:
    """The share of draws that are denser than the truth: it lies in the highest-density region of every larger level.

    Args:
        log_density_of_draws: (L, ...).
        log_density_of_truth: (...).
        rng: breaks ties.
    """
    return randomized_rank(-log_density_of_draws, -log_density_of_truth, rng)


def tarp(draws: Array, truth: Array, reference: Array, rng: Generator) -> Array:
    """The share of draws that are nearer to a reference point than the truth is, (N,).

    Uniform for the exact posterior, whatever the reference points are, as long as they do not know the truth. If they
    do not depend on the data, it is uniform for the prior as well, or for any other law that is right on average: let
    them depend on the data (Lemos et al. 2023, "Sampling-Based Accuracy Testing of Posterior Estimators").

    Args:
        draws: (L, N, d), in units in which distances make sense.
        truth: (N, d).
        reference: (N, d).
        rng: breaks ties.
    """
    return randomized_rank(np.linalg.norm(draws - reference, axis=-1), np.linalg.norm(truth - reference, axis=-1), rng)
