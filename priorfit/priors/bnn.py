"""Bayesian neural networks with an architecture of each task's own.

Source: Müller et al. 2022, "Transformers Can Do Bayesian Inference", section 6 and table 5. Letters: B tasks,
N rows, F features, H hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from priorfit.priors.activations import activate, check_activations
from priorfit.priors.base import Prior, priors
from priorfit.priors.laws import scaled
from priorfit.priors.scm_laws import Hyper, check_share, draw_shares
from priorfit.priors.scm_network import UNSEEN_ROWS, draw_weights, normal_like, similar, standardize
from priorfit.priors.table_pieces.raw import Raw
from priorfit.priors.table_prior import TablePrior

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "elu", "identity", "sine")
DEPTH = {"law": "uniform", "low": 0.5, "high": 4.5}
WIDTH = {"law": "spread", "low": 4.0, "high": 64.0, "minimum": 2, "maximum": 128}
WEIGHT_SCALE = {"law": "log_normal", "loc": 0.7, "scale": 0.7}
UNIT_NOISE = {"law": "log_normal", "loc": -3.0, "scale": 1.0}
NOISE = {"law": "log_normal", "loc": -2.5, "scale": 1.2}


class Architecture(NamedTuple):
    """What makes the networks of B tasks, (B,) each."""

    depth: Tensor  # hidden layers, int64
    width: Tensor  # H, int64
    activation: Tensor  # index of a name, int64
    scale: Tensor  # of weights and biases
    dropped: Tensor  # share of weights that is zero
    unit_noise: Tensor  # standard deviation before every activation


@priors.register("bnn")
class BNN(TablePrior):
    r"""A neural network per task, with random weights, at standard normal inputs.

    h_0 = x ~ N(0, I); h_l = activation(s (W_l h_{l-1} + b_l) + noise_l eps); y = v·h_L, by default standardised over
    these and 64 further rows. b and eps are standard normal; W and v are normal with variance 1 / (expected number of
    inputs that are left after a share of the weights is set to zero), so that s alone decides how far from linear a
    network is.

    Args:
        sizes, target, columns: as for `TablePrior`.
        depth: L, hidden layers; a whole number or the law of one (see `Hyper`).
        width: H, the same in all hidden layers of a task; likewise.
        activations: names in `activations.ACTIVATIONS`; each task draws one.
        weight_scale: s, a number or a law.
        sparsity: the largest share of weights that is zero; each task's share is that times Beta(a, b) with
            a, b ~ U(.1, 5). Below 1.
        unit_noise: standard deviation of the noise of every hidden unit, a number or a law, or None for none.
        noise: standard deviation of the target's noise, of which the target's law is made; a number or a law.
        standardized: whether y is; where it is not, nothing but v·h_L and the noise decides on the target's law.

    Raises:
        ValueError: unknown names, or numbers out of range.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        target: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        depth: int | Mapping[str, Any] = DEPTH,
        width: int | Mapping[str, Any] = WIDTH,
        activations: str | Sequence[str] = ACTIVATIONS,
        weight_scale: float | Mapping[str, Any] = WEIGHT_SCALE,
        sparsity: float = 0.9,
        unit_noise: float | Mapping[str, Any] | None = UNIT_NOISE,
        noise: float | Mapping[str, Any] = NOISE,
        standardized: bool = True,
    ) -> None:
        super().__init__(sizes, target, columns)
        self.depth, self.width = Hyper("depth", depth, whole=True), Hyper("width", width, whole=True)
        self.activations = check_activations(activations)
        self.weight_scale = Hyper("weight_scale", weight_scale)
        self.unit_noise = None if unit_noise is None else Hyper("unit_noise", unit_noise)
        self.noise, self.standardized = Hyper("noise", noise), standardized
        self.sparsity = check_share("sparsity", sparsity)
        if self.sparsity == 1:
            raise ValueError("sparsity must be below 1: without weights there is no network.")

    def shifts(self) -> dict[str, Prior]:
        """Those of all tables, and networks that are closer to linear or farther from it."""
        given = self.arguments["weight_scale"]
        changes = {f"weight scale × {factor:g}": {"weight_scale": scaled(given, factor)} for factor in (0.5, 2)}
        return {**super().shifts(), **self.changed(changes)}

    def draw_architecture(self, batch_size: int, generator: Generator) -> Architecture:
        """Draws the architectures of `batch_size` tasks."""
        kinds = torch.randint(len(self.activations), (batch_size,), generator=generator, device=generator.device)
        depth, width = (law.sample(batch_size, generator).clamp(min=1) for law in (self.depth, self.width))
        scale = self.weight_scale.sample(batch_size, generator)
        dropped = draw_shares(self.sparsity, batch_size, generator)
        none = torch.zeros(batch_size, device=generator.device)
        noise = none if self.unit_noise is None else self.unit_noise.sample(batch_size, generator)
        return Architecture(depth, width, kinds, scale, dropped, noise)

    def draw_table(self, batch_size: int, n_rows: int, n_features: int, generator: Generator) -> Raw:
        """Inputs, and the outputs of one network per task."""
        architecture = self.draw_architecture(batch_size, generator)
        shape = (batch_size, n_rows + UNSEEN_ROWS * self.standardized, n_features)
        x = torch.randn(shape, generator=generator, device=generator.device)
        y = torch.empty_like(x[..., 0])
        for group in similar(architecture.width):
            y[group] = self.outputs(x[group], Architecture(*(part[group] for part in architecture)), generator)
        y = standardize(y[..., None])[..., 0] if self.standardized else y
        categorical = torch.zeros(batch_size, n_features, dtype=torch.bool, device=x.device)
        noise = self.noise.sample(batch_size, generator)
        return Raw(x[:, :n_rows], y[:, :n_rows], categorical, noise)

    def outputs(self, x: Tensor, architecture: Architecture, generator: Generator) -> Tensor:
        """The outputs (B, N) of networks that are drawn here, at x (B, N, F)."""
        hidden = x.new_zeros(*x.shape[:2], int(architecture.width.max()))
        for layer in range(int(architecture.depth.max())):
            active = (architecture.depth > layer).nonzero()[:, 0]
            own = Architecture(*(part[active] for part in architecture))
            inputs, fan_in = (hidden[active], own.width) if layer else (x, torch.full_like(own.width, x.shape[2]))
            new = self._layer(inputs, fan_in, own, generator)
            hidden[active, :, : new.shape[2]] = new
        ones = torch.ones_like(architecture.width)
        return (hidden @ draw_weights(architecture.width, ones, architecture.dropped, ones, generator))[..., 0]

    def _layer(self, x: Tensor, fan_in: Tensor, own: Architecture, generator: Generator) -> Tensor:
        """One hidden layer of every task, drawn and applied to x (B, N, I or more): (B, N, H)."""
        weights = draw_weights(fan_in, own.width, own.dropped, torch.ones_like(own.width), generator)
        linear = x[..., : weights.shape[1]] @ weights  # (B, N, H)
        linear += normal_like(linear[:, :1], generator)
        linear *= own.scale[:, None, None]
        if (own.unit_noise > 0).any():
            linear += own.unit_noise[:, None, None] * normal_like(linear, generator)
        return activate(linear, own.activation, self.activations)
