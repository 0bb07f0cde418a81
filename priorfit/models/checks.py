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
