"""A two-level quantum system whose one parameter is to be found from single measurements.

Letters: B tasks, N rows, J latents, G grid points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from priorfit.distributions import GridLaw, ScalarEvent
from priorfit.priors.base import Prior, Reference, priors
from priorfit.priors.latent_law import BetaLaw, LatentLaw
from priorfit.priors.latent_prior import LatentPrior
from priorfit.priors.laws import scaled
from priorfit.priors.meta_priors import FamilyMetaPrior
from priorfit.priors.task import Task
from priorfit.sources import Source, pack, unpack

RUNS = (  # nominal initial state (of any length), and time of the measurement
    *((1.0, 0.0, time) for time in (1.0, 2.0, 3.0, 4.0, 5.0)),
    *((0.0, 1.0, time) for time in (1.0, 2.0)),
    *((1.0, 1.0, time) for time in (1.0, 2.0, 3.0)),
)
STATE_NOISE, TIME_NOISE = 0.1, 0.05  # standard deviations
SHAPE = {"law": "inverse_gamma", "concentration": 4.0, "rate": 6.0}
GRID, LARGEST_LOGIT = 4000, 100.0


@priors.register("two_level_system")
class TwoLevelSystem(LatentPrior):
    r"""The weight D of \sigma_x in H = D \sigma_x + (1 - D) \sigma_z, seen through N one-shot measurements.

    A run starts in a nominal state (a, b), real, to which N(0, 0.1² I) is added before it is normalised, evolves by
    exp(-i H t) with the time t drawn from N(nominal, 0.05²), and is then measured: outcome 1 (found in state 0) or 0.
    D has a Beta prior. The runs are those that were published, ten in all; fewer are drawn from these.

    Args:
        alpha: first parameter of the Beta prior: a number or the arguments of a `Law`.
        beta: second parameter, likewise.
        rows: N, or [low, high].
        empty: share of batches without rows.
        candidates: points of the law that a task carries.

    Raises:
        ValueError: impossible laws or numbers.

    Source: Whittle et al. 2025, "Distribution Transformers: Fast Approximate Bayesian Inference With On-The-Fly Prior
    Adaptation", section 4.2.2, as written (the released code passes D through one more sigmoid).
    """

    reference: Reference | None = "quadrature"
    sources = (Source("run", 4, not_measured=4),)  # a, b, time, outcome
    most_rows = len(RUNS)

    def __init__(
        self,
        alpha: float | Mapping[str, Any] = SHAPE,
        beta: float | Mapping[str, Any] = SHAPE,
        rows: int | Sequence[int] = 10,
        empty: float = 0.1,
        candidates: int = 32,
    ) -> None:
        super().__init__(rows, empty, candidates)
        self.meta_prior = FamilyMetaPrior("beta", alpha=alpha, beta=beta)

    def shifts(self) -> dict[str, Prior]:
        """Priors with parameters beyond those of the meta-prior; what is observed does not depend on it."""
        alpha, beta = self.arguments["alpha"], self.arguments["beta"]
        return self.changed(
            {
                "prior's alpha × 4": {"alpha": scaled(alpha, 4)},
                "prior's alpha and beta × 4": {"alpha": scaled(alpha, 4), "beta": scaled(beta, 4)},
                "prior's alpha and beta × 0.25": {"alpha": scaled(alpha, 0.25), "beta": scaled(beta, 0.25)},
            }
        )

    def draw_prior(self, batch_size: int, generator: Generator) -> LatentLaw:
        """Draws the parameters of the Beta priors."""
        return self.meta_prior.draw(batch_size, generator)

    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Draws the outcomes of some of the runs, the same ones for all latents (B, 1): rows (B, N, 5)."""
        chosen = torch.randperm(len(RUNS), generator=generator, device=generator.device)[:n_rows].sort().values
        runs = torch.tensor(RUNS, device=latents.device)[chosen].expand(len(latents), -1, -1)  # (B, N, 3)
        chance = chance_of_one(latents, *runs.unbind(-1))  # (B, N)
        draws = torch.rand(chance.shape, generator=generator, device=chance.device)
        return pack(self.sources, {"run": torch.cat([runs, (draws < chance).float()[..., None]], -1)})

    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        """log p(rows | D) of rows (B, N, 5) and latents (B, J, 1): (B, J)."""
        runs, _ = unpack(self.sources, rows)["run"]
        weight = latents[..., 0]
        total = torch.zeros(len(rows), weight.shape[1], dtype=weight.dtype, device=weight.device)
        settings, outcomes = runs[..., :3].to(weight), runs[..., 3]
        if (settings == settings[:1]).all():  # as they are where runs are drawn: then the chances can be shared, too
            settings = settings[:1]
        for setting, outcome in zip(settings.unbind(1), outcomes.unbind(1), strict=True):  # ten at most
            chance = chance_of_one(weight, *setting[..., None].unbind(1))
            total += torch.where(outcome[:, None] > 0.5, chance.log(), torch.log1p(-chance))
        return total

    def posterior(self, task: Task) -> ScalarEvent:
        """The posterior of D on a grid in its logit, batch shape (B,), float64."""
        prior, rows = BetaLaw.from_tokens(task.observed.prior), task.observed.rows.double()

        def log_density(points: Tensor) -> Tensor:
            return prior.distribution.log_prob(points) + self.log_likelihood(rows, points[..., None])

        options: dict[str, Any] = {"dtype": torch.float64, "device": rows.device}
        logit = torch.linspace(-LARGEST_LOGIT, LARGEST_LOGIT, GRID, **options)
        nodes = logit.sigmoid()[None]  # (1, G)
        likelihood = self.log_likelihood(rows, nodes[..., None])  # (B, G)
        first, second = prior.first[:, None], prior.second[:, None]
        log_prior = first * logsigmoid(logit) + second * logsigmoid(-logit)  # density of the logit
        constant = torch.lgamma(first + second) - torch.lgamma(first) - torch.lgamma(second)
        step = 2 * LARGEST_LOGIT / (GRID - 1)
        return ScalarEvent(GridLaw(log_density, nodes, log_prior + constant + math.log(step) + likelihood))


