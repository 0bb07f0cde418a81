"""Whether predicted probabilities of classes come true.

Letters: T tasks, S hidden values of each, C bins, M simulated samples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Array = np.ndarray
BINS, SIMULATIONS = 15, 400


class Reliability(NamedTuple):
    """The reliability curve, by bins of confidence.

    Attributes:
        confidence: mean confidence in each bin, (C,); NaN where a bin is empty.
        accuracy: share of right answers, likewise.
        share: of all values that fall into it, (C,).
        error: expected calibration error: mean of |accuracy - confidence|, weighted by share.
        expected_error: what that would be for a calibrated network; NaN where fewer than two independent units were
            seen.
    """

    confidence: Array
    accuracy: Array
    share: Array
    error: float
    expected_error: float


def reliability(confidence: Array, correct: Array, unit: Array) -> Reliability:
    """The curve of the most probable class's probability against how often it is right.

    The expected error is above 0 for a calibrated network, all the more the fewer values there are. It is found by
    turning the sign of all differences `correct - confidence` of an independent unit at random: for a calibrated
    network these have mean 0, however they depend on one another inside a unit.

    Args:
        confidence: the largest probability, (T, S).
        correct: whether its class is the hidden one, (T, S).
        unit: which tasks are independent of one another, (T,): those of different numbers.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    number = np.bincount(bins.ravel(), minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins.ravel(), values.ravel(), BINS) / number for values in (confidence, correct)]
    _, index = np.unique(unit, return_inverse=True)
    cells = (index[:, None] * BINS + bins).ravel()
    sums = np.bincount(cells, (correct - confidence).ravel(), BINS * (index.max() + 1))
    sums = sums.reshape(-1, BINS)  # (units, C)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (SIMULATIONS, len(sums)))
    expected = np.abs(signs @ sums).sum(1).mean() / confidence.size if len(sums) > 1 else math.nan
    error = np.abs(sums.sum(0)).sum() / confidence.size
    return Reliability(means[0], means[1], number / confidence.size, float(error), float(expected))
