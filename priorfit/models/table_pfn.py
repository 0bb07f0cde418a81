"""The prior-data fitted network for tables: classes or numbers, from columns of any kind.

Source: alternating attention over cells, Hollmann et al. 2025, "Accurate predictions on small data with a tabular
foundation model"; the experts underneath are ours.
Letters: B tasks, n context rows, m queries, N rows of either kind, F features, g features per token, G tokens per row
(of groups of features, then the row's own), D width, S experts, R thinking rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorfit.models.attention import Block, KeysValues
from priorfit.models.base import Network, networks
from priorfit.models.checks import Limits, check_table
from priorfit.models.class_head import ClassHead
from priorfit.models.kernel_experts import Fitted, KernelExperts, Predictions
from priorfit.models.number_head import NumberHead
from priorfit.models.second_opinions import Second
from priorfit.models.table_blocks import CellBlock
from priorfit.models.table_columns import CODE_SIZE, Columns, Coordinates, Measures, measure, view
from priorfit.models.table_head import SURPRISES, Given, Stack

CELL = 4 + CODE_SIZE  # numbers that describe a cell
IDENTITY = 16  # numbers that tell groups of features apart
N_FACTS = 6  # numbers that describe a table whatever its target is
Output = tuple[Tensor, ...]


class Consulted(NamedTuple):
    """What experts say of a context."""

    measures: Measures
    columns: Columns
    given: Given
    experts: Fitted
    second: Second | None
    predictions: Predictions  # of each row from the others
    opinions: Tensor
    stack: Stack


class Cache(NamedTuple):
    """All that queries need of a context."""

    measures: Measures
    experts: Fitted
    second: Second | None
    given: Given
    stack: Stack
    groups: Tensor  # (B, G - 1, 1, D): what is known of each group of features
    table: Tensor  # (B, 1, D): what is known of the whole table
    layers: list[KeysValues]
    summary: Tensor | None = None  # (B, J), see `TablePFN.summary`; set by `encode`


@networks.register("table_pfn")
class TablePFN(Network):
    """From the labelled rows of a table and queries to the distribution of each query's class or number.

    Columns are measured on the context, so that data may come in any units. Gaussian processes with fixed and with
    fitted kernels (`KernelExperts`) predict each query, and each context row from the others: in closed form, without a
    trained number. Cells of g features and one token per row then attend to one another along rows and along
    columns, and the rows' tokens go on alone; from how the experts fare on the context and from the table itself the
    network learns when to trust which expert, and what none of them sees. Untrained, it predicts with the stacked
    experts.

    Predictions do not depend on which other queries are in the call, nor on the order of the context (of more than 256
    rows, only through which of them the experts' length scales are searched with), and on the order of features only
    through which are grouped together, and through random vectors that tell groups apart.

    Args:
        max_classes: the largest number of classes, 0 for a network that does not classify.
        n_buckets: buckets of the bar distribution, 0 for a network that does not predict numbers.
        max_features: the largest F accepted.
        width: D.
        n_cell_layers: blocks with attention over cells.
        n_row_layers: blocks on the rows' tokens alone.
        n_heads: attention heads; divides `width`.
        hidden: width of the feed-forward layers; 2 * width by default.
        group: g.
        n_thinking: R, learned rows in every context, at least 1.
        n_steps: see `KernelExperts`.
        least_noise: see `KernelExperts`.
        standardize: whether columns are standardised on the context. False for priors whose features have known units,
            which small contexts would hide: of mean 0 and variance 1.

    Raises:
        ValueError: sizes that are not positive, or heads that do not divide the width.
    """

    takes_tables = True
    differentiable = False  # experts are conditioned without gradients
    summary_names = ("outliers among inputs", *SURPRISES)
    identities: Tensor

    def __init__(
        self,
        max_classes: int = 10,
        n_buckets: int = 0,
        max_features: int = 128,
        width: int = 96,
        n_cell_layers: int = 3,
        n_row_layers: int = 3,
        n_heads: int = 4,
        hidden: int | None = None,
        group: int = 2,
        n_thinking: int = 8,
        n_steps: int = 10,
        least_noise: float = 1e-3,
        standardize: bool = True,
    ) -> None:
        super().__init__()
        hidden = 2 * width if hidden is None else hidden
        sizes = (max_features, width, n_cell_layers, n_row_layers, n_heads, hidden, group, n_thinking, n_steps)
        if min(sizes) < 1 or width % n_heads or 1 in (max_classes, n_buckets) or min(max_classes, n_buckets) < 0:
            raise ValueError(
                "Sizes must be positive, max_classes and n_buckets 0 or at least 2, and width a multiple of n_heads."
            )
        if not max_classes and not n_buckets:
            raise ValueError("max_classes or n_buckets must be positive: a network without a target has no use.")
        self.max_classes, self.n_buckets, self.max_features, self.group = max_classes, n_buckets, max_features, group
        self.n_layers, self.standardize = n_cell_layers + n_row_layers, standardize
        self.coordinates, self.experts = Coordinates(), KernelExperts(n_steps, least_noise)
        n_coordinates = group * CELL
        sizes = (width, N_FACTS, n_coordinates)
        self.heads = nn.ModuleDict()
        if max_classes:
            self.heads["classes"] = ClassHead(self.experts.n_experts, max_classes, *sizes)
        if n_buckets:
            self.heads["numbers"] = NumberHead(self.experts.n_experts, n_buckets, *sizes)
        self.cell, self.relevance = nn.Linear(group * CELL, width), nn.Linear(2 * group, width)
        self.identity = nn.Linear(IDENTITY, width, bias=False)
        vectors = torch.randn(-(-max_features // group), IDENTITY, generator=torch.Generator().manual_seed(1))
        self.register_buffer("identities", vectors)
        self.query_token = nn.Parameter(torch.zeros(width))
        self.thinking = nn.Parameter(0.1 * torch.randn(n_thinking, width))
        cells = (CellBlock(width, n_heads, hidden, n_coordinates) for _ in range(n_cell_layers))
        rows = (Block(width, n_heads, 2 * hidden, n_coordinates) for _ in range(n_row_layers))
        self.blocks = nn.ModuleDict({"cells": nn.ModuleList(cells), "rows": nn.ModuleList(rows)})
        self.merge, self.norm = nn.Linear(2 * width, width), nn.LayerNorm(width)

    def fit_to_prior(
        self, observed: Sequence[Any], hidden: Sequence[Tensor], laws: Sequence[Distribution | None] = ()
    ) -> None:
        """Sets the mean and deviation of numbers, for tables without a context."""
        if "numbers" in self.heads:
            targets = [part.flatten() for part in hidden if part.is_floating_point()]
            if targets:
                y = torch.cat(targets)
                self.heads["numbers"].y_loc, self.heads["numbers"].y_scale = y.mean(), y.std()

    def check(
        self, x_context: Tensor, y_context: Tensor, x_query: Tensor, categorical: Tensor, n_classes: Tensor
    ) -> None:
        """Refuses what is not as in `Table`, or has more features or classes than the network takes."""
        limits = Limits(self.max_features, self.max_classes, self.n_buckets > 0)
        check_table(x_context, y_context, x_query, categorical, n_classes, limits)

    def compute(
        self, x_context: Tensor, y_context: Tensor, x_query: Tensor, categorical: Tensor, n_classes: Tensor
    ) -> Output:
        """What the head makes of the queries; arguments as in `Table`."""
        consulted = self._consult(x_context, y_context, categorical, n_classes)
        return self._decode(self._encode(consulted, y_context), x_query)

    def distribution(self, output: Output) -> Distribution:
        """The classes' probabilities (`ClassDistribution`), or the numbers' bar distribution, batch shape (B, m)."""
        head = self.heads["classes" if len(output) == 2 else "numbers"]
        return cast(ClassHead | NumberHead, head).distribution(*output)

    def encode(self, x_context: Tensor, y_context: Tensor, categorical: Tensor, n_classes: Tensor) -> Cache:
        """All that `decode` needs of a context; arguments as in `Table`.

        Raises:
            ValueError: as `forward`.
        """
        self.check(x_context, y_context, x_context, categorical, n_classes)
        consulted = self._consult(x_context, y_context, categorical, n_classes)
        return self._encode(consulted, y_context)._replace(summary=self._summary(consulted, y_context))

    def decode(self, cache: Cache, x_query: Tensor) -> Distribution:
        """What `forward` returns for x_query (B, m, F), given an encoded context.

        Raises:
            ValueError: as `forward`, or a context of another number of tasks or features.
        """
        categorical = cache.measures.categorical
        if x_query.ndim != 3 or x_query[:, 0].shape != categorical.shape:
            raise ValueError(
                f"Expected x_query (B, m, F) with (B, F) = {tuple(categorical.shape)}, as the context has; "
                f"got {tuple(x_query.shape)}."
            )
        self.check(x_query[:, :0], x_query[:, :0, 0], x_query, categorical, cache.given.n_classes)
        return self.distribution(self._decode(cache, x_query))

    def _head(self, n_classes: Tensor) -> ClassHead | NumberHead:
        """The head for these tasks, which are all of one kind."""
        return cast(ClassHead | NumberHead, self.heads["classes" if n_classes.any() else "numbers"])

    def summary(
        self, x_context: Tensor, y_context: Tensor, x_query: Tensor, categorical: Tensor, n_classes: Tensor
    ) -> Tensor:
        """How inputs lie, and how well the experts predict each context row from the others, (B, 6)."""
        return self._summary(self._consult(x_context, y_context, categorical, n_classes), y_context)

    def n_observed(self, x_context: Tensor, y_context: Tensor, *_: Tensor) -> Tensor:
        """The number of context rows, (B,)."""
        return torch.full((len(y_context),), y_context.shape[1], device=y_context.device)

    def _summary(self, consulted: Consulted, y: Tensor) -> Tensor:
        """What `summary` returns."""
        columns, given, opinions = consulted.columns, consulted.given, consulted.opinions
        head = self._head(given.n_classes)
        n = y.shape[1]
        if n < 3:
            return torch.full((len(y), len(self.summary_names)), torch.nan, device=y.device)
        tails = columns.standard.pow(4).mean((1, 2)).clamp(min=1e-3).log()
        return torch.cat([tails[:, None], head.summary(opinions, consulted.predictions, y, given, consulted.stack)], 1)

    def _consult(self, x: Tensor, y: Tensor, categorical: Tensor, n_classes: Tensor) -> Consulted:
        """Conditions the experts on a context, and weighs them."""
        head = self._head(n_classes)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            measures = measure(x, categorical, self.standardize)
            columns = view(x, measures)
            given, targets = head.read(y, n_classes)
            experts, predictions = self.experts.fit(self.coordinates(columns, categorical), targets)
            predictions, second = head.consult(predictions, targets, y, given)
            opinions = head.opinions(predictions, given)
            stack = head.stack(opinions, predictions, y, given)
        return Consulted(measures, columns, given, experts, second, predictions, opinions, stack)

    def _encode(self, consulted: Consulted, y: Tensor) -> Cache:
        """Runs the context through all layers."""
        measures, columns, given, experts, second, predictions, opinions, stack = consulted
        head = self._head(given.n_classes)
        with torch.no_grad(), torch.autocast(y.device.type, enabled=False):
            facts = describe(measures, experts)
            rows = head.describe_rows(opinions, predictions, stack)
        table = head.table(torch.cat([head.describe_table(given, stack), facts], -1))[:, None]
        groups = self._groups(experts.log_weights)
        cache = Cache(measures, experts, second, given, stack, groups, table, [])
        tokens, coordinates = self._tokens(columns, cache, rows, head, head.embed(y, given))
        thinking = self.thinking.expand(*tokens.shape[:2], -1, -1).to(tokens.dtype)  # (B, G, R, D)
        tokens = torch.cat([thinking, tokens], 2)
        self._run(tokens, nn.functional.pad(coordinates, (0, 0, len(self.thinking), 0)), cache, new=True)
        return cache

    def _decode(self, cache: Cache, x: Tensor) -> Output:
        """Runs queries through all layers."""
        head = self._head(cache.given.n_classes)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            columns = view(x, cache.measures)
            points = self.coordinates(columns, cache.measures.categorical)
            predictions = self.experts.predict(cache.experts, points)
            predictions = head.consult_again(predictions, cache.second, cache.given)
            opinions = head.opinions(predictions, cache.given)
            rows = head.describe_rows(opinions, predictions, cache.stack)
        tokens, coordinates = self._tokens(columns, cache, rows, head, self.query_token)
        final = self.norm(self._run(tokens, coordinates, cache))
        return head(final, opinions, predictions, cache.stack, cache.given)

    def _groups(self, log_weights: Tensor) -> Tensor:
        """What is known of groups of features: relevance in (V, B, F), and an identity, (B, G - 1, 1, D)."""
        grouped = self._grouped((log_weights.float() + 3).permute(1, 2, 0)[:, None])  # (B, G - 1, 1, 2 g)
        names = self.identity(self.identities[: grouped.shape[1]])
        return self.relevance(grouped / 3) + names[:, None]

    def _grouped(self, cells: Tensor) -> Tensor:
        """Cells (B, N, F, c) as groups (B, G - 1, N, g c), the last filled up with zeros."""
        missing = -cells.shape[2] % self.group
        cells = nn.functional.pad(cells, (0, 0, 0, missing)).transpose(1, 2)  # (B, F, N, c)
        return cells.unflatten(1, (-1, self.group)).transpose(2, 3).flatten(3)

    def _tokens(
        self, columns: Columns, cache: Cache, rows: Tensor, head: ClassHead | NumberHead, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, G, N, D) and coordinates (B, G, N, g c) of rows that experts describe by `rows` (B, N, …)."""
        categorical = cache.measures.categorical
        kind = categorical[:, None].expand_as(columns.missing).to(rows.dtype)
        cells = torch.stack([columns.standard, columns.scores, columns.missing, kind], -1)
        cells = self._grouped(torch.cat([cells, self.coordinates.codes(columns, categorical)], -1))
        own = head.row(rows) + cache.table + targets
        tokens = torch.cat([self.cell(cells) + cache.groups, own[:, None]], 1)
        return tokens, torch.cat([cells, head.row_coordinates(rows)[:, None]], 1)

    def _run(self, tokens: Tensor, coordinates: Tensor, cache: Cache, new: bool = False) -> Tensor:
        """Final tokens (B, N, D) of rows; with `new`, they are the context, whose keys and values are kept."""
        known = iter([None] * self.n_layers if new else cache.layers)
        layers = cast(dict[str, nn.ModuleList], self.blocks)
        for block in layers["cells"]:
            tokens, kept = block(tokens, coordinates, next(known))
            if new:
                cache.layers.append(kept)
        cells, tokens, coordinates = tokens[:, :-1].mean(1), tokens[:, -1], coordinates[:, -1]
        tokens = tokens + self.merge(torch.cat([cells, tokens], -1))
        for block in layers["rows"]:
            tokens, kept = block(tokens, coordinates, tokens.shape[1], next(known))
            if new:
                cache.layers.append(kept)
        return tokens


def describe(measures: Measures, experts: Fitted) -> Tensor:
    """Facts about tables of any kind: their size, and the noise that adaptive experts found, (B, N_FACTS)."""
    n, n_features = measures.ordered.shape[-1], measures.loc.shape[-1]
    sizes = torch.tensor([n + 1, n_features, (n + 1) / n_features]).log() / 2 - 1
    share = measures.categorical.float().mean(-1, keepdim=True)
    return torch.cat([sizes.to(share).expand(len(share), -1), share, experts.log_noise.float().mT / 2 + 1], -1)
