"""Posteriors of latent vectors by Bayes' rule, with an evidence that was computed elsewhere.

Letters: B tasks, J points, d numbers per latent.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class LatentPosterior(Distribution):
    """p(x | rows) = p(x) p(rows | x) / p(rows), batch shape (B,), event shape (d,).

    Args:
        log_joint: log p(x) + log p(rows | x), from points (B, J, d) to (B, J).
        log_evidence: log p(rows), (B,).
        size: d.
    """

    arg_constraints = {}  # type: ignore[assignment]
    support = constraints.real_vector  # type: ignore[assignment]

    def __init__(self, log_joint: Callable[[Tensor], Tensor], log_evidence: Tensor, size: int) -> None:
        self.log_joint, self.log_evidence = log_joint, log_evidence
        super().__init__(log_evidence.shape, torch.Size([size]), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at value (..., B, d): (..., B)."""
        points = value.to(self.log_evidence).expand(*value.shape[:-2], *self.batch_shape, *self.event_shape)
        flat = points.reshape(-1, *self.batch_shape, *self.event_shape).movedim(0, 1)  # (B, J, d)
        found = self.log_joint(flat) - self.log_evidence[:, None]
        return found.movedim(1, 0).reshape(points.shape[:-1])
