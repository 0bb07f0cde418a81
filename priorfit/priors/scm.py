"""Structural causal models: tables whose features and target are nodes of one random causal model per task.

Letters: B tasks, N rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator

from priorfit.priors.base import priors
from priorfit.priors.scm_graph import Graph
from priorfit.priors.scm_laws import Hyper
from priorfit.priors.scm_layered import Layered
from priorfit.priors.scm_network import UNSEEN_ROWS, standardize
from priorfit.priors.table_pieces.raw import Raw
from priorfit.priors.table_prior import TablePrior
from priorfit.registry import closest

VARIANTS: dict[str, type[Layered] | type[Graph]] = {"mlp": Layered, "graph": Graph}


@priors.register("scm")
class SCM(TablePrior):
    r"""A random structural causal model per task, some of whose nodes are the features and one the target.

    Features may be causes or effects of the target, or share causes with it. All that are no codes are standardised
    over these and 64 further rows.

    Args:
        sizes, target, columns: as for `TablePrior`.
        variant: "mlp" (`scm_layered.Layered`, the generator of TabPFN v1) or "graph" (`scm_graph.Graph`, in the
            manner of its successors).
        model: arguments of the variant.
        noise: standard deviation of noise that is added to the target node alone, and makes its law known; a number
            or a law (see `Hyper`), or None for a target without.

    Raises:
        ValueError: unknown names, or numbers out of range.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        target: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        variant: str = "mlp",
        model: Mapping[str, Any] | None = None,
        noise: float | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(sizes, target, columns)
        if variant not in VARIANTS:
            raise ValueError(f"Unknown variant '{variant}' of scm: {closest(variant, VARIANTS)}")
        try:
            self.model = VARIANTS[variant](**(model or {}))
        except TypeError as error:
            raise ValueError(f"model, the arguments of the variant '{variant}': {error}") from None
        self.noise = None if noise is None else Hyper("noise", noise)

    def draw_table(self, batch_size: int, n_rows: int, n_features: int, generator: Generator) -> Raw:
        """Nodes of one model per task."""
        nodes = self.model.draw(batch_size, n_rows + UNSEEN_ROWS, n_features, generator)
        values = standardize(nodes.values)[:, :n_rows]
        x = torch.where(nodes.categorical[:, None], nodes.values[:, :n_rows, :-1], values[..., :-1])
        noise = None if self.noise is None else self.noise.sample(batch_size, generator)
        vector = None if nodes.vector is None else nodes.vector[:, :n_rows]
        return Raw(x, values[..., -1], nodes.categorical, noise, vector, nodes.unrelated)
