"""Returns of many assets, driven by a few factors whose log volatilities are to be found: one update of their belief.

A filter alternates this update with the linear dynamics below.
Letters: B tasks, N rows, J latents, d factors, m assets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.priors.base import Prior, priors
from priorfit.priors.latent_law import MixtureLaw
from priorfit.priors.latent_prior import LatentPrior
from priorfit.priors.meta_priors import mixtures_over, shifted_mixtures
from priorfit.sources import Source, pack, unpack

PERSISTENCE, SHOCK = 0.95, 0.3  # x' = 0.95 x + N(0, 0.3²): stationary with a standard deviation near one

BELIEFS = {
    "components": 4,
    "concentration": [0.25, 2.0],
    "centre": 1.0,
    "spread": [0.03, 0.5],
    "covariance": {"law": "log_uniform", "scale": [0.4, 1.0], "ratio": 1.25, "freedom": 60.0},
}


@priors.register("factor_volatility")
class FactorVolatility(LatentPrior):
    """z ~ N(0, F diag(exp(x)) F^T + I), and a mixture of Gaussians as the prior of the log volatilities x.

    The loadings F are the same for all tasks and are not observed. The default mixtures look like the beliefs of a
    filter over a hundred steps.

    Args:
        factors: d.
        assets: m.
        loadings_seed: of the draw of F, whose entries are N(0, 1).
        meta_prior: arguments of `MixtureMetaPrior`, without dimension.
        rows: N, the number of observations z, or [low, high].
        empty: share of batches without rows.
        candidates: points of the law that a task carries.

    Attributes:
        loadings: F, (m, d), float64.

    Raises:
        ValueError: impossible numbers.

    Source: Whittle et al. 2025, "Distribution Transformers: Fast Approximate Bayesian Inference With On-The-Fly Prior
    Adaptation", section 4.3.2, which does not give the numbers of the dynamics.
    """

    def __init__(
        self,
        factors: int = 10,
        assets: int = 30,
        loadings_seed: int = 0,
        meta_prior: Mapping[str, Any] = BELIEFS,
        rows: int | Sequence[int] = 1,
        empty: float = 0.1,
        candidates: int = 8,
    ) -> None:
        super().__init__(rows, empty, candidates)
        self.meta_prior = mixtures_over(factors, meta_prior)
        if isinstance(assets, bool) or not isinstance(assets, int) or assets < 1:
            raise ValueError(f"assets must be a whole number >= 1, not {assets!r}.")
        seeded = torch.Generator().manual_seed(loadings_seed)
        self.loadings = torch.randn(assets, factors, generator=seeded, dtype=torch.float64)
        self.sources = (Source("returns", assets),)

    def shifts(self) -> dict[str, Prior]:
        """Other loadings than a network was trained for, which it is not told, and other beliefs, which it is."""
        other = {"other loadings": {"loadings_seed": self.arguments["loadings_seed"] + 1}}
        return self.changed({**other, **shifted_mixtures(self.arguments["meta_prior"])})

    def draw_prior(self, batch_size: int, generator: Generator) -> MixtureLaw:
        """Draws the mixtures."""
        return self.meta_prior.draw(batch_size, generator)

    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Draws returns, (B, N, m + 1), given log volatilities (B, d)."""
        loadings = self.loadings.to(latents)
        options: dict[str, Any] = {"generator": generator, "dtype": latents.dtype, "device": latents.device}
        factors = torch.randn(len(latents), n_rows, loadings.shape[1], **options) * (latents / 2).exp()[:, None]
        noise = torch.randn(len(latents), n_rows, loadings.shape[0], **options)
        return pack(self.sources, {"returns": factors @ loadings.T + noise})

    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        """log p(rows | x) of rows (B, N, m + 1) and latents (B, J, d): (B, J).

        With S = diag(exp(x / 2)) and M = I + S F^T F S, the determinant of the covariance is that of M, and its
        inverse I - F S M^-1 S F^T: all matrices to be factorised are d x d.
        """
        returns = unpack(self.sources, rows)["returns"][0].to(latents)  # (B, N, m)
        loadings = self.loadings.to(latents)
        scale = (latents / 2).exp()  # (B, J, d)
        inner = scale[..., :, None] * (loadings.T @ loadings) * scale[..., None, :]
        inner.diagonal(dim1=-2, dim2=-1).add_(1)
        tril = torch.linalg.cholesky(inner)
        seen = scale[..., None] * (returns @ loadings).mT[:, None]  # (B, J, d, N)
        explained = torch.linalg.solve_triangular(tril, seen, upper=False).square().sum((2, 3))
        log_det = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        n_rows, n_assets = returns.shape[1:]
        rest = returns.square().sum((1, 2))[:, None] + n_rows * n_assets * math.log(2 * math.pi)
        return (explained - rest) / 2 - n_rows * log_det


def transition(factors: int = 10) -> Tensor:
    """A of the dynamics x' = A x + q, (d, d)."""
    return PERSISTENCE * torch.eye(factors)


def process_noise(factors: int = 10) -> Tensor:
    """The covariance of q, (d, d)."""
    return SHOCK**2 * torch.eye(factors)
