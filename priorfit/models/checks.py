"""Checks of a network's arguments, with messages that say what to do."""

from __future__ import annotations

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
