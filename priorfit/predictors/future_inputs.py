"""Where inputs of rows that are yet to come are drawn from.

Letters: n observed rows, k future rows, F features, R draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.random import RandomState
from numpy.typing import ArrayLike

Inputs = str | ArrayLike | Callable[[int, int, RandomState], ArrayLike]


def draw_inputs(inputs: Inputs, X: ndarray, shape: tuple[int, int], random: RandomState) -> ndarray:
    """Future inputs (R, k, F), in the units of X (n, F)."""
    n_draws, n_future = shape
    if callable(inputs):
        return checked_inputs(inputs(*shape, random), X, shape, "What the function inputs returned")
    if not isinstance(inputs, str):
        return np.broadcast_to(checked_inputs(inputs, X, (n_future,), "inputs"), (n_draws, n_future, X.shape[1]))
    if inputs != "bootstrap":
        raise ValueError(f"inputs must be 'bootstrap', an array (n_future, F) or a function, not '{inputs}'.")
    weights = random.dirichlet(np.ones(len(X)), n_draws)  # (R, n)
    return X[np.stack([random.choice(len(X), n_future, p=row) for row in weights])]


def checked_inputs(values: Any, X: ndarray, shape: tuple[int | str, ...], name: str) -> ndarray:
    """Inputs of the given leading shape, a letter for any length, and of the columns of X."""
    array = np.asarray(values, dtype=None if X.dtype.kind == "O" else X.dtype)
    wanted = (*shape, X.shape[1])
    fits = array.ndim == len(wanted) and all(
        size > 0 if isinstance(want, str) else size == want for size, want in zip(array.shape, wanted, strict=True)
    )
    if not fits:
        sizes = ", ".join(map(str, wanted))
        raise ValueError(f"{name} must have the shape ({sizes}), as X has {X.shape[1]} columns; got {array.shape}.")
    return array
