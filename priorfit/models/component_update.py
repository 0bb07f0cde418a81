"""The update of each component of a mixture that its token asks for.

Letters: B tasks, k components, d latent dimensions, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from priorfit.models.attention import zeroed
from priorfit.models.mixture_tensors import MixtureTensors, below_diagonal, multiplied_in_own_units

MOST_LOG_SCALE = 8.0  # of pseudo-observations and corrections, either way
START_LOG_SCALE = -2.0  # of pseudo-observations


class ComponentUpdate(nn.Module):
    r"""First d pseudo-observations of each component, in closed form, then a correction of the result.

    With s a component's standard deviations, pseudo-observation i says that exp(a_i) v_iᵀ (x - m) / s is N(y_i, 1).
    That is what a sensor looks like from where the component is; correlations carry it over to numbers that the sensor
    does not see. The correction moves the component by L t and makes its factor L T, T lower triangular. Both change
    the weights. Before training, pseudo-observations are vague and the correction is nothing.

    Args:
        width: W.
        d: latent dimensions.
    """

    def __init__(self, width: int, d: int) -> None:
        super().__init__()
        self.d = d
        self.sizes = [d * d, d, d, d, d, d * (d - 1) // 2, 1]
        self.head = zeroed(nn.Linear(width, sum(self.sizes)))
        with torch.no_grad():
            self.head.bias[: d * d] = torch.eye(d).flatten()
            self.head.bias[d * d : d * d + d] = START_LOG_SCALE

    def forward(self, mixture: MixtureTensors, tokens: Tensor, seen: bool) -> MixtureTensors:
        """The updated mixture; exactly the given one where nothing was seen.

        Args:
            mixture: of k components.
            tokens: (B, k, W).
            seen: whether there is any observation.
        """
        directions, log_scale, places, *correction = self.head(tokens).split(self.sizes, -1)
        scale = seen * log_scale.clamp(-MOST_LOG_SCALE, MOST_LOG_SCALE).exp()
        directions = directions.unflatten(-1, (self.d, self.d)) * scale[..., None, :]  # in columns, (B, k, d, d)
        mixture = observe(mixture, directions, seen * places)
        return correct(mixture, *(seen * part for part in correction))


def observe(mixture: MixtureTensors, directions: Tensor, places: Tensor) -> MixtureTensors:
    """Each component times exp(-|Vᵀ (x - m) / s - y|² / 2), s its standard deviations; normalised.

    Args:
        mixture: of k components.
        directions: V, (B, k, d, d).
        places: y, (B, k, d).
    """
    std = mixture.scale_trils.square().sum(-1, keepdim=True).sqrt()  # (B, k, d, 1)
    root = (mixture.scale_trils / std).mT @ directions
    slope = (root @ places[..., None])[..., 0]
    return multiplied_in_own_units(mixture, root @ root.mT, slope, -places.square().sum(-1) / 2)


def correct(
    mixture: MixtureTensors, shift: Tensor, log_scale: Tensor, below: Tensor, log_weight: Tensor
) -> MixtureTensors:
    """Each component moved by L t and with the factor L T, its weight times exp(w); normalised.

    Args:
        mixture: of k components.
        shift: t, (B, k, d).
        log_scale: logarithm of T's diagonal, (B, k, d).
        below: what is below it, row by row, in units of each row's diagonal, (B, k, d (d - 1) / 2).
        log_weight: w, (B, k, 1).
    """
    log_weights, means, scale_trils = mixture
    row, column = below_diagonal(means.shape[-1], means.device)
    scale = log_scale.clamp(-MOST_LOG_SCALE, MOST_LOG_SCALE).exp()
    factor = torch.diag_embed(scale)
    factor[..., row, column] = scale[..., row] * below
    means = means + (scale_trils @ shift[..., None])[..., 0]
    return MixtureTensors((log_weights + log_weight[..., 0]).log_softmax(-1), means, scale_trils @ factor)
