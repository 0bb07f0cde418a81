"""What a network was trained for, and what to say about data that go beyond it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple

HARD_FACTOR = 16  # times the rows of the longest training tasks: no sensible answer is expected beyond


class Trained(NamedTuple):
    """The largest tasks that a network was trained on; None where its checkpoint does not tell."""

    rows: int | None
    features: int | None


def trained_sizes(metadata: Mapping[str, Any]) -> Trained:
    """Reads the sizes of the training tasks from a checkpoint's document."""
    sizes = metadata["prior"]["arguments"].get("sizes", {})
    return Trained(_largest(sizes.get("points")), _largest(sizes.get("features")))


def _largest(size: Any) -> int | None:
    """The upper end of N or [low, high]."""
    return max(size) if isinstance(size, list | tuple) else size


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


def _warn_beyond(what: str, number: int, trained: int | None) -> None:
    """Warns of more than was trained on."""
    if trained and number > trained:
        warnings.warn(
            f"X has {number} {what} and this network was trained on at most {trained}: how good its "
            "predictions are beyond that is not known, so check them on held-out rows.",
            UserWarning,
            stacklevel=4,  # the line that calls fit
        )


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
    warnings.warn(
        f"{beyond}: how good its predictions are beyond that is not known.",
        UserWarning,
        stacklevel=4,  # the line that calls fit or asks for a prediction
    )


def check_count(name: str, value: int) -> None:
    """Raises ValueError where `value` is not a positive whole number."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, not {value!r}.")
