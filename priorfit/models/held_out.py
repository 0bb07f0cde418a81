"""How well a network predicts some of the observed items from others, in a few numbers.

Items that surprise the network, and items that it predicts too well, are both unlike its prior.
Letters: B tasks, n context rows, F features, k folds, h items held out.
"""

from __future__ import annotations

import torch
from torch import Tensor

SURPRISES = (
    "mean surprise of held-out observations",
    "largest surprise of a held-out observation",
    "spread of held-out observations in predicted quantiles",
    "bias of held-out observations in predicted quantiles",
)
LAST_LEVEL = 1e-7  # nearer to 0 or 1 levels are rounding errors
FOLDS = 2
MOST_CONTEXT, MOST_HELD_OUT = 64, 32  # rows of one fold
SHARE = 3  # one in so many rows is held out


def surprises(log_probs: Tensor, levels: Tensor) -> Tensor:
    """Summaries named in `SURPRISES`, (B, 4).

    Args:
        log_probs: log density of each held-out item under its prediction, in units of the prior, (B, h).
        levels: probability that the prediction gives to what is below the item, (B, h).
    """
    scores = torch.special.ndtri(levels.double().clamp(LAST_LEVEL, 1 - LAST_LEVEL))
    spread = (scores.square().mean(1) + 0.01).log()
    return torch.stack([-log_probs.mean(1), -log_probs.amin(1), spread, scores.mean(1)], 1).float()


def along(x: Tensor, y: Tensor) -> Tensor:
    """Indices (B, n) that put rows into the order of a fixed direction: what follows does not depend on their own.

    Args:
        x: inputs of scale one, (B, n, F).
        y: targets of scale one, (B, n), which settle ties.
    """
    direction = torch.arange(x.shape[2], dtype=x.dtype, device=x.device).cos()
    return (x @ direction + 1e-3 * y).argsort(1)


def folds(n: int) -> tuple[Tensor, Tensor]:
    """Rows of each fold: context (k, c) and held out (k, h), of n >= 1 in order; of many, evenly spaced ones."""
    held = torch.arange(max(1, (n + 1) // SHARE)) * SHARE
    chosen = [_split(n, held + fold) for fold in range(min(FOLDS, n))]
    context, held_out = (torch.stack(part) for part in zip(*chosen, strict=True))
    return context, held_out


def _split(n: int, held: Tensor) -> tuple[Tensor, Tensor]:
    """All other rows, and those held out; some of both where there are many."""
    others = torch.ones(n, dtype=torch.bool)
    others[held] = False
    return spaced(others.nonzero()[:, 0], MOST_CONTEXT), spaced(held, MOST_HELD_OUT)


def spaced(indices: Tensor, most: int) -> Tensor:
    """At most `most` of some indices, evenly spaced."""
    if len(indices) <= most:
        return indices
    return indices[torch.linspace(0, len(indices) - 1, most).round().long()]
