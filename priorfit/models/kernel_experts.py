"""Gaussian processes as experts: their predictions, and those for each context row without it, in closed form.

Letters: B tasks, n context rows, m queries, F features, e coordinates per feature, K targets (one number, or one
indicator per class), S experts, V = 2 views of the columns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

LINEAR, SQUARED, ROUGH = range(3)  # kinds of kernels
FIXED = (  # view, kind, length scale, noise variance over signal variance
    (0, LINEAR, 0.7, 0.3),
    (1, LINEAR, 0.7, 0.3),
    (0, SQUARED, 1.0, 0.5),
    (1, SQUARED, 1.0, 0.5),
    (1, SQUARED, 2.0, 0.1),
    (0, ROUGH, 1.0, 0.1),
    (1, ROUGH, 0.4, 0.1),
)
ROUGHNESS = 0.6  # of the rough adaptive kernels: a factor of their inverse length scales
SPREAD = 2.0  # prior standard deviation of a log squared inverse length scale
MOMENTUM, RATE = 0.5, 0.5
SAFE = 1e-3  # relative noise from which float32 is precise enough to search
LARGEST_SEARCH = 256  # rows, evenly spaced among the context's, that length scales are searched with


class Kernel(NamedTuple):
    """Fitted Gaussian processes."""

    inverse: Tensor  # (S, B, n, n), of the kernel matrix with noise
    weights: Tensor  # (S, B, n, K)
    variance: Tensor  # (S, B), of the signal, added up over the K targets; 1 where these are all zero


class Fitted(NamedTuple):
    """All that predictions need of a context."""

    points: Tensor  # (V, B, n, F, e)
    fixed: Kernel
    adaptive: Kernel
    log_weights: Tensor  # (V, B, F): log squared inverse length scales of the adaptive experts
    log_noise: Tensor  # (V, B): their noise over their signal variance


class Predictions(NamedTuple):
    """What experts say of rows."""

    mean: Tensor  # (B, rows, S, K)
    std: Tensor  # (B, rows, S): root of the variances of all K targets together


class KernelExperts(nn.Module):
    """Gaussian process regression with fixed kernels, and with kernels whose length scales fit each context.

    Fixed experts have one length scale for all features. Adaptive ones have a length scale for each feature (automatic
    relevance determination) and noise, found for each view in a few steps up the log evidence of a squared exponential
    kernel. Its gradient is known in closed form, all matrices are small, and nothing is differentiated through. A
    second kernel with the same length scales, exp(-Σ_f |x_f - x'_f| / ℓ_f), is to axis-aligned steps, which trees are
    good at, what the first is to smooth functions.

    Args:
        n_steps: steps of the search for length scales.
        least_noise: smallest noise variance over signal variance of the adaptive experts.
    """

    def __init__(self, n_steps: int = 10, least_noise: float = 1e-3) -> None:
        super().__init__()
        self.n_steps, self.least_noise = n_steps, least_noise
        self.n_experts = len(FIXED) + 4

    def fit(self, points: Tensor, targets: Tensor) -> tuple[Fitted, Predictions]:
        """Conditions on points (V, B, n, F, e) with centred targets (B, n, K).

        Returns:
            The fitted experts, and their predictions for each context row from all the others.
        """
        rows = _spaced(targets.shape[1], LARGEST_SEARCH, targets.device)
        log_weights, log_noise = self._search(points[:, :, rows], targets[:, rows])
        covariance, noise = _fixed(points, points)
        fixed = condition(covariance, noise[:, None].expand(-1, len(targets)), targets)
        targets = targets.double()
        adaptive = condition(_adaptive(points, points, log_weights), log_noise.exp().repeat(2, 1), targets)
        left_out = [leave_one_out(kernel, targets) for kernel in (fixed, adaptive)]
        return Fitted(points, fixed, adaptive, log_weights, log_noise), joined(left_out)

    def predict(self, fitted: Fitted, points: Tensor) -> Predictions:
        """Predictions at points (V, B, m, F, e)."""
        covariance, noise = _fixed(points, fitted.points)
        own = torch.stack([_own(points[view], kind, scale) for view, kind, scale, _ in FIXED])  # (S, B, m)
        fixed = predictions_at(fitted.fixed, covariance, own + noise[:, None, None])
        total = 1 + fitted.log_noise.exp().repeat(2, 1)[..., None].expand(-1, -1, points.shape[2])
        covariance = _adaptive(points, fitted.points, fitted.log_weights)
        return joined([fixed, predictions_at(fitted.adaptive, covariance, total)])

    def _search(self, points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Log squared inverse length scales (V, B, F) and log relative noise (V, B), by smoothed gradient steps."""
        n_views, batch, n, n_features, _ = points.shape
        precise = torch.float64 if self.least_noise < SAFE else torch.float32
        points, targets, start = points.to(precise), targets.to(precise), -math.log(n_features)
        current = torch.full((n_views, batch, n_features + 1), start, dtype=precise, device=points.device)
        current[..., -1] = math.log(0.1)
        velocity = torch.zeros_like(current)
        low = torch.full_like(current[0, 0], -12.0)
        low[-1] = math.log(self.least_noise)
        for _ in range(self.n_steps if n > 1 else 0):
            gradient = _evidence_gradient(points, targets, current[..., :-1], current[..., -1])
            gradient[..., :-1] -= (current[..., :-1] - start) / SPREAD**2
            step = gradient / (gradient.square() + (0.02 * n + 0.5) ** 2).sqrt()
            velocity = MOMENTUM * velocity + (1 - MOMENTUM) * step
            current = (current + RATE * velocity).maximum(low).clamp(max=4.0)
        return current[..., :-1].double(), current[..., -1].double()


def _spaced(n: int, most: int, device: torch.device) -> Tensor:
    """Indices of at most `most` of n rows, evenly spaced: rows may be sorted, by class for instance."""
    if n <= most:
        return torch.arange(n, device=device)
    return torch.linspace(0, n - 1, most, device=device).round().long()


def _evidence_gradient(points: Tensor, targets: Tensor, log_weights: Tensor, log_noise: Tensor) -> Tensor:
    """Gradient of the log evidence per target by log weights and log noise, (V, B, F + 1).

    With the signal variance s_k² = y_kᵀ K⁻¹ y_k / n at its best for each target, the derivative by a parameter is
    tr(A dK) / 2 with A = mean_k α_k α_kᵀ / s_k² - K⁻¹.
    """
    scaled = _scaled(points, log_weights)  # (V, B, n, F e)
    covariance = _gaussian(scaled, scaled)
    kernel = condition(covariance, log_noise.exp(), targets)
    per_target = (targets * kernel.weights).mean(-2, keepdim=True)  # (V, B, 1, K)
    used = (per_target > 1e-12).sum(-1, keepdim=True).clamp(min=1)
    outer = (kernel.weights / per_target.clamp(min=1e-12)) @ kernel.weights.mT / used
    difference = outer - kernel.inverse
    moved = difference * covariance
    by_coordinate = -(scaled * (moved.sum(-1, keepdim=True) * scaled - moved @ scaled)).sum(-2) / 2
    by_feature = by_coordinate.unflatten(-1, points.shape[-2:]).sum(-1)
    by_noise = difference.diagonal(dim1=-2, dim2=-1).sum(-1) * log_noise.exp() / 2
    return torch.cat([by_feature, by_noise[..., None]], -1)


def _scaled(points: Tensor, log_weights: Tensor) -> Tensor:
    """Coordinates divided by their features' length scales, (V, B, rows, F e), as precise as the latter."""
    return (points.to(log_weights) * (log_weights / 2).exp()[:, :, None, :, None]).flatten(-2)


def _gaussian(first: Tensor, second: Tensor) -> Tensor:
    """The squared exponential kernel."""
    return (-squared_distances(first, second) / 2).exp()


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Of points (…, a, E) and (…, b, E): (…, a, b)."""
    squares = first.square().sum(-1)[..., None] + second.square().sum(-1)[..., None, :]
    return (squares - 2 * first @ second.mT).clamp(min=0)


def _adaptive(first: Tensor, second: Tensor, log_weights: Tensor) -> Tensor:
    """The smooth, then the rough kernels (2 V, B, a, b) of points (V, B, a, F, e) and (V, B, b, F, e), float64."""
    smooth = _gaussian(_scaled(first, log_weights), _scaled(second, log_weights))
    distance = torch.zeros_like(smooth, dtype=first.dtype)
    rates = ROUGHNESS * (log_weights / 2).exp().to(first.dtype)
    for feature in range(first.shape[3]):  # all at once would take F times the memory
        pair = first[:, :, :, feature], second[:, :, :, feature]
        apart = torch.cdist(*pair, compute_mode="donot_use_mm_for_euclid_dist")
        distance += rates[:, :, feature, None, None] * apart
    return torch.cat([smooth, (-distance).exp().double()])


def _fixed(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel matrices (S, B, a, b) of points (V, B, a, F, e) and (V, B, b, F, e), and relative noise (S,)."""
    unit = first.shape[-2] ** -0.5
    first, second = first.flatten(-2) * unit, second.flatten(-2) * unit
    products, squared = first @ second.mT, squared_distances(first, second)
    matrices = []
    for view, kind, scale, _ in FIXED:
        if kind == LINEAR:
            matrices.append(products[view] / scale**2 + 0.1)
        elif kind == SQUARED:
            matrices.append((-squared[view] / (2 * scale**2)).exp())
        else:
            matrices.append((-squared[view].sqrt() / scale).exp())
    noise = torch.tensor([noise for *_, noise in FIXED], device=first.device)
    return torch.stack(matrices), noise


def _own(points: Tensor, kind: int, scale: float) -> Tensor:
    """Kernel of each of the points (B, rows, F, e) with itself, (B, rows)."""
    if kind != LINEAR:
        return torch.ones_like(points[..., 0, 0])
    return points.square().sum((-2, -1)) / (points.shape[-2] * scale**2) + 0.1


def condition(covariance: Tensor, noise: Tensor, targets: Tensor) -> Kernel:
    """Conditions kernels (S, B, n, n) with relative noise (S, B) on targets (B, n, K)."""
    matrix = covariance.clone()
    matrix.diagonal(dim1=-2, dim2=-1).add_(noise[..., None])
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    weights = inverse @ targets.expand(len(matrix), -1, -1, -1)
    variance = (targets * weights).sum((-2, -1)) / max(1, targets.shape[1])
    return Kernel(inverse, weights, torch.where(variance > 0, variance, 1.0))  # targets of zeros say nothing of it


def leave_one_out(kernel: Kernel, targets: Tensor) -> Predictions:
    """Predictions for each context row from all others (Rasmussen and Williams 2006, section 5.4.2)."""
    precision = kernel.inverse.diagonal(dim1=-2, dim2=-1)  # (S, B, n)
    mean = targets.to(precision.dtype) - kernel.weights / precision[..., None]
    std = (kernel.variance[..., None] / precision).clamp(min=1e-12).sqrt()
    return Predictions(mean, std)


def predictions_at(kernel: Kernel, covariance: Tensor, total: Tensor) -> Predictions:
    """Predictions from kernels with the context (S, B, m, n) and total prior variances of targets (S, B, m)."""
    mean = covariance @ kernel.weights
    known = ((covariance @ kernel.inverse) * covariance).sum(-1)
    std = (kernel.variance[..., None] * (total - known).clamp(min=1e-6)).clamp(min=1e-12).sqrt()
    return Predictions(mean, std)


def joined(parts: list[Predictions]) -> Predictions:
    """Predictions of all experts, the fixed ones first, float32, batch first."""
    mean = torch.cat([part.mean.float() for part in parts]).permute(1, 2, 0, 3)
    return Predictions(mean, torch.cat([part.std.float() for part in parts]).permute(1, 2, 0))
