"""What users ask of a jump process, checked, and what draws answer.

Letters: S states, T times, D draws, P paths.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import RandomState
from numpy.typing import ArrayLike

SUM = 1e-6  # how far from 1 probabilities may add up to


def read_level(level: float) -> ndarray:
    """The levels of a central interval's ends, (2,).

    Raises:
        ValueError: a mass that is not between 0 and 1.
    """
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level must be the probability of an interval, above 0 and below 1, not {level!r}.")
    return np.array([(1 - level) / 2, (1 + level) / 2])


def read_times(times: ArrayLike) -> ndarray:
    """Times to predict at, () or (T,), float64.

    Raises:
        ValueError: none, or some that are negative or not finite.
    """
    read = np.asarray(times, dtype=np.float64)
    if read.ndim > 1 or not read.size or not (np.isfinite(read) & (read >= 0)).all():
        raise ValueError("Times must be a number or a list of numbers from 0 on: time since the first observation.")
    return read


def read_start(start: Any, n_states: int) -> ndarray:
    """A state, or a law of states, as a law (S,).

    Raises:
        ValueError: neither.
    """
    if isinstance(start, Integral) and not isinstance(start, bool) and 0 <= int(start) < n_states:
        return np.eye(n_states)[int(start)]
    try:
        law = np.asarray(start, dtype=np.float64)
    except (TypeError, ValueError):
        law = np.empty(0)
    if law.shape != (n_states,) or not (law >= 0).all() or abs(law.sum() - 1) > SUM:
        raise ValueError(
            f"start must be a state from 0 to {n_states - 1} or {n_states} probabilities that add up to 1, not "
            f"{start!r}."
        )
    return law / law.sum()


def quantiles_of_draws(values: ndarray, levels: ndarray) -> ndarray:
    """Quantiles of draws (D, …) at levels (Q,), (Q, …): the smallest draw that so many are at or below.

    NaN does not count; NaN where there is nothing else. Infinite draws do.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), 0)  # NaN comes last
    count = (~np.isnan(ordered)).sum(0)
    ranks = np.ceil(np.multiply.outer(levels, count)).astype(int) - 1  # (Q, …)
    return np.take_along_axis(ordered, ranks.clip(0), 0)


def draw_states(laws: ndarray, generator: RandomState) -> ndarray:
    """A state of each of the laws (P, S), (P,)."""
    levels = generator.random_sample(len(laws))[:, None]
    return (laws.cumsum(1)[:, :-1] < levels).sum(1)
