"""Gaussian mixtures as plain tensors, for use inside networks: packing, moments, and Gaussian updates.

Letters: B tasks, k components, d latent dimensions, C = 1 + 2 d + d (d - 1) / 2 packed numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from priorfit.distributions import GaussianMixture


class MixtureTensors(NamedTuple):
    """The parameters of B mixtures; the weights of each sum to one."""

    log_weights: Tensor  # (B, k)
    means: Tensor  # (B, k, d)
    scale_trils: Tensor  # (B, k, d, d), lower triangular with a positive diagonal


def packed_size(d: int) -> int:
    """C, numbers per component, see `GaussianMixture.packed`."""
    return 1 + 2 * d + d * (d - 1) // 2


def below_diagonal(d: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns of what is below the diagonal of a (d, d) matrix, row by row."""
    row, column = torch.tril_indices(d, d, -1, device=device)
    return row, column


def unpack(packed: Tensor, d: int) -> MixtureTensors:
    """The mixtures with these packed components (B, k, C); weights are normalised."""
    law = GaussianMixture.from_packed(packed, d, validate_args=False)
    return MixtureTensors(law.log_weights.log_softmax(-1), law.means, law.scale_trils)


def rescaled(mixture: MixtureTensors, offset: Tensor, factor: Tensor) -> MixtureTensors:
    """The law of offset + factor * x, number by number; offset and factor (d,)."""
    log_weights, means, scale_trils = mixture
    return MixtureTensors(log_weights, offset + factor * means, factor[:, None] * scale_trils)


def overall(mixture: MixtureTensors) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of whole mixtures, both (B, 1, d)."""
    weights = mixture.log_weights.exp()[..., None]
    mean = (weights * mixture.means).sum(1, keepdim=True)
    variances = mixture.scale_trils.square().sum(-1) + (mixture.means - mean).square()  # (B, k, d)
    return mean, (weights * variances).sum(1, keepdim=True).sqrt()


def multiplied(mixture: MixtureTensors, precision: Tensor, information: Tensor) -> MixtureTensors:
    """Mixtures times exp(-xᵀ Λ x / 2 + ηᵀ x), normalised.

    Args:
        mixture: of k components.
        precision: Λ, (B, d, d), positive semidefinite.
        information: η, (B, d).
    """
    _, means, scale_trils = mixture
    precision, information = precision[:, None], information[:, None]  # the same for all components
    pull = (precision @ means[..., None])[..., 0]  # Λ m, (B, k, d)
    slope = (scale_trils.mT @ (information - pull)[..., None])[..., 0]
    constant = ((information - pull / 2) * means).sum(-1)
    return multiplied_in_own_units(mixture, scale_trils.mT @ precision @ scale_trils, slope, constant)


def multiplied_in_own_units(
    mixture: MixtureTensors, curvature: Tensor, slope: Tensor, constant: Tensor
) -> MixtureTensors:
    """Mixtures with each component m + L u times exp(-uᵀ A u / 2 + bᵀ u + c), normalised.

    With F Fᵀ = (I + A)⁻¹ and F lower triangular, u becomes N(F Fᵀ b, F Fᵀ), and the component's weight is multiplied by
    det F exp(|Fᵀ b|² / 2 + c).

    Args:
        mixture: of k components.
        curvature: A, (B, k, d, d), positive semidefinite.
        slope: b, (B, k, d).
        constant: c, (B, k).
    """
    log_weights, means, scale_trils = mixture
    identity = torch.eye(means.shape[-1], dtype=means.dtype, device=means.device)
    upper = torch.linalg.cholesky((identity + curvature).flip(-2, -1)).flip(-2, -1)  # R Rᵀ = I + A, R upper
    factor = torch.linalg.solve_triangular(upper, identity.expand_as(upper), upper=True).mT
    whitened = (factor.mT @ slope[..., None])[..., 0]  # Fᵀ b, (B, k, d)
    shift = (scale_trils @ (factor @ whitened[..., None]))[..., 0]
    evidence = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) + whitened.square().sum(-1) / 2 + constant
    return MixtureTensors((log_weights + evidence).log_softmax(-1), means + shift, scale_trils @ factor)
