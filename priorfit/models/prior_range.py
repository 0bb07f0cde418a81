"""How far a prior is from those that a network was trained with.

Letters: B tasks, T prior tokens, C numbers per token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TAIL = 0.0005  # share of the numbers on either side that is cut off to find their spread
TAIL_DEVIATIONS = 3.2905  # of a normal law, up to there


class PriorRange(nn.Module):
    """Locations and spreads of the numbers that describe priors.

    Args:
        columns: how many of a token's numbers count, those from `first` on.
        first: the first that does.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, columns: int, first: int = 0) -> None:
        super().__init__()
        self.columns = slice(first, first + columns)
        self.register_buffer("loc", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    def fit(self, tokens: Tensor) -> None:
        """Takes medians and spreads (standard deviations, if tails were normal) from prior tokens (n, C)."""
        levels = torch.tensor([TAIL, 0.5, 1 - TAIL], device=tokens.device)
        low, middle, high = tokens[:, self.columns].quantile(levels, dim=0)
        self.loc.copy_(middle)
        self.scale.copy_(((high - low) / (2 * TAIL_DEVIATIONS)).clamp(min=1e-6))

    def forward(self, priors: Tensor) -> Tensor:
        """The largest distance of any number of priors (B, T, C) from its location, in spreads: (B,)."""
        distance = (priors[..., self.columns] - self.loc).abs() / self.scale
        return distance.flatten(1).amax(1)
