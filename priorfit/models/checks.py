"""Checks of a network's arguments, with messages that say what to do."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def check_regression(x_context: Tensor, y_context: Tensor, x_query: Tensor, max_features: int) -> None:
    """Refuses arguments that are not x_context (B, n, F), y_context (B, n), x_query (B, m, F), all finite.

    Raises:
        ValueError: wrong ranks or lengths, too many features, NaN or infinite values.
    """
    if torch.compiler.is_compiling():
        return
    shapes = f"got {tuple(x_context.shape)}, {tuple(y_context.shape)}, {tuple(x_query.shape)}"
    if (x_context.ndim, y_context.ndim, x_query.ndim) != (3, 2, 3):
        raise ValueError(f"Expected x_context (B, n, F), y_context (B, n) and x_query (B, m, F); {shapes}.")
    if x_context.shape[:2] != y_context.shape:
        raise ValueError(f"x_context and y_context must agree in tasks and rows; {shapes}.")
    if x_context.shape[0] != x_query.shape[0] or x_context.shape[2] != x_query.shape[2]:
        raise ValueError(f"x_context and x_query must agree in tasks and features; {shapes}.")
    if not 1 <= x_query.shape[2] <= max_features:
        raise ValueError(
            f"This network takes 1 to {max_features} features, not {x_query.shape[2]}: select features, or train "
            "one with a larger max_features."
        )
    for name, value in {"x_context": x_context, "y_context": y_context, "x_query": x_query}.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite values: impute or drop those rows first.")


def check_curves(steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> None:
    """Refuses arguments that are not as in `Curves`: steps, values (B, n) and query_steps, visible (B, m), finite.

    Raises:
        ValueError: wrong ranks or lengths, no query, NaN or infinite values, or `visible` not whole or not in 0 … n.
    """
    if torch.compiler.is_compiling():
        return
    parts = {"steps": steps, "values": values, "query_steps": query_steps, "visible": visible}
    shapes = ", ".join(str(tuple(part.shape)) for part in parts.values())
    if any(part.ndim != 2 for part in parts.values()):
        raise ValueError(f"Expected steps and values (B, n), query_steps and visible (B, m); got {shapes}.")
    if steps.shape != values.shape or query_steps.shape != visible.shape or len(steps) != len(visible):
        raise ValueError(f"steps and values must agree in shape, query_steps and visible too, all in B; got {shapes}.")
    if not query_steps.numel():
        raise ValueError("There is no query: ask for at least one step of at least one curve.")
    for name, value in parts.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite values: leave unobserved steps out.")
    if visible.dtype != torch.int64 or not ((visible >= 0) & (visible <= steps.shape[1])).all():
        raise ValueError(f"visible must be whole numbers (int64) from 0 to the {steps.shape[1]} observed steps.")


class Limits(NamedTuple):
    """What a network for tables takes."""

    max_features: int
    max_classes: int  # 0: it does not classify
    numbers: bool  # whether it predicts numbers


def check_table(
    x_context: Tensor,
    y_context: Tensor,
    x_query: Tensor,
    categorical: Tensor,
    n_classes: Tensor,
    limits: Limits,
) -> None:
    """Refuses arguments that are not as in `Table`, or beyond the limits; x may have NaN, but not infinite values.

    Raises:
        ValueError: wrong ranks or lengths, too many features or classes, infinite values, targets that are missing
            or are no classes, tasks of both kinds in one batch, or of a kind that the network does not predict.
    """
    if torch.compiler.is_compiling():
        return
    check_table_shapes(x_context, y_context, x_query, categorical, n_classes)
    if not 1 <= x_query.shape[2] <= limits.max_features:
        raise ValueError(
            f"This network takes 1 to {limits.max_features} features, not {x_query.shape[2]}: select features, or "
            "train one with a larger max_features."
        )
    for name, value in {"x_context": x_context, "x_query": x_query}.items():
        if value.isinf().any():
            raise ValueError(f"{name} has infinite values: replace them by NaN, which stands for a missing value.")
    if not y_context.isfinite().all():
        raise ValueError("y_context has NaN or infinite values: drop those rows first.")
    if n_classes.any():
        check_classes(y_context, n_classes, limits.max_classes)
    elif not limits.numbers:
        raise ValueError("This network predicts classes, not numbers: n_classes must be at least 2 for all tasks.")


def check_table_shapes(
    x_context: Tensor, y_context: Tensor, x_query: Tensor, categorical: Tensor, n_classes: Tensor
) -> None:
    """Refuses tables whose parts do not fit together.

    Raises:
        ValueError: wrong ranks or lengths.
    """
    parts = (x_context, y_context, x_query, categorical, n_classes)
    shapes = ", ".join(str(tuple(part.shape)) for part in parts)
    if tuple(part.ndim for part in parts) != (3, 2, 3, 2, 1):
        raise ValueError(
            "Expected x_context (B, n, F), y_context (B, n), x_query (B, m, F), categorical (B, F) and "
            f"n_classes (B,); got {shapes}."
        )
    batch, n, n_features = x_context.shape
    fitting = y_context.shape == (batch, n) and categorical.shape == (batch, n_features) and len(n_classes) == batch
    if not fitting or x_query.shape[::2] != (batch, n_features):
        raise ValueError(f"All arguments must agree in tasks, rows and features; got {shapes}.")
    if categorical.dtype != torch.bool or n_classes.is_floating_point():
        raise ValueError(
            f"categorical must be bool and n_classes whole numbers, not {categorical.dtype}, {n_classes.dtype}."
        )


def check_classes(y: Tensor, n_classes: Tensor, max_classes: int) -> None:
    """Refuses targets y (B, n) that are not classes 0 … n_classes - 1 (B,).

    Raises:
        ValueError: too many classes, too few, or targets that are none.
    """
    if not max_classes:
        raise ValueError("This network predicts numbers, not classes: n_classes must be 0 for all tasks.")
    if not ((n_classes >= 2) & (n_classes <= max_classes)).all():
        raise ValueError(
            f"This network takes 2 to {max_classes} classes in every task of a batch (0, for numbers, must hold for "
            f"all or none); got {sorted(set(n_classes.tolist()))}."
        )
    if not ((y >= 0) & (y < n_classes[:, None]) & (y == y.round())).all():
        raise ValueError("Classes in y_context must be whole numbers from 0 to n_classes - 1.")


def check_paths(times: Tensor, states: Tensor, n_states: Tensor, *, max_states: int) -> None:
    """Refuses arguments that are not as in `priorfit.priors.JumpPaths`.

    Raises:
        ValueError: wrong ranks or types, several numbers of states or too many, states outside the range, nothing
            observed twice, or times that are not finite or do not increase.
    """
    if torch.compiler.is_compiling():
        return
    shapes = f"got {tuple(times.shape)}, {tuple(states.shape)}, {tuple(n_states.shape)}"
    if times.ndim != 3 or times.shape != states.shape or n_states.shape != times.shape[:1]:
        raise ValueError(f"Expected times and states (B, P, L) and n_states (B,); {shapes}.")
    if times.shape[1] < 1 or times.shape[2] < 2:
        raise ValueError(f"Needs at least one path, and observations at two times; {shapes}.")
    if states.is_floating_point() or not (n_states == n_states[0]).all():
        raise ValueError("states must be whole numbers (int64), and n_states the same for all processes of a batch.")
    number = int(n_states[0])
    if not 2 <= number <= max_states:
        raise ValueError(f"This network takes 2 to {max_states} states, not {number}: train one with more max_states.")
    if not ((states >= -1) & (states < number)).all():
        raise ValueError(f"states must be 0 … {number - 1}, or -1 past the end of a path.")
    if (states[..., 1:] >= 0).logical_and(states[..., :-1] < 0).any():
        raise ValueError("A path goes on after a -1: -1 only fills up the end of a path.")
    pairs = (states[..., 1:] >= 0) & (states[..., :-1] >= 0)
    if not times.isfinite().all():
        raise ValueError("times has NaN or infinite values: leave such observations out, and fill up with any number.")
    if not (times.diff(dim=-1)[pairs] > 0).all():
        raise ValueError("times must increase along each path.")


def check_evidence(prior: Tensor, rows: Tensor, *, n_tokens: int | None, prior_width: int, row_width: int) -> None:
    """Refuses arguments that are not as in `Evidence`: prior (B, T, C) and rows (B, N, D), all finite.

    Args:
        prior: to check.
        rows: to check.
        n_tokens: T; None for any number.
        prior_width: C.
        row_width: D.

    Raises:
        ValueError: wrong ranks or sizes, NaN or infinite values.
    """
    if torch.compiler.is_compiling():
        return
    shapes = f"got {tuple(prior.shape)} and {tuple(rows.shape)}"
    if prior.ndim != 3 or rows.ndim != 3:
        raise ValueError(f"Expected a prior (B, T, C) and rows (B, N, D); {shapes}.")
    if len(prior) != len(rows):
        raise ValueError(f"The prior and rows must agree in tasks; {shapes}.")
    if prior.shape[-1] != prior_width or prior.shape[1] < 1 or n_tokens not in (None, prior.shape[1]):
        number = n_tokens or "any number of"
        raise ValueError(f"Expected {number} prior tokens of {prior_width} numbers each; {shapes}.")
    if rows.shape[-1] != row_width:
        raise ValueError(f"Expected rows of {row_width} numbers, indicators of the sources included; {shapes}.")
    for name, value in {"The prior": prior, "rows": rows}.items():
        if not value.isfinite().all():
            raise ValueError(f"{name} has NaN or infinite values: leave rows out that were not observed.")
