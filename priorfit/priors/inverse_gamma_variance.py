"""The variance of a normal law with known mean: an inverse gamma prior, and its posterior in closed form.

Letters: B tasks, N rows, J latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.distributions import ScalarEvent
from priorfit.priors.base import Prior, Reference, priors
from priorfit.priors.latent_law import InverseGammaLaw, LatentLaw
from priorfit.priors.latent_prior import LatentPrior
from priorfit.priors.laws import scaled
from priorfit.priors.meta_priors import FamilyMetaPrior
from priorfit.priors.task import Task
from priorfit.sources import Source, pack, unpack

WIDE = {"law": "inverse_gamma", "concentration": 4.0, "rate": 6.0}


@priors.register("inverse_gamma_variance")
class InverseGammaVariance(LatentPrior):
    r"""z ~ N(0, x) with x ~ InverseGamma(a, b), whose posterior is InverseGamma(a + N / 2, b + sum z² / 2).

    The latent is x, a positive number. The defaults are the published "wide" meta-prior; concentration 10000 and rate
    20000 for both are the "narrow" one (Whittle et al. 2025, "Distribution Transformers", section 4.1).

    Args:
        concentration: a, a number or the arguments of a `Law`.
        rate: b, likewise.
        rows: N, the number of observations z, or [low, high].
        empty: share of batches without rows.
        candidates: points of the law that a task carries.

    Raises:
        ValueError: impossible laws or numbers.
    """

    reference: Reference | None = "exact"
    sources = (Source("value", 1),)

    def __init__(
        self,
        concentration: float | Mapping[str, Any] = WIDE,
        rate: float | Mapping[str, Any] = WIDE,
        rows: int | Sequence[int] = 1,
        empty: float = 0.1,
        candidates: int = 32,
    ) -> None:
        super().__init__(rows, empty, candidates)
        self.meta_prior = FamilyMetaPrior("inverse_gamma", concentration=concentration, rate=rate)

    def shifts(self) -> dict[str, Prior]:
        """Priors of larger or smaller variances, and narrower ones, than the meta-prior's."""
        concentration, rate = self.arguments["concentration"], self.arguments["rate"]
        return self.changed(
            {
                "prior's rate × 4": {"rate": scaled(rate, 4)},
                "prior's rate × 0.25": {"rate": scaled(rate, 0.25)},
                "prior's concentration × 4": {"concentration": scaled(concentration, 4), "rate": scaled(rate, 4)},
            }
        )

    def draw_prior(self, batch_size: int, generator: Generator) -> LatentLaw:
        """Draws a and b."""
        return self.meta_prior.draw(batch_size, generator)

    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Draws z, (B, N, 2), given x (B, 1)."""
        noise = torch.randn(len(latents), n_rows, 1, generator=generator, device=latents.device)
        return pack(self.sources, {"value": latents.sqrt()[:, None] * noise})

    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        """log p(rows | x) of rows (B, N, 2) and latents (B, J, 1): (B, J)."""
        variance = latents[..., 0].double()
        squares = self._squares(rows)[:, None]
        return (-0.5 * (rows.shape[1] * variance.log() + squares / variance)).float()

    def posterior(self, task: Task) -> ScalarEvent:
        """The exact posterior of x, batch shape (B,), float64."""
        prior = InverseGammaLaw.from_tokens(task.observed.prior)
        rows = task.observed.rows
        after = InverseGammaLaw(prior.first + rows.shape[1] / 2, prior.second + self._squares(rows) / 2)
        return ScalarEvent(after.distribution)

    def _squares(self, rows: Tensor) -> Tensor:
        """sum z², (B,), float64."""
        values, _ = unpack(self.sources, rows)["value"]
        return values.double().square().sum((1, 2))
