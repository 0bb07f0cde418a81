"""Structural causal models with the layout of a layered network, every unit of which is a node.

Source: Hollmann et al. 2023, "TabPFN: A Transformer That Solves Small Tabular Classification Problems in a Second",
appendix C, and the code released with it. Letters: B tasks, N rows, F features, K causes, L layers, H units per layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from priorfit.priors.activations import activate, check_activations
from priorfit.priors.scm_causes import check_causes, draw_causes
from priorfit.priors.scm_laws import Hyper, check_share, draw_shares
from priorfit.priors.scm_network import draw_blocks, draw_weights, normal_like, similar, standardize
from priorfit.priors.scm_nodes import Nodes

LAYERS = {"law": "spread", "low": 1.0, "high": 6.0, "minimum": 2, "maximum": 8}
WIDTH = {"law": "spread", "low": 5.0, "high": 130.0, "minimum": 4, "maximum": 128}
CAUSES = {"law": "spread", "low": 1.0, "high": 12.0, "minimum": 1, "maximum": 32}
NOISE = {"law": "spread", "low": 1e-4, "high": 0.3}
GAIN = {"law": "spread", "low": 0.1, "high": 10.0, "minimum": 0.01}
ACTIVATIONS = ("tanh", "leaky_relu", "elu", "identity")


class Plan(NamedTuple):
    """What makes the models of B tasks, (B,) each."""

    layers: Tensor  # L, int64, at least 2
    width: Tensor  # H, int64
    causes: Tensor  # K, int64
    activation: Tensor  # index of a name, int64
    gain: Tensor  # factor in front of the activation
    noise: Tensor  # standard deviation, of nodes with variance 1
    own_noise: Tensor  # bool: each node has a noise level of its own
    dropped: Tensor  # share of weights that is zero
    blocked: Tensor  # bool: layers are split into blocks instead


class Layered:
    r"""z_1 = W_1 causes; z_{l+1} = W_{l+1} activation(gain (z_l + b_l)) + noise eps, for l = 1 … L - 1.

    Before the noise is added, every node is standardised over the rows, which keeps deep networks finite and makes
    gain and noise independent of width; the original scales weights instead. The nodes are the units of z_2 … z_L.
    Everything is drawn for every task, and what the original decides by a coin with a drawn probability is
    decided by a fair coin: whether the target is the last unit or any; features are scattered over the nodes or
    adjacent; in the nodes' order or in any; noise levels are shared, or |N(0, noise)| for each node; weights
    vanish element by element, or outside of diagonal blocks.

    Args:
        layers: L, at least 2; a whole number or the law of one (see `Hyper`).
        width: H, likewise; more where the nodes would not reach for twice the features and the target.
        causes: K, likewise.
        cause_laws: kinds of causes (`scm_causes.CAUSES`); each task draws one.
        activations: names in `activations.ACTIVATIONS`; each task draws one.
        gain: a number or a law.
        noise: a number or a law.
        sparsity: the largest share of weights that is zero; each task's is that times Beta(a, b) with a, b ~ U(.1, 5).

    Raises:
        ValueError: unknown names, or numbers out of range.
    """

    def __init__(
        self,
        layers: int | Mapping[str, Any] = LAYERS,
        width: int | Mapping[str, Any] = WIDTH,
        causes: int | Mapping[str, Any] = CAUSES,
        cause_laws: Sequence[str] = ("normal", "mixed"),
        activations: str | Sequence[str] = ACTIVATIONS,
        gain: float | Mapping[str, Any] = GAIN,
        noise: float | Mapping[str, Any] = NOISE,
        sparsity: float = 0.9,
    ) -> None:
        self.layers, self.width = Hyper("layers", layers, whole=True), Hyper("width", width, whole=True)
        self.causes, self.cause_laws = Hyper("causes", causes, whole=True), check_causes(list(cause_laws))
        self.activations = check_activations(activations)
        self.gain, self.noise = Hyper("gain", gain), Hyper("noise", noise)
        self.sparsity = check_share("sparsity", sparsity)
        if self.sparsity == 1:
            raise ValueError("sparsity must be below 1: without weights there is no network.")

    def draw_plan(self, batch_size: int, n_features: int, generator: Generator) -> Plan:
        """Draws the hyperparameters of `batch_size` tasks."""
        layers = self.layers.sample(batch_size, generator).clamp(min=2)
        needed = -(-(2 * n_features + 1) // (layers - 1))  # rounded up
        own_noise, blocked = coins(2, batch_size, generator)
        kinds = torch.randint(len(self.activations), (batch_size,), generator=generator, device=generator.device)
        return Plan(
            layers,
            torch.maximum(self.width.sample(batch_size, generator), needed),
            self.causes.sample(batch_size, generator).clamp(min=1),
            kinds,
            self.gain.sample(batch_size, generator),
            self.noise.sample(batch_size, generator),
            own_noise,
            torch.where(blocked, 0, draw_shares(self.sparsity, batch_size, generator)),
            blocked,
        )

    def draw(self, batch_size: int, n_rows: int, n_features: int, generator: Generator) -> Nodes:
        """The nodes that are seen, all of them numbers."""
        plan = self.draw_plan(batch_size, n_features, generator)
        seen = torch.empty(batch_size, n_rows, n_features + 1, device=generator.device)
        for group in similar(plan.width):
            seen[group] = self._draw(Plan(*(part[group] for part in plan)), n_rows, n_features, generator)
        return Nodes(seen, torch.zeros(batch_size, n_features, dtype=torch.bool, device=seen.device))

    def _draw(self, plan: Plan, n_rows: int, n_features: int, generator: Generator) -> Tensor:
        """The seen nodes of one model per plan."""
        batch_size = len(plan.layers)
        chosen = draw_positions((plan.layers - 1) * plan.width, n_features, generator)  # (B, F + 1)
        causes = draw_causes(batch_size, n_rows, int(plan.causes.max()), self.cause_laws, generator)
        nodes = self.units(causes, plan, generator)[0]  # z_1
        seen = causes.new_zeros(batch_size, n_rows, n_features + 1)
        for layer in range(1, int(plan.layers.max())):
            active = (plan.layers > layer).nonzero()[:, 0]
            own = Plan(*(part[active] for part in plan))
            values = self._layer(nodes[active], own, generator)  # (active, N, H)
            nodes[active, :, : values.shape[2]] = values
            here = (chosen[active] // own.width[:, None] == layer - 1)[:, None]  # (active, 1, F + 1)
            unit = (chosen[active] % own.width[:, None])[:, None].expand(-1, n_rows, -1)
            seen[active] = torch.where(here, values.gather(2, unit), seen[active])
        return seen

    def units(self, causes: Tensor, plan: Plan, generator: Generator) -> tuple[Tensor, Tensor]:
        """The first layer z_1 (B, N, H), standardised, and its weights (B, K, H)."""
        weights = self._weights(plan.causes, plan, generator)
        return standardize(causes @ weights), weights

    def _weights(self, fan_in: Tensor, plan: Plan, generator: Generator) -> Tensor:
        blocks = draw_blocks(fan_in, plan.width, plan.blocked, generator)
        return draw_weights(fan_in, plan.width, plan.dropped, blocks, generator)

    def _layer(self, nodes: Tensor, own: Plan, generator: Generator) -> Tensor:
        """z_{l+1} of every task, given z_l (B, N, H or more)."""
        weights = self._weights(own.width, own, generator)
        nodes = nodes[..., : weights.shape[1]]
        nodes = own.gain[:, None, None] * (nodes + normal_like(nodes[:, :1], generator))
        values = standardize(activate(nodes, own.activation, self.activations) @ weights)
        level = torch.where(own.own_noise[:, None, None], normal_like(values[:, :1], generator).abs(), 1)
        return values.addcmul_(own.noise[:, None, None] * level, normal_like(values, generator))


def coins(n: int, batch_size: int, generator: Generator) -> Tensor:
    """Fair coins, (n, B), bool."""
    return torch.rand(n, batch_size, generator=generator, device=generator.device) < 0.5


def draw_positions(total: Tensor, n_features: int, generator: Generator) -> Tensor:
    """Which of `total` (B,) nodes are the features and, last, the target: distinct, (B, F + 1)."""
    last, adjacent, ordered = coins(3, len(total), generator)
    levels = torch.rand(3, len(total), 1, generator=generator, device=total.device)
    whole = total[:, None]
    target = torch.where(last[:, None], whole - 1, (levels[0] * whole).long().clamp(max=whole - 1))
    places = torch.arange(int(total.max()), device=total.device)
    keys = torch.rand(len(total), len(places), generator=generator, device=total.device)
    keys = keys.masked_fill((places >= whole) | (places == target), 2)
    scattered = keys.topk(n_features, largest=False).indices
    others = whole - n_features  # places where a run of features among all but the target may start
    run = (levels[1] * others).long().clamp(max=others - 1) + torch.arange(n_features, device=total.device)
    chosen = torch.where(adjacent[:, None], run + (run >= target), scattered)
    rotation = ((levels[2] * n_features).long() + torch.arange(n_features, device=total.device)) % n_features
    mixed = torch.rand(chosen.shape, generator=generator, device=total.device).argsort(1)
    order = torch.where(ordered[:, None], rotation, mixed)
    return torch.cat([chosen.sort(1).values.gather(1, order), target], 1)
