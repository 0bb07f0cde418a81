"""Probabilities of classes, of which each task may have another number.

Letters: K the largest number of classes, "..." batch shape.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

ABSENT = -1e4  # logit of a class that a task does not have: its probability is exactly 0


class ClassDistribution(Categorical):
    """A categorical distribution that can be trained on laws, and in which tasks may have fewer than K classes.

    Args:
        logits: unnormalised log probabilities, (..., K).
        n_classes: how many of the K classes exist, broadcast against the batch shape; None for all.

    Raises:
        ValueError: logits without a class.
    """

    def __init__(self, logits: Tensor, n_classes: Tensor | None = None) -> None:
        if n_classes is not None:
            index = torch.arange(logits.shape[-1], device=logits.device)
            logits = logits.masked_fill(index >= n_classes[..., None], ABSENT)
        super().__init__(logits=logits.float() if logits.dtype.itemsize < 4 else logits, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> Self:
        """This distribution with a larger batch shape."""
        return type(self)(self.logits.expand(*batch_shape, self.logits.shape[-1]))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of classes (...), int64 or whole numbers.

        Raises:
            ValueError: a class that is not in 0 … K - 1.
        """
        if not torch.compiler.is_compiling() and not ((value >= 0) & (value < self.logits.shape[-1])).all():
            raise ValueError(f"Classes must be whole numbers from 0 to {self.logits.shape[-1] - 1}.")
        return super().log_prob(value)

    def expected_log_prob(self, law: Distribution) -> Tensor:
        """E[log_prob(Y)] for Y ~ `law`, exactly; gradients reach this distribution only.

        Args:
            law: a `torch.distributions.Categorical` over the same K classes or fewer of them.

        Raises:
            TypeError: the law is not categorical.
        """
        if not isinstance(law, Categorical):
            raise TypeError(f"The expected log probability is known for a Categorical law, not {type(law).__name__}.")
        probs = law.probs.detach()
        return (probs * self.logits[..., : probs.shape[-1]]).sum(-1)
