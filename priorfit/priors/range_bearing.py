"""A point that moves in the plane, seen by a rangefinder and a bearing sensor at the origin: one update of its belief.

The state is (p1, v1, p2, v2): position and velocity along two axes, in km and km per step. A filter alternates this
update with the linear dynamics below. Letters: B tasks, N rows, D numbers per row, J latents, k components.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.distributions import GaussianMixture
from priorfit.priors.base import Prior, Reference, priors
from priorfit.priors.latent_law import MixtureLaw
from priorfit.priors.latent_posterior import LatentPosterior
from priorfit.priors.latent_prior import LatentPrior
from priorfit.priors.meta_priors import mixtures_over, shifted_mixtures
from priorfit.priors.range_bearing_evidence import log_evidence
from priorfit.priors.range_bearing_sensors import SOURCES, bearing, draw_bearing, draw_range, log_likelihood
from priorfit.priors.task import Task
from priorfit.sources import pack

POSITIONS = [0, 2]  # of the state's numbers
KEPT = math.exp(-1)  # share of a velocity that is left after one step of unit damping
_STEP = torch.tensor([[1.0, 1 - KEPT], [0.0, KEPT]])
_PUSH = torch.tensor([[0.1], [0.2]])  # of one N(0, 1) per axis and step
TRANSITION = torch.block_diag(_STEP, _STEP)  # A of x' = A x + q, (4, 4)
PROCESS_NOISE = torch.block_diag(_PUSH @ _PUSH.T, _PUSH @ _PUSH.T)  # Q, the covariance of q, of rank 2
INITIAL_MEAN = torch.tensor([1.0, 0.0, 1.0, 0.0])  # of the first state, before it is observed
INITIAL_COVARIANCE = torch.eye(4)

BELIEFS = {
    "components": 4,
    "concentration": [0.5, 4.0],
    "centre": [3.5, 0.3, 3.5, 0.3],
    "mean_covariance": [[1.0, 0.5, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 1.0]],
    "spread": [0.03, 1.5],
    "covariance": {"law": "log_uniform", "scale": [0.07, 1.0], "ratio": 2.0},
}


@priors.register("range_bearing")
class RangeBearing(LatentPrior):
    r"""The state given a mixture of Gaussians as its prior, one range and one bearing.

    The range is 0.7 N(r, (0.1 (r + 1))²) + 0.2 Exp(1) + 0.1 U(0, limit), clipped to [0, limit], at distance r; the
    bearing is atan2(p1, p2) + N(0, 0.1²), in [-π, π). One row observes either, one of the two at random, two
    rows both. The default mixtures cover the beliefs of a filter over a hundred steps, most of which are predictions: a
    `predicted` mixture is what one step of the dynamics makes of a drawn one.

    Args:
        limit: of the rangefinder, km.
        meta_prior: arguments of `MixtureMetaPrior`, without dimension.
        predicted: share of tasks whose prior is a predicted mixture.
        rows: 0, 1 or 2, or [low, high].
        empty: share of batches without rows.
        candidates: points of the law that a task carries.

    Raises:
        ValueError: impossible numbers.

    Source: Whittle et al. 2025, "Distribution Transformers: Fast Approximate Bayesian Inference With On-The-Fly Prior
    Adaptation", section 4.3.1, and the code released with it, with one likelihood for drawing and for weighing.
    """

    reference: Reference | None = "quadrature"
    sources = SOURCES
    most_rows = 2

    def __init__(
        self,
        limit: float = 20.0,
        meta_prior: Mapping[str, Any] = BELIEFS,
        predicted: float = 0.75,
        rows: int | Sequence[int] = 2,
        empty: float = 0.1,
        candidates: int = 32,
    ) -> None:
        super().__init__(rows, empty, candidates)
        if not 0 < limit < math.inf:
            raise ValueError(f"limit must be a positive distance, not {limit!r}.")
        if isinstance(predicted, bool) or not isinstance(predicted, int | float) or not 0 <= predicted <= 1:
            raise ValueError(f"predicted is a share of tasks, from 0 to 1, not {predicted!r}.")
        self.limit, self.predicted = limit, predicted
        self.meta_prior = mixtures_over(4, meta_prior)

    def shifts(self) -> dict[str, Prior]:
        """A rangefinder of half the range, which a network is not told, and other beliefs, which it is."""
        limit = {"rangefinder's limit × 0.5": {"limit": self.limit / 2}}
        return self.changed({**limit, **shifted_mixtures(self.arguments["meta_prior"])})

    def draw_prior(self, batch_size: int, generator: Generator) -> MixtureLaw:
        """Draws the mixtures."""
        drawn = self.meta_prior.draw(batch_size, generator).mixture
        moved = drawn.affine(TRANSITION.to(drawn.means.device), None, PROCESS_NOISE.to(drawn.means.device))
        chosen = torch.rand(batch_size, 1, 1, generator=generator, device=generator.device) < self.predicted
        means = torch.where(chosen, moved.means, drawn.means)
        scale_trils = torch.where(chosen[..., None], moved.scale_trils, drawn.scale_trils)
        return MixtureLaw(GaussianMixture(drawn.log_weights, means, scale_trils, validate_args=False))

    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Draws ranges and bearings of states (B, 4): rows (B, N, 4)."""
        distance, angle = polar(latents)
        seen = {"range": draw_range(distance, self.limit, generator), "bearing": draw_bearing(angle, generator)}
        kept = list(seen)
        if n_rows == 1:
            kept = [kept[int(torch.randint(2, (), generator=generator, device=generator.device))]]
        return pack(SOURCES, {name: seen[name][:, None, None][:, :n_rows] for name in kept})

    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        """log p(rows | state) of rows (B, N, 4) and states (B, J, 4): (B, J)."""
        return log_likelihood(rows, *polar(latents), self.limit)

    def posterior(self, task: Task) -> LatentPosterior:
        """The posterior of the state, batch shape (B,), float64; its evidence by quadrature over the two positions."""
        prior, rows = GaussianMixture.from_packed(task.observed.prior.double(), 4), task.observed.rows.double()
        positions = prior.marginal(POSITIONS)
        evidence = log_evidence(positions.log_weights, positions.means, positions.covariances, rows, self.limit)

        def log_joint(points: Tensor) -> Tensor:
            return prior.log_prob_of_points(points) + self.log_likelihood(rows, points)

        return LatentPosterior(log_joint, evidence, 4)


def polar(states: Tensor) -> tuple[Tensor, Tensor]:
    """Distance and angle at which states (..., 4) are seen from the origin, (...) each."""
    first, second = states[..., POSITIONS[0]], states[..., POSITIONS[1]]
    return torch.hypot(first, second), bearing(first, second)