def chance_of_one(weight: Tensor, first: Tensor, second: Tensor, time: Tensor) -> Tensor:
    r"""P(outcome 1), averaged over the noise of state and time in closed form; all arguments broadcast.

    With w = |(D, 1 - D)|, c = cos(w t), s = sin(w t) and a state at the angle q, the chance is
    c² cos² q + s² cos²(q - p), where p is the angle of (1 - D, D). Over t ~ N(time, e²)
    E cos(2 w t) = exp(-2 w² e²) cos(2 w time); over the normalised state, with k = |(a, b)|² / (2 STATE_NOISE²), the
    mean of (cos 2q, sin 2q) is 1 - (1 - exp(-k)) / k times that of the nominal state (the projected normal law).

    Args:
        weight: D, in (0, 1).
        first: a, amplitude of state 0 in the nominal state.
        second: b, amplitude of state 1.
        time: nominal time of the measurement.
    """
    frequency = torch.hypot(weight, 1 - weight)
    swing = torch.exp(-2 * (frequency * TIME_NOISE).square()) * torch.cos(2 * frequency * time)
    length = first.square() + second.square()
    k = length / (2 * STATE_NOISE**2)
    shrink = (1 + torch.expm1(-k) / k) / length
    state_cos, state_sin = shrink * (first.square() - second.square()), shrink * 2 * first * second
    axis_cos, axis_sin = (part / frequency.square() for part in (1 - 2 * weight, 2 * weight * (1 - weight)))
    turned = state_cos * axis_cos + state_sin * axis_sin  # E cos 2(q - p)
    return ((1 + swing) * (1 + state_cos) + (1 - swing) * (1 + turned)) / 4
