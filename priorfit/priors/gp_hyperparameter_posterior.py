"""The joint posterior of a Gaussian process's value and its lengthscale.

Letters: B tasks, G nodes, J points.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal, constraints

from priorfit.distributions import GridLaw, ScalarEvent

REACH = 25.0  # nats: what lies beyond weighs less than exp(-REACH)


class GPHyperparameterPosterior(Distribution):
    """The law of (y*, lengthscale): normal in y* given the lengthscale, which is integrated out on a grid.

    Args:
        log_joint: from lengthscales (B, J) to log p(lengthscale, rows), (B, J), and the law of y* given both.
        nodes: of the lengthscale, increasing, (B, G).
        log_weights: logarithms of p(lengthscale, rows) times quadrature weight, (B, G).
        value: the law of y* at the nodes, batch shape (B, G).

    Attributes:
        lengthscale: the marginal law of the lengthscale, batch shape (B,), event shape (1,).
        prediction: the marginal law of y*, the same: a mixture of the normal laws of all nodes.
    """

    arg_constraints = {}  # type: ignore[assignment]
    support = constraints.real_vector  # type: ignore[assignment]

    def __init__(
        self, log_joint: Callable[[Tensor], tuple[Tensor, Normal]], nodes: Tensor, log_weights: Tensor, value: Normal
    ) -> None:
        self.log_joint = log_joint
        self._grid = GridLaw(lambda points: log_joint(points)[0], nodes, log_weights)
        self.lengthscale = ScalarEvent(self._grid)
        weights = Categorical(logits=log_weights[:, None], validate_args=False)  # (B, 1, G)
        means, stds = value.mean[:, None], value.stddev[:, None]
        self.prediction = ScalarEvent(
            MixtureSameFamily(weights, Normal(means, stds, validate_args=False), validate_args=False)
        )
        super().__init__(nodes.shape[:1], torch.Size([2]), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of (y*, lengthscale), (B, 2): (B,)."""
        asked, lengthscale = value.double().split(1, -1)
        log_joint, law = self.log_joint(lengthscale)
        return (log_joint + law.log_prob(asked))[..., 0] - self._grid.log_normalizer

    @property
    def mean(self) -> Tensor:
        """Mean of (y*, lengthscale), (B, 2); lengthscales have one where their prior's concentration is above 1."""
        return torch.cat([self.prediction.mean, self.lengthscale.mean], -1)


def gamma_nodes(concentration: Tensor, rate: Tensor, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes for numbers x = rate / g with g ~ Gamma(concentration), increasing, and log weights, (B, G) each.

    Nodes are equally spaced in log g, in which the density is smooth and falls off at least exponentially; weights
    sum to one.

    Args:
        concentration: of the inverse gamma law, (B,), float64.
        rate: likewise.
        n_nodes: G.
    """
    concentration = concentration[:, None]
    low = -REACH / concentration.sqrt()
    high = torch.log1p(((40 * concentration).sqrt() + REACH) / concentration)  # log (g / concentration)
    levels = torch.linspace(1, 0, n_nodes, dtype=concentration.dtype, device=concentration.device)
    ratio = low + (high - low) * levels
    return rate[:, None] / concentration * torch.exp(-ratio), (concentration * (ratio - ratio.exp())).log_softmax(-1)
