"""Linear observations of a latent vector whose prior is a mixture of Gaussians: the posterior is one, too.

Letters: B tasks, N rows, J latents, k components, d numbers per latent, m outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.distributions import GaussianMixture
from priorfit.priors.base import Prior, Reference, priors
from priorfit.priors.latent_law import LatentLaw
from priorfit.priors.latent_prior import LatentPrior
from priorfit.priors.meta_priors import mixtures_over, shifted_mixtures
from priorfit.priors.task import Task
from priorfit.sources import Source, pack, unpack

COMPONENTS = {"components": 10, "covariance": {"law": "inverse_gamma", "concentration": 1.0, "rate": 1.0}}


@priors.register("linear_gaussian")
class LinearGaussian(LatentPrior):
    """z = H x + e with e ~ N(0, noise I), and a mixture of Gaussians as the prior of x.

    H is the same for all tasks and is not observed. The defaults are the published study of dimension 8 with four
    outputs (Whittle et al. 2025, "Distribution Transformers", appendix C), whose H and noise are not given there.

    Args:
        dimension: d.
        outputs: m.
        matrix: H as m lists of d numbers, or None to draw its entries from N(0, 1).
        matrix_seed: of that draw.
        noise: variance of each entry of e.
        meta_prior: arguments of `MixtureMetaPrior`, without dimension.
        rows: N, the number of observations z, or [low, high].
        empty: share of batches without rows.
        candidates: points of the law that a task carries.

    Raises:
        ValueError: impossible numbers, or a matrix of another shape.
    """

    reference: Reference | None = "exact"

    def __init__(
        self,
        dimension: int = 8,
        outputs: int = 4,
        matrix: Sequence[Sequence[float]] | None = None,
        matrix_seed: int = 0,
        noise: float = 1.0,
        meta_prior: Mapping[str, Any] = COMPONENTS,
        rows: int | Sequence[int] = 1,
        empty: float = 0.1,
        candidates: int = 32,
    ) -> None:
        super().__init__(rows, empty, candidates)
        self.meta_prior = mixtures_over(dimension, meta_prior)
        if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1 or not noise > 0:
            raise ValueError(f"outputs must be a whole number >= 1 and noise positive; got {outputs!r}, {noise!r}.")
        self.noise, self.sources = noise, (Source("output", outputs),)
        if matrix is None:
            seeded = torch.Generator().manual_seed(matrix_seed)
            self.matrix = torch.randn(outputs, dimension, generator=seeded, dtype=torch.float64)
        else:
            self.matrix = torch.tensor(matrix, dtype=torch.float64)
        if self.matrix.shape != (outputs, dimension):
            raise ValueError(f"matrix must be {outputs} lists of {dimension} numbers, not {tuple(self.matrix.shape)}.")

    def shifts(self) -> dict[str, Prior]:
        """Other noise than a network was trained for, which it is not told, and other mixtures, which it is."""
        changes = {"noise variance × 4": {"noise": 4 * self.noise}, "noise variance × 0.25": {"noise": self.noise / 4}}
        return self.changed({**changes, **shifted_mixtures(self.arguments["meta_prior"])})

    def draw_prior(self, batch_size: int, generator: Generator) -> LatentLaw:
        """Draws the mixtures."""
        return self.meta_prior.draw(batch_size, generator)

    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Draws z, (B, N, m + 1), given x (B, d)."""
        clean = latents.double() @ self.matrix.to(latents.device).mT  # (B, m)
        shape = (len(latents), n_rows, len(self.matrix))
        noise = torch.randn(shape, generator=generator, dtype=torch.float64, device=latents.device)
        return pack(self.sources, {"output": clean[:, None] + self.noise**0.5 * noise})

    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        """log p(rows | x) of rows (B, N, m + 1) and latents (B, J, d): (B, J)."""
        clean = latents.double() @ self.matrix.to(latents.device).mT  # (B, J, m)
        difference = self._outputs(rows)[:, None] - clean[:, :, None]  # (B, J, N, m)
        return (-0.5 * difference.square().sum((2, 3)) / self.noise).float()

    def posterior(self, task: Task) -> GaussianMixture:
        """The exact posterior of x, batch shape (B,), float64."""
        prior = GaussianMixture.from_packed(task.observed.prior.double(), self.matrix.shape[1])
        outputs = self._outputs(task.observed.rows)  # (B, N, m)
        n_rows = outputs.shape[1]
        if not n_rows:
            return prior
        noise = self.noise / n_rows * torch.eye(len(self.matrix), dtype=torch.float64, device=outputs.device)
        return prior.update(self.matrix.to(outputs.device), noise, outputs.mean(1))[0]  # the mean is sufficient

    def _outputs(self, rows: Tensor) -> Tensor:
        """z, (B, N, m), float64."""
        return unpack(self.sources, rows)["output"][0].double()
