"""What the posterior density of a network's weights offers.

Letters: C chains, B tasks, N = n + m rows (n context rows, then m queries), F features, P parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from priorfit.priors import Task


class WeightPosterior(ABC):
    """The parameters of one network per task, all standard normal a priori, given the task's context.

    Args:
        task: what is observed; of the hidden part nothing is used.

    Attributes:
        size: P.
    """

    size: int

    def __init__(self, task: Task) -> None:
        table = task.observed
        self.n_context = table.y_context.shape[1]
        self.x = torch.cat([table.x_context, table.x_query], 1).double()  # (B, N, F)
        self.y = table.y_context.double()  # (B, n)

    def log_density(self, theta: Tensor) -> Tensor:
        """Log density of parameters (C, B, P), up to a constant: (C, B)."""
        return self.log_likelihood(theta) - theta.square().sum(-1) / 2

    @abstractmethod
    def log_likelihood(self, theta: Tensor) -> Tensor:
        """Log probability (density) of the context's targets, (C, B)."""

    @abstractmethod
    def predict(self, theta: Tensor) -> Tensor:
        """The queries' mean, or probability of class 1, (C, B, m)."""

    @abstractmethod
    def log_prob(self, predicted: Tensor, hidden: Tensor) -> Tensor:
        """Log probability (density) of hidden targets (B, m) given what `predict` gave, (..., B, m)."""


class BinaryPosterior(WeightPosterior):
    """Two classes."""

    def log_prob(self, predicted: Tensor, hidden: Tensor) -> Tensor:
        """Of `hidden`, 0 or 1."""
        return torch.where(hidden == 1, predicted, 1 - predicted).clamp(min=1e-300).log()
