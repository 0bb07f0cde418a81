"""Checks and factors of covariance matrices, and normal densities of many points at once.

Letters: k components, d numbers, J points, "..." batch shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TOLERANCE = 1e-3  # by which weights may miss a sum of one, and matrices symmetry relative to their largest entry


def normal_log_prob(points: Tensor, means: Tensor, scale_trils: Tensor) -> Tensor:
    """Log density of points (..., J, d) under N(mean (..., d), L L^T) with L (..., d, d): (..., J)."""
    dtype = torch.promote_types(points.dtype, means.dtype)
    scale_trils = scale_trils.to(dtype)
    difference = (points - means[..., None, :]).to(dtype).mT  # (..., d, J)
    whitened = torch.linalg.solve_triangular(scale_trils, difference, upper=False)
    log_det = scale_trils.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
    return -0.5 * whitened.square().sum(-2) - log_det - 0.5 * means.shape[-1] * math.log(2 * math.pi)


def factor(covariances: Tensor) -> Tensor:
    """Cholesky factors of covariance matrices (..., d, d), computed in float64 and returned in their precision.

    Raises:
        ValueError: matrices that are not finite, not symmetric or not positive definite.
    """
    wide = covariances.double()
    tril, info = torch.linalg.cholesky_ex(wide)
    if torch.compiler.is_compiling():
        return tril.to(covariances.dtype)
    largest = wide.abs().amax((-2, -1), keepdim=True)
    if not wide.isfinite().all() or ((wide - wide.mT).abs() > TOLERANCE * largest).any():
        raise ValueError("Covariance matrices must be finite and symmetric.")
    if info.any():
        raise ValueError(
            f"{int((info > 0).sum())} of {info.numel()} covariance matrices are not positive definite: a variance is "
            "not positive, or some numbers are exact functions of others."
        )
    return tril.to(covariances.dtype)


def check_weights(weights: Tensor) -> None:
    """Refuses weights (..., k) that are negative, NaN, or do not sum to one.

    Raises:
        ValueError: what is wrong.
    """
    total = weights.sum(-1)
    if not (weights >= 0).all() or not ((total - 1).abs() <= TOLERANCE).all():
        raise ValueError(
            "Weights of a mixture must not be negative and must sum to one; their sums are between "
            f"{total.min().item():.6g} and {total.max().item():.6g}. Divide them by their sum if they are relative."
        )


def check_components(log_weights: Tensor, means: Tensor, scale_trils: Tensor) -> None:
    """Refuses parameters of a mixture of Gaussians that are not log weights, finite means and Cholesky factors.

    Raises:
        ValueError: what is wrong.
    """
    check_weights(log_weights.exp())
    if not means.isfinite().all() or not scale_trils.isfinite().all():
        raise ValueError("Means and scale_trils of a mixture must be finite.")
    if not (scale_trils.diagonal(dim1=-2, dim2=-1) > 0).all() or scale_trils.triu(1).any():
        raise ValueError(
            "scale_trils must be lower triangular with a positive diagonal; from covariance matrices, use "
            "GaussianMixture.from_moments."
        )
