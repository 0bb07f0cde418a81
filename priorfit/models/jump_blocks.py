"""Layers on pairs of states that treat all states alike: relabelling the states relabels what comes out.

Letters: B processes, S states, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from priorfit.models.attention import zeroed


class PairBlock(nn.Module):
    """A residual layer on tokens of pairs of states, (B, S, S, W) to the same.

    The token of i, j sees itself, the token of j, i, those of the states i and j (the diagonal), means over the rows
    and columns of i and of j, and the mean over all: linear maps that commute with relabelling (Maron et al. 2019,
    "Invariant and equivariant graph networks").

    Args:
        width: W.
        hidden: width of the feed-forward layer.
    """

    VIEWS = 9

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.views = nn.Linear(width, self.VIEWS * hidden)
        self.feed_forward = nn.Sequential(nn.GELU(), zeroed(nn.Linear(hidden, width)))

    def forward(self, tokens: Tensor) -> Tensor:
        """One residual step."""
        own, back, start, end, *means = self.views(self.norm(tokens)).chunk(self.VIEWS, -1)
        rows, columns, rows_of_end, columns_of_start, everything = means
        mixed = own + back.transpose(1, 2)
        mixed = mixed + start.diagonal(dim1=1, dim2=2).mT[:, :, None] + end.diagonal(dim1=1, dim2=2).mT[:, None]
        mixed = mixed + rows.mean(2)[:, :, None] + columns.mean(1)[:, None]
        mixed = mixed + rows_of_end.mean(2)[:, None] + columns_of_start.mean(1)[:, :, None]
        return tokens + self.feed_forward(mixed + everything.mean((1, 2), keepdim=True))


def on_diagonal(of_states: Tensor, of_pairs: Tensor) -> Tensor:
    """Tokens (B, S, S, W) that are `of_states` (B, S, W) on the diagonal and `of_pairs` (B, S, S, W) elsewhere."""
    eye = torch.eye(of_pairs.shape[1], dtype=torch.bool, device=of_pairs.device)[..., None]
    return torch.where(eye, of_states[:, :, None], of_pairs)
