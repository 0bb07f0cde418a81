"""A Gaussian process whose lengthscale is unknown: its value at one point and the lengthscale, from a few rows.

Letters: B tasks, n observed rows, F features, J latents, G nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from priorfit.distributions import WeightedPoints
from priorfit.priors.base import Prior, Reference, priors
from priorfit.priors.gp_hyperparameter_posterior import GPHyperparameterPosterior, gamma_nodes
from priorfit.priors.kernels import rbf
from priorfit.priors.latent_law import InverseGammaLaw, LatentLaw
from priorfit.priors.latent_prior import LatentPrior
from priorfit.priors.laws import scaled
from priorfit.priors.meta_priors import FamilyMetaPrior
from priorfit.priors.task import Task
from priorfit.sources import Source, pack, unpack

SHAPE = {"law": "uniform", "low": 1.0, "high": 2.0}
NODES = 400  # G
LARGEST_CHUNK = 2_000_000  # entries of covariance matrices held at a time


class Conditional(NamedTuple):
    """What a lengthscale makes of the rows, (B, J) each."""

    log_evidence: Tensor  # log p(rows | lengthscale)
    mean: Tensor  # of the value asked for, given rows and lengthscale
    std: Tensor  # of the same


class ValueAndLengthscaleLaw:
    """The prior of (y*, lengthscale): N(0, 1) and an inverse gamma law, of which a network observes the latter."""

    def __init__(self, lengthscale: LatentLaw) -> None:
        self.lengthscale = lengthscale

    @property
    def tokens(self) -> Tensor:
        """The logarithms of the inverse gamma law's parameters, (B, 1, 2)."""
        return self.lengthscale.tokens

    def draw(self, n_draws: int, generator: Generator) -> Tensor:
        """J draws from each prior, (B, J, 2)."""
        lengthscale = self.lengthscale.draw(n_draws, generator)
        value = torch.randn(lengthscale.shape, generator=generator, device=lengthscale.device)
        return torch.cat([value, lengthscale], -1)

    def log_prob(self, points: Tensor) -> Tensor:
        """Log density at points (B, J, 2): (B, J)."""
        value, lengthscale = points.split(1, -1)
        return Normal(0.0, 1.0).log_prob(value[..., 0]) + self.lengthscale.log_prob(lengthscale)


