"""What a network for learning curves makes of the observed part of a curve, in a few numbers.

Letters: B curves, n observed steps, m queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from priorfit.models.held_out import SURPRISES, spaced, surprises

if TYPE_CHECKING:
    from priorfit.models.curve_pfn import CurvePFN

ASKED = 12  # observed values at most that are predicted from what came before
LEAST_SPREAD = 1e-4  # of values, in units of the prior: flatter curves are alike
FROM_HALF = (0, 2, 3)  # of the surprises, those that are kept where few values say much
CURVE_SUMMARIES = (
    "mean of observed values",
    "smallest observed value",
    "largest observed value",
    "spread of observed values",
    *(f"{name}, from those before it" for name in SURPRISES),
    *(f"{SURPRISES[index]}, from the first half" for index in FROM_HALF),
    "waves around a smooth curve",
    "outliers around a smooth curve",
)


def summarized(network: CurvePFN, steps: Tensor, values: Tensor) -> Tensor:
    """The summaries of curves observed on the same number of steps: (B, J) for steps and values (B, n), n >= 1."""
    standard = (values - network.value_loc) / network.value_scale
    spread = (standard.std(1, correction=0) + LEAST_SPREAD).log()
    looks = torch.stack([standard.mean(1), standard.amin(1), standard.amax(1), spread], 1)
    parts = [looks, _predicted(network, steps, values), _smooth(network, steps, values)]
    return torch.cat([part.float() for part in parts], 1)


def _predicted(network: CurvePFN, steps: Tensor, values: Tensor) -> Tensor:
    """Surprises of some values given those before, and of some given the first half; NaN where there are none."""
    n = values.shape[1]
    half = (n + 1) // 2
    next_, later = spaced(torch.arange(n), ASKED), spaced(torch.arange(half, n), ASKED)
    asked = torch.cat([next_, later]).to(values.device)
    seen = torch.cat([next_, torch.full_like(later, half)]).to(values.device)
    bars = network.distribution(network.compute(steps, values, steps[:, asked], seen.expand(len(values), -1)))
    log_probs, levels = bars.log_prob(values[:, asked]) + network.value_scale.log(), bars.cdf(values[:, asked])
    near = surprises(log_probs[:, : len(next_)], levels[:, : len(next_)])
    if not len(later):
        return torch.cat([near, torch.full_like(near[:, : len(FROM_HALF)], torch.nan)], 1)
    far = surprises(log_probs[:, len(next_) :], levels[:, len(next_) :])
    return torch.cat([near, far[:, FROM_HALF]], 1)


def _smooth(network: CurvePFN, steps: Tensor, values: Tensor) -> Tensor:
    """Correlation of neighbouring deviations from a smooth curve, and the size of the largest, (B, 2)."""
    n = values.shape[1]
    if n < 4:
        return torch.full_like(values[:, :1], torch.nan).expand(-1, 2)
    predicted = network.predictor(steps, values, steps, torch.full_like(steps, n, dtype=torch.int64))
    rest = values - (predicted.log_weights.exp() * predicted.mean).sum(-1)
    size = rest.square().sum(1).clamp(min=1e-16)
    waves = (rest[:, 1:] * rest[:, :-1]).sum(1) / size
    return torch.stack([waves, (rest.abs().amax(1) / (size / n).sqrt()).log()], 1)
