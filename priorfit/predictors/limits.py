"""What a network was trained for, and what to say about data that go beyond it."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

from priorfit.predictors.members import Room

HARD_FACTOR = 16  # times the rows of the longest training tasks: no sensible answer is expected beyond


class Trained(NamedTuple):
    """The largest tasks that a network was trained on; None where its checkpoint does not tell."""

    rows: int | None
    features: int | None


def trained_sizes(metadata: Mapping[str, Any]) -> Trained:
    """Reads the sizes of the training tasks from a checkpoint's document."""
    sizes = list(_sizes_in(metadata["prior"]["arguments"]))
    return Trained(*(_largest(key, sizes) for key in ("points", "features")))


def _sizes_in(arguments: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What is called "sizes" in a prior's arguments, or in those of the priors that it mixes."""
    for key, value in arguments.items():
        if isinstance(value, Mapping):
            yield from [value] if key == "sizes" else _sizes_in(value)


def _largest(key: str, sizes: Sequence[Mapping[str, Any]]) -> int | None:
    """The largest N, or upper end of [low, high], that the sizes name."""
    named = [size[key] for size in sizes if size.get(key) is not None]
    return max((max(size) if isinstance(size, list | tuple) else size for size in named), default=None)


def check_limits(shape: tuple[int, int], trained: Trained, max_features: int, ignore_limits: bool) -> None:
    """Warns of training data (n, F) beyond what the network was trained on, and refuses what is far beyond.

    Raises:
        ValueError: more features than the network takes, or more than 16 times the rows, unless ignored.
    """
    n_rows, n_features = shape
    if n_features > max_features:
        raise ValueError(
            f"X has {n_features} features and this network takes at most {max_features}: select features "
            "(sklearn.feature_selection.SelectKBest is one way) or use another checkpoint "
            "(priorfit.list_checkpoints() names them)."
        )
    if trained.rows and n_rows > HARD_FACTOR * trained.rows and not ignore_limits:
        raise ValueError(
            f"X has {n_rows} rows, more than {HARD_FACTOR} times the {trained.rows} that this network was "
            "trained on: use a random subset of them or another checkpoint, or set ignore_limits=True."
        )
    _warn_beyond("rows", n_rows, trained.rows)
    _warn_beyond("features", n_features, trained.features)


def check_room(shape: tuple[int, int], trained: Trained, room: Room) -> None:
    """Warns of training data (n, F) of which each member of an ensemble sees a part, or that go beyond the training.

    Args:
        shape: n, and the columns that are not constant.
        trained: what the network was trained on.
        room: what it is shown.
    """
    n_rows, n_features = shape
    if n_features > room.features:
        warn_user(
            f"X has {n_features} features that are not constant and this network takes at most {room.features}: each "
            "member of the ensemble sees random ones. Selecting features (sklearn.feature_selection.SelectKBest is "
            "one way) or a larger n_estimators may predict better."
        )
    if room.rows is not None and n_rows > room.rows:
        training = f" This network was trained on at most {trained.rows}." if trained.rows else ""
        warn_user(
            f"X has {n_rows} rows, of which each member of the ensemble sees {room.rows} random ones: a larger "
            f"n_estimators uses more of them, and a larger max_rows shows more to each.{training}"
        )
    _warn_beyond("rows", min(n_rows, room.rows or n_rows), trained.rows)
    _warn_beyond("features", min(n_features, room.features), trained.features)


def _warn_beyond(what: str, number: int, trained: int | None) -> None:
    """Warns of more than was trained on."""
    if trained and number > trained:
        warn_user(
            f"X has {number} {what} and this network was trained on at most {trained}: how good its "
            "predictions are beyond that is not known, so check them on held-out rows."
        )


def warn_user(message: str) -> None:
    """A UserWarning at the line that called into this folder."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and Path(frame.f_code.co_filename).parent == Path(__file__).parent:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def check_horizon(what: str, last: float, horizon: float, ignore_horizon: bool) -> None:
    """Refuses steps of learning curves beyond those that the network was trained on, or warns of them.

    Args:
        what: where the steps come from.
        last: the largest of them.
        horizon: the largest that the network was trained on.
        ignore_horizon: whether to warn only.

    Raises:
        ValueError: `last` is beyond the horizon.
    """
    if last <= horizon:
        return
    beyond = f"{what} {last:g} and this network was trained on steps up to {horizon:g}"
    if not ignore_horizon:
        k = math.ceil(last / horizon)
        raise ValueError(
            f"{beyond}: count in larger units, for instance keep every value number {k} of each curve "
            f"(curves[:, {k - 1}::{k}]) and divide the steps asked for by {k}; or set ignore_horizon=True."
        )
    warn_user(f"{beyond}: how good its predictions are beyond that is not known.")


def check_count(name: str, value: int) -> None:
    """Raises ValueError where `value` is not a positive whole number."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, not {value!r}.")
