"""The prior-data fitted network for learning curves, and for other series that are predicted from a prefix.

Source: Adriaensen et al. 2023, "Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted Networks",
for the task. The network differs: where theirs attends to tokens, this one starts from the best linear predictor.
Letters: B curves, n observed steps, m queries, D width, K buckets, G noise levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorfit.distributions import BarDistribution
from priorfit.models.attention import zeroed
from priorfit.models.bar_layout import student_masses, wide_borders
from priorfit.models.base import Network, networks
from priorfit.models.checks import check_curves
from priorfit.models.curve_summary import CURVE_SUMMARIES, summarized
from priorfit.models.linear_predictor import LinearPredictor, Prediction

Output = tuple[Tensor, Tensor, Tensor]


class FeedForward(nn.Module):
    """Pre-norm residual layer that starts as the identity."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), zeroed(nn.Linear(hidden, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (…, D) to (…, D)."""
        return x + self.layers(x)


@networks.register("curve_pfn")
class CurvePFN(Network):
    """From a prefix of a curve to one bar distribution per later step.

    A `LinearPredictor` with the prior's own moments turns the prefix, in closed form and float64, into numbers that
    hold all it says of a smooth curve under noise of unknown level. A residual network reads them, and moves, scales
    and shapes the predictor's distribution of each query: it learns what is not Gaussian about the prior. Buckets are
    laid out in units of the predictive standard deviation, so that no resolution limits the confidence on flat
    curves. Prefixes may have any length and any steps; their order does not matter, apart from which come first.

    Args:
        length: the largest step; the prior's curves live on 1 … length.
        n_basis: basis functions of the linear predictor.
        n_levels: G, its noise levels.
        n_buckets: K, buckets of the bar distribution.
        width: D.
        n_layers: number of residual layers.
        hidden: their hidden width; 2 * width by default.

    Raises:
        ValueError: sizes that are not positive, or more basis functions than steps.
    """

    summary_names = CURVE_SUMMARIES
    value_loc: Tensor
    value_scale: Tensor
    borders: Tensor
    base: Tensor

    def __init__(
        self,
        length: int = 100,
        n_basis: int = 12,
        n_levels: int = 16,
        n_buckets: int = 128,
        width: int = 256,
        n_layers: int = 6,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        hidden = 2 * width if hidden is None else hidden
        if min(length - 1, n_basis, n_levels - 1, n_buckets - 1, width, n_layers, hidden) < 1 or n_basis > length:
            raise ValueError("Sizes must be positive, n_levels, n_buckets and length >= 2, and n_basis <= length.")
        self.length = self.preparation_queries = length  # prepared from whole curves
        self.predictor = LinearPredictor(length, n_basis, n_levels)
        self.embedding = nn.Linear(11 + n_basis + 3 * n_levels, width)
        self.blocks = nn.ModuleList(FeedForward(width, hidden) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.shape = zeroed(nn.Linear(width, n_buckets))
        self.place = zeroed(nn.Linear(width, 2))
        self.register_buffer("value_loc", torch.tensor(0.5))
        self.register_buffer("value_scale", torch.tensor(0.25))
        self.register_buffer("borders", wide_borders(n_buckets))
        self.register_buffer("base", student_masses(self.borders).log())

    @property
    def horizon(self) -> float:
        """The largest step that the network was trained on."""
        return float(self.length)

    def fit_to_prior(
        self, observed: Sequence[tuple[Tensor, ...]], hidden: Sequence[Tensor], laws: Sequence[Distribution | None]
    ) -> None:
        """Takes the moments of the linear predictor from whole curves.

        Raises:
            ValueError: the prior's curves do not live on 1 … length, or it does not know their laws.
        """
        steps = torch.arange(1.0, self.length + 1, device=self.borders.device)
        if not all(part[2].shape[-1] == self.length and (part[2] == steps).all() for part in observed):
            raise ValueError(
                f"This network needs a prior of curves on the steps 1 … {self.length}: "
                "choose prior=learning_curve, with prior.length equal to model.length."
            )
        known = [law for law in laws if law is not None]
        if len(known) < len(laws):
            raise ValueError("This network needs a prior whose tasks carry a law: the clean curve, and its noise.")
        self.predictor.fit(known)
        curves = torch.cat([law.mean for law in known])
        self.value_loc, self.value_scale = curves.mean(), curves.std()

    def check(self, steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> None:
        """Refuses what is not as in `Curves`, all finite, with 0 <= visible <= n."""
        check_curves(steps, values, query_steps, visible)

    def compute(self, steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> Output:
        """Logits (B, m, K), locations and scales (B, m) of the queries' bars; arguments as in `Curves`."""
        with torch.autocast(values.device.type, enabled=False):
            predicted = self.predictor(steps, values, query_steps, visible)
            loc, scale = moments(predicted)
            last = nn.functional.pad(steps, (1, 0)).cummax(1).values.gather(1, visible)  # 0 where nothing is seen
            features = torch.cat([self._times(last, query_steps, visible), self._states(predicted, loc, scale)], -1)
        x = self.embedding(features.float())
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        shift, log_factor = self.place(x).float().unbind(-1)
        loc, scale = loc.float(), scale.float()
        return self.shape(x).float() + self.base, loc + scale * shift, scale * log_factor.clamp(-6, 3).exp()

    def distribution(self, output: Output) -> BarDistribution:
        """The bar distributions of logits (B, m, K), locations and scales, batch shape (B, m)."""
        logits, loc, scale = output
        return BarDistribution(logits, self.borders, loc, scale)

    def summary(self, steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> Tensor:
        """Where values lie, and how well later ones are predicted from the first of them, (B, 13)."""
        lengths = self.n_observed(steps, values, query_steps, visible)
        result = torch.full((len(values), len(self.summary_names)), torch.nan, device=values.device)
        for length in lengths[lengths > 0].unique().tolist():
            own = lengths == length
            result[own] = summarized(self, steps[own, :length], values[own, :length])
        return result

    def n_observed(self, steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> Tensor:
        """The number of steps that any query sees, (B,)."""
        return visible.amax(1)

    def _times(self, last: Tensor, query_steps: Tensor, visible: Tensor) -> Tensor:
        """Features of when: the last step seen, how many were, and the query's step, (B, m, 6)."""
        ahead = (query_steps - last).clamp(min=0.5)
        logs = torch.stack([last + 1, visible + 1, query_steps, ahead], -1).clamp(min=0.5).log()
        middle = math.log(self.length) / 2
        shares = torch.stack([last, query_steps], -1) / self.length
        return torch.cat([logs - middle, 2 * shares - 1], -1)

    def _states(self, predicted: Prediction, loc: Tensor, scale: Tensor) -> Tensor:
        """Features of what: the predictor's moments by noise level, its coefficients and the noise, (B, m, 5 + …)."""
        mean, std, log_weights, coefficients = predicted
        weights, levels = log_weights.exp(), self.predictor.log_levels
        noise = (weights * levels).sum(-1)
        doubt = (weights * (levels - noise[..., None]).square()).sum(-1).sqrt()
        average = torch.einsum("bmg,bmgk->bmk", weights, coefficients)
        typical = (self.predictor.log_level_weights.exp() * levels).sum()
        value = (loc - self.value_loc) / self.value_scale
        summary = torch.stack([value, scale.log() - typical, noise - typical, doubt, scale.log() - noise], -1)
        means, stds = (mean - loc[..., None]) / scale[..., None], (std / scale[..., None]).log()
        return torch.cat([summary, average.asinh(), means, stds, log_weights.clamp(-8) / 4], -1)


def moments(predicted: Prediction) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the mixture over noise levels, both (B, m)."""
    weights = predicted.log_weights.exp()
    mean = (weights * predicted.mean).sum(-1)
    spread = predicted.std.square() + (predicted.mean - mean[..., None]).square()
    return mean, (weights * spread).sum(-1).sqrt()
