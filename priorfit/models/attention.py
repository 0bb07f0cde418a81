"""Attention to the context only, and the transformer block built from it.

Letters: B tasks, T tokens (registers and context first, then queries), C context tokens among them, D width, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class KeysValues(NamedTuple):
    """What queries need of the context in one layer: keys and values, each (B, H, C, D / H)."""

    keys: Tensor
    values: Tensor


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Unmasked scaled dot-product attention: (B, H, T, d), (B, H, C, d), (B, H, C, d) to (B, H, T, d).

    On a CPU the fused kernel's backward pass is several times slower than its parts (scripts/benchmark.py
    measures it), so training there computes the parts.
    """
    if queries.device.type == "cpu" and queries.requires_grad:
        return (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1) @ values
    return scaled_dot_product_attention(queries, keys, values)


class ContextAttention(nn.Module):
    """Multi-head attention in which every token attends to all context tokens and to nothing else.

    One unmasked attention call: queries from all T tokens, keys and values from the C context tokens. Queries and
    keys also see each token's coordinates directly: with x and x² among them, a head's logits can be negative
    squared distances, which tokens, normalised in every layer, carry only roughly.

    Args:
        width: D, a multiple of `n_heads`.
        n_heads: H.
        n_coordinates: numbers per token that queries and keys see directly.
    """

    def __init__(self, width: int, n_heads: int, n_coordinates: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.query_coordinates = nn.Linear(n_coordinates, width, bias=False)
        self.key_coordinates = nn.Linear(n_coordinates, width, bias=False)
        self.output = zeroed(nn.Linear(width, width, bias=False))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, tokens, D / H)

    def keys_values(self, context: Tensor, coordinates: Tensor) -> KeysValues:
        """Keys and values of context tokens (B, C, D) with coordinates (B, C, …)."""
        keys, values = self.key_value(context).chunk(2, dim=-1)
        return KeysValues(self._heads(keys + self.key_coordinates(coordinates)), self._heads(values))

    def forward(self, tokens: Tensor, coordinates: Tensor, cache: KeysValues) -> Tensor:
        """Attends from tokens (B, T, D) with coordinates (B, T, …) to the context in `cache`: (B, T, D)."""
        queries = self._heads(self.query(tokens) + self.query_coordinates(coordinates))
        mixed = attend(queries, *cache)  # (B, H, T, D / H)
        return self.output(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block: attention to the context, then a feed-forward layer.

    Args:
        width: D.
        n_heads: H.
        hidden: width of the feed-forward layer.
        n_coordinates: numbers per token that attention sees directly.
    """

    def __init__(self, width: int, n_heads: int, hidden: int, n_coordinates: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = ContextAttention(width, n_heads, n_coordinates)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), zeroed(nn.Linear(hidden, width)))

    def forward(
        self, tokens: Tensor, coordinates: Tensor, n_context: int, cache: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Maps tokens (B, T, D), of which the first C = `n_context` are the context unless a cache is given."""
        normed = self.attention_norm(tokens)
        if cache is None:
            cache = self.attention.keys_values(normed[:, :n_context], coordinates[:, :n_context])
        tokens = tokens + self.attention(normed, coordinates, cache)
        return tokens + self.feed_forward(self.feed_forward_norm(tokens)), cache


def zeroed(layer: nn.Linear) -> nn.Linear:
    """`layer` with weights and bias zero: a block that ends in it starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def zero_padded(x: Tensor, width: int) -> Tensor:
    """`x` with zeros appended to its last axis up to `width`."""
    return torch.nn.functional.pad(x, (0, width - x.shape[-1]))
