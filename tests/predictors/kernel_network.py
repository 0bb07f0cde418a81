"""A stand-in for a network that takes tables, with predictions that are known in closed form.

Letters: B tasks, n context rows, m queries, F features, C classes, K buckets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal

from priorfit import checkpoints
from priorfit.distributions import BarDistribution
from priorfit.models import Network, networks
from tests.toy import ToyPrior

UNKNOWN = 1.0  # squared distance between a missing value and any other, and between two categories


class Context(NamedTuple):
    """Standardised context rows."""

    x: Tensor  # (B, n, F)
    y: Tensor  # (B, n)
    categorical: Tensor  # (B, F)
    n_classes: Tensor  # (B,)
    center: Tensor  # (B, 1, F)
    spread: Tensor  # (B, 1, F)


@networks.register("kernel_stand_in")
class KernelNetwork(Network):
    """Weighs context rows by exp(-distance² / 2 width²), on standardised columns.

    Classes have the frequencies of the weighted rows, with `prior` of a row added to each; numbers are nearly normal,
    with the mean and deviation of the weighted rows. Keeps the arguments of its calls of `encode`.
    """

    takes_tables = True

    def __init__(
        self,
        max_features: int = 30,
        max_classes: int = 10,
        n_buckets: int = 100,
        width: float = 0.3,
        prior: float = 1e-3,
    ) -> None:
        super().__init__()
        self.max_features, self.max_classes, self.n_buckets = max_features, max_classes, n_buckets
        self.width, self.prior = width, prior
        self.anything = nn.Parameter(torch.zeros(()))  # tells the device
        self.calls: list[tuple[Tensor, ...]] = []

    def compute(self, *observed: Tensor) -> Any:
        x_context, y_context, x_query, *rest = observed
        return self.encode(x_context, y_context, *rest), x_query

    def distribution(self, output: Any) -> Distribution:
        return self.decode(*output)

    def encode(self, x_context: Tensor, y_context: Tensor, categorical: Tensor, n_classes: Tensor) -> Context:
        self.calls.append((x_context, y_context, categorical, n_classes))
        assert 1 <= x_context.shape[2] <= self.max_features
        assert n_classes.min() == n_classes.max() <= self.max_classes
        center = x_context.nanmean(1, keepdim=True).nan_to_num()
        spread = (x_context - center).square().nanmean(1, keepdim=True).sqrt().nan_to_num()
        spread = torch.where(spread > 1e-6, spread, 1.0)
        return Context((x_context - center) / spread, y_context, categorical, n_classes, center, spread)

    def decode(self, cache: Context, x_query: Tensor) -> Distribution:
        z = (x_query - cache.center) / cache.spread
        gap = (z[:, :, None] - cache.x[:, None]).square()  # (B, m, n, F)
        gap = torch.where(cache.categorical[:, None, None], UNKNOWN * (gap > 0), gap).nan_to_num(UNKNOWN)
        weights = (-gap.sum(-1) / (2 * self.width**2)).softmax(-1)  # (B, m, n)
        n_classes = int(cache.n_classes[0])
        if n_classes:
            rows = nn.functional.one_hot(cache.y.long(), n_classes).float()
            return Categorical(logits=(weights @ rows + self.prior).log())
        loc = (weights @ cache.y[..., None])[..., 0]
        scale = (weights @ cache.y.square()[..., None])[..., 0] - loc.square()
        return normal_bars(self.n_buckets, loc, (scale.clamp(min=0) + 0.01).sqrt())


def normal_bars(n_buckets: int, loc: Tensor, scale: Tensor) -> BarDistribution:
    """Bars that are close to N(loc, scale²)."""
    borders = torch.linspace(-5, 5, n_buckets + 1)
    masses = nn.functional.pad(Normal(0, 1).cdf(borders[1:-1].double()), (1, 1))
    masses[-1] = 1
    logits = masses.diff().log().float()
    return BarDistribution(logits.expand(*loc.shape, -1), borders, loc, scale)


def saved(path: Path, prior: Any = None, **arguments: Any) -> Path:
    """The file of a stand-in."""
    return checkpoints.save(path, KernelNetwork(**arguments), prior or ToyPrior())
