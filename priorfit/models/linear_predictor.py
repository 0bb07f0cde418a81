"""The best linear predictor of a prior's curves, from each of their prefixes and for several noise levels at once.

Letters: B curves, n observed steps, m queries, L whole steps, K basis functions, G noise levels; P prefixes per curve
(m, or 1 where all queries of every curve see the same); Z is B, or 1 where all curves share their steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

COVERED = 0.003  # share of the prior's noise levels left out at either end
FINEST = 1e-6  # the least noise that is told from none: values in the unit range are float32


class Prediction(NamedTuple):
    """What the linear predictor says of each query at each noise level, float64."""

    mean: Tensor  # (B, m, G) of the value at the query
    std: Tensor  # (B, m, G) of the noisy value
    log_weights: Tensor  # (B, m, G) log probability of the noise levels given the prefix
    coefficients: Tensor  # (B, P, G, K) posterior means, standard normal a priori


class LinearPredictor(nn.Module):
    r"""A Gaussian process with the mean and covariance of a prior's noise-free curves.

    Curves are mean(t) + sum_k c_k basis_k(t) with c ~ N(0, I), the basis being the leading eigenvectors of the prior's
    covariance times the roots of their eigenvalues. Given a prefix and a noise level the posterior of c is Gaussian
    and known in closed form; the levels are weighed by the prefix's marginal likelihood. For a prefix of any length
    these numbers hold all that it says of a curve in the span of the basis. Between whole steps the basis is
    interpolated linearly; beyond the last one it stays what it is there.

    Args:
        length: L; the prior's curves live on the steps 1 … L.
        n_basis: K, at most L.
        n_levels: G.

    Attributes:
        mean: (L,); basis: (L, K); log_levels: log standard deviation of the noise, (G,), increasing;
        log_level_weights: their log probability a priori, (G,). All float64, set by `fit`.
    """

    mean: Tensor
    basis: Tensor
    log_levels: Tensor
    log_level_weights: Tensor

    def __init__(self, length: int, n_basis: int, n_levels: int) -> None:
        super().__init__()
        t = torch.arange(1, length + 1, dtype=torch.float64)
        waves = torch.arange(n_basis, dtype=torch.float64)
        cosines = torch.cos(math.pi * waves * t.log()[:, None] / math.log(length)) / (1 + waves).square()
        self.register_buffer("mean", torch.full((length,), 0.5, dtype=torch.float64))
        self.register_buffer("basis", 0.2 * cosines)
        self.register_buffer("log_levels", torch.linspace(-7, -1, n_levels, dtype=torch.float64))
        self.register_buffer("log_level_weights", torch.full((n_levels,), -math.log(n_levels), dtype=torch.float64))

    def fit(self, laws: Sequence[Distribution]) -> None:
        """Takes moments and noise levels from the laws of curves on all steps 1 … L, batch shapes (…, L)."""
        curves = torch.cat([law.mean for law in laws]).double()
        self.mean = curves.mean(0)
        eigenvalues, vectors = torch.linalg.eigh(curves.T.cov())
        n_basis, n_levels = self.basis.shape[1], len(self.log_levels)
        self.basis = vectors[:, -n_basis:].flip(1) * eigenvalues[-n_basis:].flip(0).clamp(min=0).sqrt()
        log_noise = torch.cat([law.stddev for law in laws]).double().clamp(min=FINEST).log().mean(1)
        low, high = log_noise.sort().values[[int(share * (len(log_noise) - 1)) for share in (COVERED, 1 - COVERED)]]
        self.log_levels = low + (high - low) * torch.linspace(0, 1, n_levels, dtype=torch.float64)
        middles = (self.log_levels[1:] + self.log_levels[:-1]) / 2
        counts = torch.bincount(torch.bucketize(log_noise, middles), minlength=n_levels)
        self.log_level_weights = (counts + 1.0).double().log().log_softmax(0)

    def forward(self, steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> Prediction:
        """Predicts the queries, each from the first `visible` of steps and values, all as in `Curves`."""
        lengths = visible[:, :1] if (visible == visible[:, :1]).all() else visible  # (B, P)
        seen = _shared(lengths)[..., None] > torch.arange(steps.shape[1], device=steps.device)
        seen = seen.double()  # (Z, P, n)
        mean, basis = self.at(_common(steps, visible))  # (Z, n), (Z, n, K)
        residual = values.double() - mean  # (B, n)
        gram = (seen @ _outer(basis)).unflatten(-1, (basis.shape[-1], -1))  # (Z, P, K, K)
        covariance, log_determinant = self._posterior(gram)
        projected = seen @ (basis * residual[..., None])  # (B, P, K)
        precision = (-2 * self.log_levels).exp()  # (G,)
        coefficients = torch.einsum("bpgkl,bpl->bpgk", covariance, projected) * precision[:, None]
        # The misfit is written so that it is least at the exact coefficients: their rounding, which low noise
        # magnifies, then hardly matters.
        pull = torch.einsum("bpgk,bpkl->bpgl", coefficients, gram) - 2 * projected[:, :, None]
        fit = (coefficients * pull).sum(-1)  # (B, P, G)
        misfit = precision * (seen @ residual.square()[..., None] + fit) + coefficients.square().sum(-1)
        evidence = -misfit / 2 - lengths[..., None] * self.log_levels - log_determinant / 2
        log_weights = (self.log_level_weights + evidence).log_softmax(-1)
        return self._predict(query_steps, covariance, coefficients, log_weights)

    def at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and basis at any steps (…): (…) and (…, K)."""
        position = (steps.double() - 1).clamp(0, len(self.mean) - 1)
        index = position.long().clamp(max=len(self.mean) - 2)
        table = torch.cat([self.mean[:, None], self.basis], 1)  # (L, 1 + K)
        value = torch.lerp(table[index], table[index + 1], (position - index)[..., None])
        return value[..., 0], value[..., 1:]

    def _posterior(self, gram: Tensor) -> tuple[Tensor, Tensor]:
        """Covariance of the coefficients (Z, P, G, K, K), and log determinant of its inverse (Z, P, G)."""
        scaled = gram[:, :, None] * (-2 * self.log_levels).exp()[:, None, None]
        factor = torch.linalg.cholesky(scaled + torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device))
        return torch.cholesky_inverse(factor), 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _predict(
        self, query_steps: Tensor, covariance: Tensor, coefficients: Tensor, log_weights: Tensor
    ) -> Prediction:
        """Moments at each query, from the coefficients' (Z, P, G, K, K) and (B, P, G, K)."""
        mean, basis = self.at(query_steps)  # (B, m), (B, m, K)
        means = mean[..., None] + torch.einsum("bmgk,bmk->bmg", coefficients, basis)
        variance = torch.einsum("bmgc,bmc->bmg", covariance.flatten(-2), _outer(basis)).clamp(min=0)
        std = (variance + (2 * self.log_levels).exp()).sqrt()
        return Prediction(means, std, log_weights.expand_as(means), coefficients)


def _outer(basis: Tensor) -> Tensor:
    """Products of all pairs of basis functions, (…, K) to (…, K²)."""
    return (basis[..., :, None] * basis[..., None, :]).flatten(-2)


def _shared(rows: Tensor) -> Tensor:
    """One row, (1, …), for all where they are equal."""
    return rows[:1] if (rows == rows[:1]).all() else rows


def _common(steps: Tensor, visible: Tensor) -> Tensor:
    """One row of steps, (1, n), for all curves where they agree in whatever is visible of them."""
    used = visible.amax(1)  # (B,)
    longest = steps[used.argmax()]
    unseen = torch.arange(steps.shape[1], device=steps.device) >= used[:, None]
    return longest[None] if ((steps == longest) | unseen).all() else steps
