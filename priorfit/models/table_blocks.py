"""Blocks of the network for tables: attention among the cells of a row, and along the rows of a column.

Letters: B tasks, N rows (thinking rows, context or queries), G tokens per row (groups of features, then the row's own),
D width, H heads, C numbers per token that attention along rows sees directly.
"""

from __future__ import annotations

from torch import Tensor, nn

from priorfit.models.attention import Block, KeysValues, attend, zeroed


class FeatureAttention(nn.Module):
    """Pre-norm residual attention of all tokens of a row to one another.

    Args:
        width: D, a multiple of `n_heads`.
        n_heads: H.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = zeroed(nn.Linear(width, width, bias=False))

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens (B, G, N, D) to the same shape."""
        rows = self.norm(tokens).transpose(1, 2)  # (B, N, G, D)
        parts = self.query_key_value(rows).unflatten(-1, (3, self.n_heads, -1))  # (B, N, G, 3, H, d)
        queries, keys, values = parts.permute(3, 0, 1, 4, 2, 5).flatten(1, 2)  # 3 times (B N, H, G, d)
        mixed = attend(queries, keys, values).transpose(1, 2).flatten(2)  # (B N, G, D)
        return tokens + self.output(mixed).unflatten(0, rows.shape[:2]).transpose(1, 2)


class CellBlock(nn.Module):
    """Attention among the tokens of each row, then a `Block` along the rows of each column.

    Args:
        width: D.
        n_heads: H.
        hidden: width of the feed-forward layer.
        n_coordinates: C.
    """

    def __init__(self, width: int, n_heads: int, hidden: int, n_coordinates: int) -> None:
        super().__init__()
        self.features = FeatureAttention(width, n_heads)
        self.rows = Block(width, n_heads, hidden, n_coordinates)

    def forward(
        self, tokens: Tensor, coordinates: Tensor, cache: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Maps tokens (B, G, N, D) with coordinates (B, G, N, C); without a cache, all rows are the context."""
        mixed = self.features(tokens)
        flat, kept = self.rows(mixed.flatten(0, 1), coordinates.flatten(0, 1), tokens.shape[2], cache)
        return flat.unflatten(0, tokens.shape[:2]), kept
