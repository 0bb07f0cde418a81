"""Laws of one number that are known by their density up to a constant and normalised on a grid.

Letters: B laws, G nodes, J points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class GridLaw(Distribution):
    """A law with density exp(log_density(x)) / Z, Z by quadrature; moments and cdf from the nodes.

    Batch shape (B, 1), no event shape.

    Args:
        log_density: the log density up to a constant, from points (B, J) to (B, J).
        nodes: increasing, (B, G) or (1, G).
        log_weights: logarithms of density times quadrature weight at the nodes, (B, G).

    Attributes:
        log_normalizer: log Z, (B,).
    """

    arg_constraints = {}  # type: ignore[assignment]
    support = constraints.real  # type: ignore[assignment]

    def __init__(self, log_density: Callable[[Tensor], Tensor], nodes: Tensor, log_weights: Tensor) -> None:
        self.log_density, self.nodes = log_density, nodes.expand_as(log_weights)
        self.log_normalizer = log_weights.logsumexp(-1)
        self.weights = log_weights.softmax(-1)
        super().__init__(torch.Size((*log_weights.shape[:-1], 1)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at value (..., B, 1)."""
        points = value.to(self.weights).expand(*value.shape[:-2], *self.batch_shape)
        flat = points.reshape(-1, len(self.weights)).T  # (B, J)
        found = self.log_density(flat) - self.log_normalizer[:, None]
        return found.T.reshape(points.shape)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value) at value (B, 1), linear between the nodes."""
        points = value.to(self.weights).expand(self.batch_shape)
        below = self.weights.cumsum(-1) - self.weights / 2  # at the nodes
        right = torch.searchsorted(self.nodes.contiguous(), points.contiguous()).clamp(1, self.nodes.shape[-1] - 1)
        (low, high), (start, end) = ((t.gather(-1, right - 1), t.gather(-1, right)) for t in (self.nodes, below))
        share = ((points - low) / (high - low)).nan_to_num(0.5).clamp(0, 1)
        return start + (end - start) * share

    @property
    def mean(self) -> Tensor:
        """Mean, (B, 1)."""
        return (self.weights * self.nodes).sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        """Variance, (B, 1)."""
        return (self.weights * (self.nodes - self.mean).square()).sum(-1, keepdim=True)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Nodes drawn by their weights from torch's global generator, (*sample_shape, B, 1)."""
        shape = torch.Size(sample_shape)
        index = torch.multinomial(self.weights, shape.numel(), replacement=True)  # (B, S)
        return self.nodes.gather(-1, index).T.reshape(*shape, *self.batch_shape)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> Self:
        """This law itself: it has no other batch shape."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise NotImplementedError("A law on a grid keeps its batch shape.")
        return self
