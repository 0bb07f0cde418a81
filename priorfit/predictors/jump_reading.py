"""Observed paths of jump processes as people hand them over: one (times, states) per path, or padded arrays.

Letters: P paths, L observations of the longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from priorfit.predictors.limits import warn_user

BEYOND = 2  # times the longest training paths: no warning up to there

EXPECTED = (
    "Paths are a list with one (times, states) per path, or one tuple (times, states) of arrays: states (n_paths, "
    "length), padded with -1 or NaN, and times of the same shape or (length,) for all."
)


class ObservedPaths(NamedTuple):
    """Paths side by side, each from its first observation on.

    Attributes:
        times: since the first observation of the path, increasing; past its end the last one again; (P, L), float64.
        states: -1 past the end, (P, L), int64.
    """

    times: ndarray
    states: ndarray

    @property
    def lengths(self) -> ndarray:
        """Number of observations of each path, (P,)."""
        return (self.states >= 0).sum(1)

    @property
    def mean_gap(self) -> float:
        """Mean time between two observations of a path that follow each other."""
        return float(self.times[:, -1].sum() / (self.lengths - 1).sum())


def read_paths(paths: Any) -> ObservedPaths:
    """Paths, without what was not observed: states that are -1 or NaN.

    Args:
        paths: a list with one (times, states) per path, each (length,); or a tuple (times, states) of arrays, states
            (P, length) and times (P, length) or (length,), or both (length,) for a single path.

    Raises:
        ValueError: no paths, or some that are empty, of which times are not finite or do not increase, or of which
            states are not whole numbers from 0 on.
    """
    rows = [_path(index, *pair) for index, pair in enumerate(_pairs(paths))]
    if not rows:
        raise ValueError(f"There are no paths. {EXPECTED}")
    length = max(len(states) for _, states in rows)
    times = np.stack([np.pad(row, (0, length - len(row)), mode="edge") for row, _ in rows])
    states = np.stack([np.pad(row, (0, length - len(row)), constant_values=-1) for _, row in rows])
    return ObservedPaths(times, states)


def count_states(paths: ObservedPaths, n_states: int | None, max_states: int) -> int:
    """The number of states S: as many as asked for, or as the largest observed one tells.

    Warns of states that were never observed.

    Raises:
        ValueError: states that are not below S, or S that is not from 2 to what the network takes.
    """
    if n_states is not None and (not isinstance(n_states, Integral) or isinstance(n_states, bool) or n_states < 2):
        raise ValueError(f"n_states must be a whole number from 2 on, or None, not {n_states!r}.")
    counted = int(paths.states.max()) + 1 if n_states is None else int(n_states)
    check_states(paths, counted)
    if counted < 2:
        raise ValueError("Only state 0 was observed. If there are others, say how many in all: n_states=2, or more.")
    if counted > max_states:
        raise ValueError(
            f"There are {counted} states and this network takes at most {max_states}: merge states, number them "
            "without gaps (numpy.unique(states, return_inverse=True)), or use another checkpoint "
            "(priorfit.list_checkpoints() names them)."
        )
    never = sorted(set(range(counted)) - set(paths.states[paths.states >= 0].tolist()))
    if never:
        warn_user(
            f"State {', '.join(map(str, never))} of 0 to {counted - 1} was never observed: what is said of rates from "
            "there is what the network expects of any process, and rates to there are low at best."
        )
    return counted


def check_states(paths: ObservedPaths, n_states: int) -> None:
    """Refuses states that are not below `n_states`."""
    beyond = np.argwhere(paths.states >= n_states)
    if beyond.size:
        path, at = beyond[0]
        raise ValueError(
            f"Path {path} has a state {paths.states[path, at]}, and n_states={n_states} allows 0 to {n_states - 1}."
        )


def check_lengths(paths: ObservedPaths, metadata: Mapping[str, Any]) -> None:
    """Warns of paths that are much longer than those that a network was trained on, if its checkpoint tells.

    Args:
        paths: what it is to read.
        metadata: the checkpoint's document.
    """
    trained = metadata.get("prior", {}).get("arguments", {}).get("points")
    longest = int(paths.lengths.max())
    if trained is not None and longest > BEYOND * np.max(trained):
        warn_user(
            f"A path has {longest} observations and this network was trained on paths of up to {np.max(trained)}. How "
            "good its answers are beyond that is not known, and they take long: cut the path into pieces, each from "
            "the last observation of the one before. The initial law is then that of the pieces."
        )


def _pairs(paths: Any) -> Iterator[tuple[Any, Any]]:
    """Times and states of each path."""
    if isinstance(paths, tuple) and len(paths) == 2:
        yield from _padded(*paths)
        return
    if isinstance(paths, str | dict) or not hasattr(paths, "__iter__"):
        raise ValueError(f"{EXPECTED} This is {paths!r}.")
    for index, pair in enumerate(paths):
        if isinstance(pair, str | dict) or not hasattr(pair, "__len__") or len(pair) != 2:
            raise ValueError(f"Path {index} is not a pair (times, states). {EXPECTED}")
        yield pair[0], pair[1]


def _padded(times: Any, states: Any) -> Iterator[tuple[Any, Any]]:
    """Rows of arrays."""
    times, states = _numbers(times, "times"), _numbers(states, "states")
    if states.ndim == 1:
        states = states[None]
    if states.ndim != 2 or times.shape not in (states.shape, states.shape[1:]):
        raise ValueError(f"times of shape {times.shape} do not fit states of shape {states.shape}. {EXPECTED}")
    yield from zip(np.broadcast_to(times, states.shape), states, strict=True)


def _path(index: int, times: Any, states: Any) -> tuple[ndarray, ndarray]:
    """Times since the first observation and states of path `index`, where it was observed."""
    times, states = _numbers(times, f"times of path {index}"), _numbers(states, f"states of path {index}")
    if times.ndim != 1 or times.shape != states.shape:
        raise ValueError(
            f"Path {index} needs as many times as states, in a list each, not arrays of shapes {times.shape} and "
            f"{states.shape}. {EXPECTED}"
        )
    seen = ~np.isnan(states) & (states != -1)
    times, states = times[seen], states[seen]
    if not states.size:
        raise ValueError(f"Path {index} is empty: leave it out.")
    _check_times(index, times)
    wrong = states[~np.isfinite(states) | (states < 0) | (states != states.round())]
    if wrong.size:
        raise ValueError(
            f"Path {index} has a state {wrong[0]:g}. States are whole numbers from 0 on, and -1 or NaN where nothing "
            "was observed; numpy.unique(labels, return_inverse=True) makes them of other labels."
        )
    return times - times[0], states.astype(np.int64)


def _check_times(index: int, times: ndarray) -> None:
    """Refuses times that are not finite or do not increase."""
    if not np.isfinite(times).all():
        raise ValueError(f"Path {index} has a time that is not a finite number at an observed state.")
    steps = np.diff(times)
    if (steps < 0).any():
        at = int(np.argmax(steps < 0))
        raise ValueError(f"The times of path {index} go backwards, from {times[at]:g} to {times[at + 1]:g}: sort them.")
    if (steps == 0).any():
        at = int(np.argmax(steps == 0))
        raise ValueError(f"Path {index} has more than one state at time {times[at]:g}: keep one.")


def _numbers(values: Any, what: str) -> ndarray:
    """An array, float64."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # ragged
        raise ValueError(f"The {what} are not an array of numbers. {EXPECTED}") from error
    if array.size and array.dtype.kind not in "iuf":
        raise ValueError(f"The {what} must be numbers, not {array.dtype}. {EXPECTED}")
    return array.astype(np.float64)
