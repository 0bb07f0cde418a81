"""Features of rows of observations that come from several sources.

Letters: B tasks, N rows, D numbers per row, S sources, V values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from priorfit.sources import Source


class RowFeatures(nn.Module):
    """Rows, see `priorfit.sources`, as standardised values: about the origin, of scale one.

    Angles become their cosines and sines. Values of other sources than a row's own are zero.

    Attributes:
        owner: the source of each value, (V,).

    Args:
        sources: where rows come from.
    """

    loc: Tensor
    scale: Tensor
    owner: Tensor
    angular: Tensor

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__()
        sizes = torch.tensor([source.size for source in sources])
        angles = torch.tensor([source.angle for source in sources])
        self.n_sources, self.n_fields = len(sources), int(sizes.sum())
        owner, angular = (part.repeat_interleave(sizes) for part in (torch.arange(len(sizes)), angles))
        self.register_buffer("angular", angular, persistent=False)
        self.register_buffer("owner", torch.cat([owner, owner[angular]]), persistent=False)
        self.register_buffer("loc", torch.zeros(self.n_fields))
        self.register_buffer("scale", torch.ones(self.n_fields))

    @property
    def n_values(self) -> int:
        """V."""
        return len(self.owner)

    def fit(self, rows: Tensor) -> None:
        """Takes medians and half the interquartile ranges of rows (n, D) as locations and scales."""
        levels = torch.tensor([0.25, 0.5, 0.75], device=rows.device)
        for field in (~self.angular).nonzero()[:, 0].tolist():
            own = rows[rows[:, self.n_fields + int(self.owner[field])] > 0, field]
            if len(own):
                low, middle, high = own.quantile(levels)
                self.loc[field] = middle
                self.scale[field] = (high - low) / 2 if high > low else 1.0  # mostly of one value: as it is

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Values (B, N, V) of rows (B, N, D), fields or their cosines, then sines; and indicators (B, N, S)."""
        fields, indicators = rows.split([self.n_fields, self.n_sources], -1)
        plain = torch.where(self.angular, fields.cos(), (fields - self.loc) / self.scale)
        values = torch.cat([plain, fields[..., self.angular].sin()], -1)
        return values * indicators[..., self.owner], indicators
