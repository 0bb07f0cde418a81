"""A table before anything is done to it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Raw(NamedTuple):
    """What a prior's generator of tables draws: B tasks, N exchangeable rows, F features."""

    x: Tensor  # (B, N, F), float32, finite
    y: Tensor  # (B, N), float32, finite: what the target is made of, without the noise below
    categorical: Tensor  # (B, F), bool: columns whose values are codes 0, 1, 2, …
    noise: Tensor | None = None  # (B,): sd of Gaussian noise that the target step adds to y; None where unknown
    vector: Tensor | None = None  # (B, N, D), finite, variance about 1: what y is one component of, if of anything
    unrelated: Tensor | None = None  # (B,), bool: y is independent of all features, and the table is to be drawn again
