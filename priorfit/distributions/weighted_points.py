"""A law that is known by weighted points, such as candidates weighted by their likelihood.

Letters: J points, d numbers per point, "..." batch shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class WeightedPoints(Distribution):
    """The discrete law of `values` with probabilities proportional to exp(log_weights).

    It has no density. Points of weight zero contribute nothing, whatever they are.

    Args:
        values: the points, (..., J, d).
        log_weights: up to a constant, (..., J); -inf for a weight of zero.

    Raises:
        ValueError: shapes that do not fit, weights that are NaN or all zero.
    """

    arg_constraints = {}  # type: ignore[assignment]  # checked in the constructor
    support = constraints.real_vector  # type: ignore[assignment]

    def __init__(self, values: Tensor, log_weights: Tensor) -> None:
        if values.ndim < 2 or values.shape[:-1] != log_weights.shape:
            raise ValueError(
                f"Points must be (..., J, d) and their log weights (..., J); "
                f"got {tuple(values.shape)} and {tuple(log_weights.shape)}."
            )
        self.values, self.log_weights = values, log_weights.log_softmax(-1)
        super().__init__(values.shape[:-2], values.shape[-1:], validate_args=False)
        if not torch.compiler.is_compiling() and self.log_weights.isnan().any():
            raise ValueError("Weights of points must be numbers, and at least one of each law must not be zero.")

    @property
    def weights(self) -> Tensor:
        """Probabilities of the points, (..., J)."""
        return self.log_weights.exp()

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> Self:
        """This law with a larger batch shape."""
        shape = torch.Size(batch_shape)
        values = self.values.expand(*shape, *self.values.shape[-2:])
        return type(self)(values, self.log_weights.expand(values.shape[:-1]))

    def expectation(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """E[function(X)], (...), of a function from points (..., J, d) to numbers (..., J).

        The function sees the heaviest point in place of points of weight zero, so that neither its values nor its
        gradients have to be finite there.
        """
        weights = self.weights
        heaviest = weights.argmax(-1, keepdim=True)[..., None].expand(*self.batch_shape, 1, *self.event_shape)
        points = torch.where(weights[..., None] > 0, self.values, self.values.gather(-2, heaviest))
        return (weights * function(points)).sum(-1)

    @property
    def mean(self) -> Tensor:
        """Mean, (..., d)."""
        return (self.weights[..., None] * self.values).sum(-2)

    @property
    def variance(self) -> Tensor:
        """Variance of each number, (..., d)."""
        return (self.weights[..., None] * (self.values - self.mean[..., None, :]).square()).sum(-2)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Points drawn by their weights, (*sample_shape, ..., d)."""
        shape, (n_points, size) = torch.Size(sample_shape), self.values.shape[-2:]
        index = torch.multinomial(self.weights.reshape(-1, n_points), shape.numel(), replacement=True)  # (B, S)
        points = self.values.reshape(-1, n_points, size).gather(1, index[..., None].expand(-1, -1, size))
        return points.movedim(1, 0).reshape(*shape, *self.batch_shape, size)
