"""The prior-data fitted network for regression.

Source: Müller et al. 2022, "Transformers Can Do Bayesian Inference", section 4.
Letters: B tasks, n context rows, m queries, F features, D width, K buckets, R registers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorfit.distributions import BarDistribution
from priorfit.distributions.bar import quantile_borders
from priorfit.models.attention import Block, KeysValues, zero_padded, zeroed
from priorfit.models.base import Network, networks
from priorfit.models.checks import check_regression
from priorfit.models.held_out import SURPRISES, along, folds, surprises

Cache = list[KeysValues]
FEWEST = 5  # rows whose spread and tails `summary` looks at
LEAST_DISTANCE, LEAST_SPREAD = 1e-2, 1e-3  # of inputs and targets, in units of the prior: smaller ones are alike


@networks.register("pfn")
class PFN(Network):
    """Set transformer from a context and queries to one bar distribution per query.

    Context rows are tokens made of x and y, queries of x alone; every token attends to the context and to R
    learned registers, so that an empty context needs no special case. There are no positions: predictions do not
    depend on the order of the context, nor on which other queries are in the call.

    Args:
        max_features: the largest F accepted; fewer are padded with zeros, and F itself is embedded.
        n_buckets: K, buckets of the bar distribution.
        width: D.
        n_layers: number of blocks.
        n_heads: attention heads; divides `width`.
        hidden: width of the feed-forward layers; 4 * width by default.
        n_registers: R, at least 1.

    Raises:
        ValueError: sizes that are not positive, or heads that do not divide the width.
    """

    summary_names = (
        "typical distance of inputs from the prior's centre",
        "largest distance of an input from the prior's centre",
        "mean of targets",
        "spread of targets",
        "tails of targets",
        *SURPRISES,
    )
    x_loc: Tensor
    x_scale: Tensor
    y_loc: Tensor
    y_scale: Tensor
    borders: Tensor

    def __init__(
        self,
        max_features: int = 1,
        n_buckets: int = 512,
        width: int = 128,
        n_layers: int = 6,
        n_heads: int = 4,
        hidden: int | None = None,
        n_registers: int = 4,
    ) -> None:
        super().__init__()
        hidden = 4 * width if hidden is None else hidden
        sizes = (max_features, n_buckets - 1, width, n_layers, n_heads, hidden, n_registers)
        if min(sizes) < 1 or width % n_heads:
            raise ValueError("Sizes must be positive, n_buckets at least 2, and width a multiple of n_heads.")
        self.max_features, self.n_registers = max_features, n_registers
        self.x_embedding = nn.Sequential(nn.Linear(max_features, width), nn.GELU(), nn.Linear(width, width))
        self.y_embedding = nn.Sequential(nn.Linear(1, width), nn.GELU(), nn.Linear(width, width))
        self.feature_count = nn.Embedding(max_features + 1, width)
        self.query_token = nn.Parameter(torch.zeros(width))
        self.registers = nn.Parameter(torch.randn(n_registers, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, n_heads, hidden, 2 * max_features) for _ in range(n_layers))
        # Equal masses: the untrained network predicts the prior.
        last = zeroed(nn.Linear(hidden, n_buckets))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), last)
        for name in ("x", "y"):
            self.register_buffer(f"{name}_loc", torch.zeros(()))
            self.register_buffer(f"{name}_scale", torch.ones(()))
        self.register_buffer("borders", torch.linspace(-3, 3, n_buckets + 1))

    def fit_to_prior(
        self,
        observed: Sequence[tuple[Tensor, Tensor, Tensor]],
        hidden: Sequence[Tensor],
        laws: Sequence[Distribution | None] = (),
    ) -> None:
        """Sets the scales of x and y and the borders, equal-mass quantiles of the targets."""
        x = torch.cat([part.flatten() for x_context, _, x_query in observed for part in (x_context, x_query)])
        y = torch.cat([target.flatten() for target in hidden])
        self.x_loc, self.x_scale = x.mean(), x.std()
        self.y_loc, self.y_scale = y.mean(), y.std()
        self.borders = quantile_borders(y, len(self.borders) - 1)

    def check(self, x_context: Tensor, y_context: Tensor, x_query: Tensor) -> None:
        """Refuses what is not x_context (B, n, F), y_context (B, n), x_query (B, m, F), all finite, F <= max."""
        check_regression(x_context, y_context, x_query, self.max_features)

    def compute(self, x_context: Tensor, y_context: Tensor, x_query: Tensor) -> Tensor:
        """Logits (B, m, K) of the queries' buckets, given x_context (B, n, F), y_context (B, n), x_query (B, m, F)."""
        parts = self._context_tokens(x_context, y_context), self._query_tokens(x_query)
        tokens, coordinates = (torch.cat(pair, 1) for pair in zip(*parts, strict=True))
        n_context = self.n_registers + x_context.shape[1]
        for block in self.blocks:
            tokens, _ = block(tokens, coordinates, n_context)
        return self.head(tokens[:, n_context:]).float()

    def distribution(self, output: Tensor) -> BarDistribution:
        """The bar distribution of logits (..., K), batch shape (...)."""
        return BarDistribution(output, self.borders)

    def encode(self, x_context: Tensor, y_context: Tensor) -> Cache:
        """Keys and values of the context, per layer: all that `decode` needs of it.

        Raises:
            ValueError: as `forward`.
        """
        self.check(x_context, y_context, x_context)
        cache = []
        tokens, coordinates = self._context_tokens(x_context, y_context)
        for block in self.blocks:
            tokens, keys_values = block(tokens, coordinates, tokens.shape[1])
            cache.append(keys_values)
        return cache

    def decode(self, cache: Cache, x_query: Tensor) -> BarDistribution:
        """Predictive distribution at x_query (B, m, F), given an encoded context: what `forward` returns.

        Raises:
            ValueError: as `forward`, or a context of another number of tasks.
        """
        if x_query.ndim != 3 or len(x_query) != len(cache[0].keys):
            raise ValueError(
                f"Expected x_query (B, m, F) for the context's {len(cache[0].keys)} tasks; got {tuple(x_query.shape)}."
            )
        self.check(x_query[:, :0], x_query[:, :0, 0], x_query)
        tokens, coordinates = self._query_tokens(x_query)
        for block, keys_values in zip(self.blocks, cache, strict=True):
            tokens, _ = block(tokens, coordinates, 0, keys_values)
        return self.distribution(self.head(tokens).float())

    def summary(self, x_context: Tensor, y_context: Tensor, *_: Tensor) -> Tensor:
        """How inputs and targets lie, and how well some of the rows are predicted from others, (B, 9)."""
        x, y = (x_context - self.x_loc) / self.x_scale, (y_context - self.y_loc) / self.y_scale
        n = y.shape[1]
        if not n:
            return torch.full((len(y), len(self.summary_names)), torch.nan, device=y.device)
        spread = y.std(1, correction=0)
        tails = (y - y.mean(1, keepdim=True)).abs().amax(1) / spread
        distances = x.square().mean((1, 2)).sqrt(), x.abs().amax((1, 2))
        nearest = LEAST_DISTANCE if n > 1 else 1.0  # a single row is at the centre once it is standardised
        far = (distance.clamp(min=nearest).log() for distance in distances)
        looks = torch.stack([*far, y.mean(1), spread.clamp(min=LEAST_SPREAD).log(), tails.log()], 1)
        if n < FEWEST:
            looks[:, 3:] = torch.nan
        return torch.cat([looks, self._held_out(x_context, y_context, along(x, y), folds(n))], 1)

    def _held_out(self, x: Tensor, y: Tensor, order: Tensor, chosen: tuple[Tensor, Tensor]) -> Tensor:
        """Surprises (B, 4) of the rows that folds hold out, see `priorfit.models.held_out`."""
        task = torch.arange(len(y), device=y.device)[:, None]
        (context, context_y), (held_out, held_out_y) = (
            (x[task, at].flatten(0, 1), y[task, at].flatten(0, 1))
            for at in (order[:, rows].transpose(0, 1) for rows in chosen)
        )
        bars = self.distribution(self.compute(context, context_y, held_out))
        measured = bars.log_prob(held_out_y) + self.y_scale.log(), bars.cdf(held_out_y)
        return surprises(*(part.unflatten(0, (-1, len(y))).transpose(0, 1).flatten(1) for part in measured))

    def n_observed(self, x_context: Tensor, y_context: Tensor, *_: Tensor) -> Tensor:
        """The number of context rows, (B,)."""
        return torch.full((len(y_context),), y_context.shape[1], device=y_context.device)

    def _x_tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeds inputs (B, rows, F): tokens (B, rows, D) and coordinates x, x² (B, rows, 2 max_features)."""
        scaled = zero_padded((x - self.x_loc) / self.x_scale, self.max_features)
        tokens = self.x_embedding(scaled) + self.feature_count.weight[x.shape[-1]]
        return tokens, torch.cat([scaled, scaled.square() / 3], -1)  # 3 brings squares to the size of x

    def _query_tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One token per query, and its coordinates."""
        tokens, coordinates = self._x_tokens(x)
        return tokens + self.query_token, coordinates

    def _context_tokens(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Registers, then one token per context row, (B, R + n, D), and their coordinates, zero for registers."""
        tokens, coordinates = self._x_tokens(x)
        rows = tokens + self.y_embedding(((y - self.y_loc) / self.y_scale)[..., None])
        registers = self.registers.expand(x.shape[0], -1, -1).to(rows.dtype)
        padded = nn.functional.pad(coordinates, (0, 0, self.n_registers, 0))
        return torch.cat([registers, rows], 1), padded
