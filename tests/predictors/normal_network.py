"""An exact predictive of normal numbers, which can be spoilt, and draws of their mean with it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from priorfit.models import Network
from priorfit.predictors import MartingalePosterior, predictive_resample


class NormalNetwork(Network):
    """An exact predictive of normal numbers with mean w ~ N(0, 1) and noise 1, whatever x, which can be spoilt.

    Args:
        bias: added to each predictive mean, in predictive standard deviations.
        growth: factor of the standard deviation per row.
        memory: rows that it remembers: the last ones, or the first if negative. None for all.
        inflation: factor of all standard deviations.
    """

    max_features = 5

    def __init__(
        self, bias: float = 0.0, growth: float = 1.0, memory: int | None = None, inflation: float = 1.0
    ) -> None:
        super().__init__()
        self.bias, self.growth, self.memory, self.inflation = bias, growth, memory, inflation

    def compute(self, *observed: Tensor) -> tuple[Tensor, Tensor]:
        _, y, x_query = observed
        factor = self.inflation * self.growth ** y.shape[1]
        if self.memory is not None:
            y = y[:, -self.memory :] if self.memory > 0 else y[:, : -self.memory]
        precision = 1 + y.shape[1]
        std = torch.tensor(1 + 1 / precision).sqrt()
        loc = (y.sum(1, keepdim=True) / precision + self.bias * std).expand(x_query.shape[:2])
        return loc, (factor * std).expand_as(loc)

    def distribution(self, output: tuple[Tensor, Tensor]) -> Normal:
        return Normal(*output)


def normal_draws(network: Network, n_draws: int = 400, n_future: int = 30, seed: int = 0) -> MartingalePosterior:
    """The mean of rows of which four are observed."""
    X, y = np.arange(4.0)[:, None], np.array([0.3, -0.4, 1.2, 0.9])
    return predictive_resample(network, X, y, lambda X, y: y.mean(), n_future, n_draws, random_state=seed)
