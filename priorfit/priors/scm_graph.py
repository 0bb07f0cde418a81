"""Structural causal models on random graphs, with vectors as nodes and a random function on every edge.

Source: the descriptions of Hollmann et al. 2025, "Accurate predictions on small data with a tabular foundation model",
and Qu et al. 2026, "TabICLv2". Letters: B tasks, N rows, F features, G nodes, D components of a node, P parents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.priors.scm_causes import check_causes, draw_causes
from priorfit.priors.scm_dag import ancestors_of, draw_parents, levels_of
from priorfit.priors.scm_functions import FUNCTIONS
from priorfit.priors.scm_laws import Hyper, check_share
from priorfit.priors.scm_layered import draw_positions
from priorfit.priors.scm_network import normal_like, standardize
from priorfit.priors.scm_nodes import Nodes, draw_codes
from priorfit.registry import closest

NOISE = {"law": "spread", "low": 1e-3, "high": 0.3}


class Graph:
    r"""z_j = standardised(combination over parents i of f_ij(z_i)) + noise_j eps; roots have laws of their own.

    Each node is a vector, whose components are standardised over the rows. Each task draws its graph (`draw_parents`)
    with its own probabilities, each edge the kind of its function and all that is random in it, and each node with
    several parents whether it is their sum, product or maximum. Features and target are single components of nodes,
    or features are categories: the nearest of K vectors of random rows to the node's vector (Hollmann et al. 2025).

    Args:
        nodes: [low, high]; G is log-uniform between them, and large enough for twice the features.
        size: D.
        functions: names in `scm_functions.FUNCTIONS`.
        cause_laws: laws of roots (`scm_causes.CAUSES`); each root draws one.
        noise: a number or a law (see `Hyper`); noise_j is |N(0, 1)| times that.
        roots: each task's share of nodes without parents is uniform on 0 … `roots`.
        more: each task's probability of a further parent is uniform on 0 … `more`.
        categorical: in one half of the tasks, each feature is a category with a probability that is uniform on
            0 … `categorical`; K - 2 is geometric with mean 2, cut at 8.
        related: draw tables again in which no feature has an ancestor in common with the target (one in ten to
            thirty by default). Otherwise some tables say nothing of their target.

    Raises:
        ValueError: unknown names, or numbers out of range.
    """

    def __init__(
        self,
        nodes: Sequence[int] = (3, 32),
        size: int = 4,
        functions: str | Sequence[str] = tuple(FUNCTIONS),
        cause_laws: Sequence[str] = ("normal", "mixed", "uniform"),
        noise: float | Mapping[str, Any] = NOISE,
        roots: float = 0.15,
        more: float = 0.8,
        categorical: float = 0.0,
        related: bool = False,
    ) -> None:
        if len(nodes) != 2 or not all(isinstance(n, int) for n in nodes) or not 2 <= nodes[0] <= nodes[1]:
            raise ValueError(f"nodes must be two whole numbers, 2 <= low <= high, not {nodes!r}.")
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be a whole number >= 1, not {size!r}.")
        self.functions = [functions] if isinstance(functions, str) else list(functions)
        for name in self.functions or [""]:
            if name not in FUNCTIONS:
                raise ValueError(f"Unknown function '{name}': {closest(name, FUNCTIONS)}")
        self.nodes, self.size = (nodes[0], nodes[1]), size
        self.cause_laws, self.noise = check_causes(list(cause_laws)), Hyper("noise", noise)
        self.roots, self.more = check_share("roots", roots), check_share("more", more)
        self.categorical, self.related = check_share("categorical", categorical), related

    def draw(self, batch_size: int, n_rows: int, n_features: int, generator: Generator) -> Nodes:
        """The components or categories that are seen."""
        count = self.draw_count(batch_size, n_features, generator)
        shares = torch.rand(3, batch_size, generator=generator, device=generator.device)
        parents = draw_parents(count, self.roots * shares[0], self.more * shares[1], shares[2], generator)
        values = self.node_values(parents, count, n_rows, generator)  # (B, G, N, D)
        chosen = draw_positions(count * self.size, n_features, generator)  # (B, F + 1)
        task = torch.arange(batch_size, device=count.device)[:, None]
        seen, owner = values[task, chosen // self.size, :, chosen % self.size], chosen // self.size  # (B, F + 1, N)
        coded = self.draw_coded(batch_size, n_features, generator)
        if coded.any():
            which, feature = coded.nonzero(as_tuple=True)
            seen[which, feature] = draw_codes(values[which, owner[which, feature]], generator)
        unrelated = unrelated_tables(parents, owner) if self.related else None
        return Nodes(seen.mT, coded, values[task[:, 0], owner[:, -1]], unrelated)

    def draw_coded(self, batch_size: int, n_features: int, generator: Generator) -> Tensor:
        """Which features are categories, (B, F), bool."""
        if not self.categorical:
            return torch.zeros(batch_size, n_features, dtype=torch.bool, device=generator.device)
        level = torch.rand(batch_size, n_features + 2, generator=generator, device=generator.device)
        return (level[:, :1] < 0.5) & (level[:, 2:] < self.categorical * level[:, 1:2])

    def draw_count(self, batch_size: int, n_features: int, generator: Generator) -> Tensor:
        """The number of nodes of each task, (B,), int64."""
        level = torch.rand(batch_size, generator=generator, device=generator.device)
        low, high = self.nodes
        count = (low * ((high + 1) / low) ** level).long().clamp(max=high)
        return count.clamp(min=math.ceil((2 * n_features + 1) / self.size))

    def node_values(self, parents: Tensor, count: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Values of all nodes of graphs with `parents` (B, G, P), (B, G, N, D)."""
        level, batch_size = levels_of(parents), len(count)
        exists = torch.arange(parents.shape[1], device=count.device) < count[:, None]
        values = torch.zeros(*level.shape, n_rows, self.size, device=count.device)
        noise = self.noise.sample(batch_size, generator)
        roots = ((level == 0) & exists).nonzero(as_tuple=True)
        values[roots] = standardize(draw_causes(len(roots[0]), n_rows, self.size, self.cause_laws, generator))
        for depth in range(1, int(level.max()) + 1):
            task, node = ((level == depth) & exists).nonzero(as_tuple=True)  # C children
            own = standardize(self._combine(values, task, parents[task, node], generator))
            scale = noise[task, None, None] * normal_like(own[:, :1, :1], generator).abs()
            values[task, node] = own.addcmul_(scale, normal_like(own, generator))
        return values

    def _combine(self, values: Tensor, task: Tensor, parents: Tensor, generator: Generator) -> Tensor:
        """What C children in `task` (C,) have from their parents (C, P): (C, N, D)."""
        child, slot = (parents >= 0).nonzero(as_tuple=True)  # E edges
        results = self._along_edges(values[task[child], parents[child, slot]], generator)  # (E, N, D)
        kind = torch.randint(3, (len(task), 1, 1), generator=generator, device=task.device)
        total = results.new_zeros(len(task), *results.shape[1:])
        first = torch.ones(len(task), dtype=torch.bool, device=task.device)
        for place in range(parents.shape[1]):
            edges = (slot == place).nonzero()[:, 0]
            to = child[edges]
            old, new = total[to], results[edges]
            mixed = torch.where(kind[to] == 0, old + new, torch.where(kind[to] == 1, old * new, old.maximum(new)))
            total[to] = torch.where(first[to, None, None], new, mixed)
            first[to] = False
        return total

    def _along_edges(self, x: Tensor, generator: Generator) -> Tensor:
        """A function of its own of each edge's parent x (E, N, D), standardised."""
        kind = torch.randint(len(self.functions), x.shape[:1], generator=generator, device=x.device)
        results = torch.empty_like(x)
        for index, name in enumerate(self.functions):
            chosen = (kind == index).nonzero()[:, 0]
            if len(chosen):
                results[chosen] = FUNCTIONS[name](x[chosen], generator)
        return standardize(results)


def unrelated_tables(parents: Tensor, owner: Tensor) -> Tensor:
    """Where no feature's node shares an ancestor, or itself, with the target's: (B,), bool.

    Args:
        parents: (B, G, P).
        owner: nodes of the features and, last, of the target, (B, F + 1).
    """
    above = ancestors_of(parents)
    above = above.gather(1, owner[..., None].expand(-1, -1, above.shape[2]))  # (B, F + 1, G)
    return ~(above[:, :-1] & above[:, -1:]).flatten(1).any(1)
