"""Posterior density of the weights of linear networks.

Letters: C chains, B tasks, N = n + m rows (n context rows, then m queries), F features, H hidden units, P parameters.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from priorfit.evaluation.weight_posterior import BinaryPosterior
from priorfit.priors import LinearBNN, Task


class LinearPosterior(BinaryPosterior):
    """Of `LinearBNN`: two layers with nothing between them."""

    def __init__(self, prior: LinearBNN, task: Task) -> None:
        super().__init__(task)
        self.hidden = prior.hidden
        self.size = self.hidden * (self.x.shape[2] + 1) + self.hidden + 1
        self.sign = 2 * self.y - 1

    def logits(self, theta: Tensor) -> Tensor:
        """Log odds of class 1 at all rows, (C, B, N); the second layer's weights are differences of two."""
        n_features = self.x.shape[2]
        first, second = theta[..., : -self.hidden - 1], math.sqrt(2) * theta[..., -self.hidden - 1 :]
        first = first.unflatten(-1, (n_features + 1, self.hidden))
        hidden = self.x @ first[..., :-1, :] + first[..., -1:, :]  # (C, B, N, H)
        return (hidden @ second[..., :-1, None])[..., 0] + second[..., -1:]

    def log_likelihood(self, theta: Tensor) -> Tensor:
        """Bernoulli, with logits."""
        return logsigmoid(self.sign * self.logits(theta)[..., : self.n_context]).sum(-1)

    def predict(self, theta: Tensor) -> Tensor:
        """Chance of class 1."""
        return self.logits(theta)[..., self.n_context :].sigmoid()