@priors.register("gp_hyperparameters")
class GPHyperparameters(LatentPrior):
    r"""(y*, l) given rows (x, y) with y = f(x) + e: y* = f(x*), f ~ GP(0, exp(-|x - x'|² / 2 l²)), e ~ N(0, noise).

    Inputs are uniform on [0, side]^F, and l has an inverse gamma prior, whose parameters the network observes. The
    defaults are the published one-dimensional problem, in which five rows tell much about l; the five-dimensional one
    is `features=5, side=5, concentration={law: uniform, low: 100, high: 105}, rate={law: uniform, low: 100,
    high: 700}`. Without rows there is no x* either.

    Args:
        features: F.
        side: of the cube that inputs are drawn from.
        concentration: of l's prior: a number or the arguments of a `Law`.
        rate: likewise.
        noise: variance of the observations.
        rows: n, or [low, high]; one more row tells x*.
        empty: share of batches without rows.
        candidates: points of the law that a task carries.

    Raises:
        ValueError: impossible laws or numbers.

    Source: Whittle et al. 2025, "Distribution Transformers: Fast Approximate Bayesian Inference With On-The-Fly Prior
    Adaptation", section 4.2.1, figure 4, and the code released with it.
    """

    reference: Reference | None = "quadrature"

    def __init__(
        self,
        features: int = 1,
        side: float = 10.0,
        concentration: float | Mapping[str, Any] = SHAPE,
        rate: float | Mapping[str, Any] = SHAPE,
        noise: float = 1e-3,
        rows: int | Sequence[int] = 5,
        empty: float = 0.1,
        candidates: int = 32,
    ) -> None:
        super().__init__(rows, empty, candidates)
        if isinstance(features, bool) or not isinstance(features, int) or features < 1:
            raise ValueError(f"features must be a whole number >= 1, not {features!r}.")
        if not 0 < side < math.inf or not 0 < noise < math.inf:
            raise ValueError(f"side and noise must be positive, not {side!r} and {noise!r}.")
        self.features, self.side, self.noise = features, side, noise
        query = Source("query", features, not_measured=features)
        self.sources = (Source("row", features + 1, not_measured=features), query)
        self.meta_prior = FamilyMetaPrior("inverse_gamma", concentration=concentration, rate=rate)

    def shifts(self) -> dict[str, Prior]:
        """Other noise and inputs than a network was trained for, and priors of longer or shorter lengthscales."""
        rate = self.arguments["rate"]
        return self.changed(
            {
                "noise variance × 10": {"noise": 10 * self.noise},
                "inputs × 2 as far": {"side": 2 * self.side},
                "prior's rate × 3": {"rate": scaled(rate, 3)},
                "prior's rate × 0.33": {"rate": scaled(rate, 1 / 3)},
            }
        )

    def draw_prior(self, batch_size: int, generator: Generator) -> ValueAndLengthscaleLaw:
        """Draws the parameters of the lengthscales' priors."""
        return ValueAndLengthscaleLaw(self.meta_prior.draw(batch_size, generator))

    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Draws inputs, and the rows' y given (y*, l), (B, 2): rows (B, n + 1, D), the last of which is the query."""
        options: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": latents.device}
        x = self.side * torch.rand(len(latents), n_rows + 1, self.features, **options)
        x = x.float().double()  # exactly what is observed
        value, lengthscale = latents.double().unbind(-1)
        covariance = self._correlation(x, lengthscale[:, None])[:, 0]  # (B, n + 1, n + 1)
        cross, query = covariance[:, :-1, -1:], x[:, -1:]
        given = covariance[:, :-1, :-1] - cross @ cross.mT
        given.diagonal(dim1=-2, dim2=-1).add_(self.noise)
        noise = torch.randn(len(x), n_rows, 1, **options)
        y = cross * value[:, None, None] + torch.linalg.cholesky(given) @ noise
        rows = torch.cat([x[:, :-1], y], -1)
        return pack(self.sources, {"row": rows, "query": query if n_rows else query[:, :0]})

    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        """log p(y | y*, l, inputs) of rows (B, n + 1, D), the query last, and latents (B, J, 2): (B, J)."""
        value, lengthscale = latents.unbind(-1)
        given = self.condition(rows, lengthscale)
        law = Normal(given.mean, given.std, validate_args=False)
        return (given.log_evidence + law.log_prob(value) - Normal(0.0, 1.0).log_prob(value)).to(latents.dtype)

    def law(self, prior: LatentLaw, rows: Tensor, latents: Tensor, generator: Generator) -> WeightedPoints:
        """The latents and J - 1 further lengthscales, each with a y* drawn given rows and lengthscale.

        The lengthscales' weights are their evidence: y* is exact, and only the lengthscale has to be found by chance.
        """
        more = prior.draw(self.candidates - 1, generator) if self.candidates > 1 else latents[:, None, :][:, :0]
        given = self.condition(rows, torch.cat([latents[:, None, 1], more[..., 1]], 1))
        noise = torch.randn(more.shape[:2], generator=generator, device=more.device)
        values = given.mean[:, 1:] + given.std[:, 1:] * noise
        points = torch.cat([latents[:, None], torch.stack([values.float(), more[..., 1]], -1)], 1)  # (B, J, 2)
        return WeightedPoints(points, given.log_evidence.float())

    def posterior(self, task: Task) -> GPHyperparameterPosterior:
        """The posterior of (y*, l) by quadrature over l, batch shape (B,), float64."""
        prior, rows = InverseGammaLaw.from_tokens(task.observed.prior), task.observed.rows
        nodes, log_weights = gamma_nodes(prior.first, prior.second, NODES)
        chunk = max(1, LARGEST_CHUNK // (NODES * (1 + rows.shape[1]) ** 2))
        parts = [self.condition(*some) for some in zip(rows.split(chunk), nodes.split(chunk), strict=True)]
        at_nodes = Conditional(*(torch.cat(part) for part in zip(*parts, strict=True)))

        def log_joint(lengthscale: Tensor) -> tuple[Tensor, Normal]:
            given = self.condition(rows, lengthscale)
            log_prior = prior.distribution.log_prob(lengthscale)
            return log_prior + given.log_evidence, Normal(given.mean, given.std, validate_args=False)

        value = Normal(at_nodes.mean, at_nodes.std, validate_args=False)
        return GPHyperparameterPosterior(log_joint, nodes, log_weights + at_nodes.log_evidence, value)

    def condition(self, rows: Tensor, lengthscale: Tensor) -> Conditional:
        """Evidence of the rows (B, n + 1, D), the query last, and the law of y*, for lengthscales (B, J)."""
        fields = unpack(self.sources, rows)
        lengthscale, n = lengthscale.double(), max(0, rows.shape[1] - 1)
        if not n:
            zeros = torch.zeros_like(lengthscale)
            return Conditional(zeros, zeros, torch.ones_like(zeros))
        x, y = fields["row"][0][:, :n].double().split([self.features, 1], -1)
        query = fields["query"][0][:, n:].double()
        covariance = self._correlation(torch.cat([x, query], 1), lengthscale)  # (B, J, n + 1, n + 1)
        seen = covariance[..., :-1, :-1]
        seen.diagonal(dim1=-2, dim2=-1).add_(self.noise)
        tril = torch.linalg.cholesky(seen)
        right = torch.stack([y[:, None, :, 0].expand(seen.shape[:-1]), covariance[..., :-1, -1]], -1)
        white, cross = torch.linalg.solve_triangular(tril, right, upper=False).unbind(-1)  # (B, J, n) each
        log_det = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_evidence = -white.square().sum(-1) / 2 - log_det - n / 2 * math.log(2 * math.pi)
        return Conditional(log_evidence, (white * cross).sum(-1), (1 - cross.square().sum(-1)).sqrt())

    def _correlation(self, x: Tensor, lengthscale: Tensor) -> Tensor:
        """Correlations of f between inputs (B, N, F) for lengthscales (B, J): (B, J, N, N)."""
        distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        return rbf(distance[:, None] / lengthscale[..., None, None])
