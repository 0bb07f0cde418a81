"""Mixtures of Gaussians that stand for priors of a named family.

Letters: B tasks, C parameters, k components, d latent dimensions, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from priorfit.models.attention import zeroed
from priorfit.models.mixture_tensors import MixtureTensors, packed_size, unpack

SPREAD = 1.2  # of the components' means before training, in standard deviations of the latents
LOG_SCALE = -0.5  # of the components before training


class ParameterPrior(nn.Module):
    """Maps the transformed parameters of a prior to k components over standardised latents.

    Each component has output weights of its own: they are told apart by nothing else.

    Args:
        n_parameters: C.
        n_components: k.
        d: latent dimensions.
        width: W, of the hidden layers.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, n_parameters: int, n_components: int, d: int, width: int) -> None:
        super().__init__()
        self.n_components, self.d = n_components, d
        size = packed_size(d)
        self.linear = zeroed(nn.Linear(n_parameters, n_components * size))
        self.layers = nn.Sequential(
            nn.Linear(n_parameters, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            zeroed(nn.Linear(width, n_components * size)),
        )
        with torch.no_grad():
            means, log_scales = self.linear.bias.unflatten(0, (n_components, size))[:, 1:].split([d, size - 1 - d], -1)
            means.copy_(SPREAD * (torch.linspace(-1, 1, n_components)[:, None] if d == 1 else torch.randn(means.shape)))
            log_scales[:, :d] = LOG_SCALE
        self.register_buffer("loc", torch.zeros(n_parameters))
        self.register_buffer("scale", torch.ones(n_parameters))

    def fit(self, tokens: Tensor) -> None:
        """Takes the locations and scales of parameters from prior tokens (n, C)."""
        self.loc.copy_(tokens.mean(0))
        self.scale.copy_(tokens.std(0).clamp(min=1e-3))  # some may hardly vary

    def standardized(self, tokens: Tensor) -> Tensor:
        """Parameters (B, C) of tokens (B, 1, C), about the origin and of scale one."""
        return (tokens[:, 0] - self.loc) / self.scale

    def forward(self, tokens: Tensor) -> MixtureTensors:
        """The mixtures that stand for the priors with tokens (B, 1, C)."""
        parameters = self.standardized(tokens)
        packed = self.linear(parameters) + self.layers(parameters)
        return unpack(packed.unflatten(-1, (self.n_components, -1)), self.d)
