"""Experts on experts: Gaussian processes whose inputs are what other experts predict.

They find what no expert on the features sees, such as a class that lies between two others, or a product of classes'
probabilities. Source: stacking with a nonlinear second level, Wolpert 1992, "Stacked generalization".
Letters: B tasks, n context rows, m queries, S experts, K classes, T = 2 second opinions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from priorfit.models.kernel_experts import (
    Kernel,
    Predictions,
    condition,
    joined,
    leave_one_out,
    predictions_at,
    squared_distances,
)

SCALE = 1.5  # length scale, in units of log probabilities: not those of their spread, which may be all noise
NOISES = (0.1, 0.3)  # relative: of the expert on the stacked opinion, and of that on all opinions
N_SECOND = len(NOISES)


class Second(NamedTuple):
    """Fitted second opinions."""

    weights: Tensor  # (B, S), of the stacked opinion
    stacked: Tensor  # (B, n, K)
    every: Tensor  # (B, n, S K)
    kernel: Kernel


def fit_second(opinions: Tensor, weights: Tensor, targets: Tensor) -> tuple[Second, Predictions]:
    """Conditions on opinions about each context row without it, (B, n, S, K), stacked with `weights` (B, S).

    Args:
        opinions: log probabilities.
        weights: of the experts.
        targets: centred indicators, (B, n, K).

    Returns:
        The fitted experts, and their predictions for each context row from all others.
    """
    stacked, every = _inputs(opinions, weights)
    noise = torch.tensor(NOISES, device=targets.device)[:, None].expand(-1, len(targets))
    kernel = condition(_covariance((stacked, every), (stacked, every)), noise, targets)
    return Second(weights, stacked, every, kernel), joined([leave_one_out(kernel, targets)])


def predict_second(second: Second, opinions: Tensor) -> Predictions:
    """Predictions for rows with opinions (B, m, S, K)."""
    inputs = _inputs(opinions, second.weights)
    covariance = _covariance(inputs, (second.stacked, second.every))
    total = 1 + torch.tensor(NOISES, device=opinions.device)[:, None, None].expand(*covariance.shape[:3])
    return joined([predictions_at(second.kernel, covariance, total)])


def _inputs(opinions: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The stacked opinion (B, rows, K), and all of them (B, rows, S K), whose squared distances are means over S."""
    stacked = torch.einsum("bs,bnsk->bnk", weights, opinions)
    return stacked, opinions.flatten(2) * opinions.shape[2] ** -0.5


def _covariance(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Squared exponential kernels (T, B, a, b)."""
    pairs = zip(first, second, strict=True)
    return torch.stack([(-squared_distances(*pair) / (2 * SCALE**2)).exp() for pair in pairs])
