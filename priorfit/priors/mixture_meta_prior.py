"""Laws of mixtures of Gaussians, from which the priors of latents are drawn.

Letters: B tasks, k components, d numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.distributions import GaussianMixture
from priorfit.distributions.covariances import factor
from priorfit.priors.component_covariances import (
    ComponentCovariances,
    build_component_covariances,
    draw_log_uniform,
    log_range,
)
from priorfit.priors.latent_law import MixtureLaw

WEIGHT_FLOOR = 1e-6  # of a component, so that its logarithm stays an ordinary number
Range = float | Sequence[float]


class MixtureMetaPrior:
    r"""Mixtures of k Gaussians over d numbers.

    Weights are Dirichlet(concentration), means are mu_j = centre * eps_0 + spread * C^(1/2) eps_j with all eps N(0, I),
    and covariance matrices have a law of their own. A range [low, high] is one log-uniform draw per task.

    Args:
        dimension: d.
        components: k, or [low, high] for one uniform draw per batch.
        concentration: of the Dirichlet law, a number or a range; small numbers make few large weights.
        mean_covariance: C, a matrix as nested lists, or a number for that many times the identity.
        centre: standard deviations of a shift that all components of a task share, a number or one per dimension.
        spread: factor of the means' distances, a number or a range; a range is drawn for every dimension by itself.
        covariance: law of the covariance matrices and its arguments, see `component_covariances`.

    Raises:
        ValueError: impossible numbers, unknown laws, or a mean_covariance that is not positive definite.
    """

    def __init__(
        self,
        dimension: int,
        components: int | Sequence[int] = 4,
        concentration: Range = 1.0,
        mean_covariance: float | Sequence[Sequence[float]] = 1.0,
        centre: float | Sequence[float] = 0.0,
        spread: Range = 1.0,
        covariance: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 1:
            raise ValueError(f"dimension must be a whole number >= 1, not {dimension!r}.")
        self.dimension, self.components = dimension, self._whole_range(components)
        self.concentration = log_range("concentration", concentration)
        self.spread = log_range("spread", spread)
        self.mean_factor = self._factor_of_means(mean_covariance)
        self.centre = self._vector("centre", centre)
        covariance = {"law": "wishart"} if covariance is None else covariance
        self.covariance: ComponentCovariances = build_component_covariances(covariance, dimension)

    @staticmethod
    def _whole_range(components: int | Sequence[int]) -> tuple[int, int]:
        pair = tuple(components) if isinstance(components, Sequence) else (components, components)
        if len(pair) != 2 or not all(isinstance(k, int) for k in pair) or not 1 <= pair[0] <= pair[1]:
            raise ValueError(f"components must be a whole number >= 1, or [low, high] of such; got {components!r}.")
        return pair[0], pair[1]

    def _factor_of_means(self, mean_covariance: float | Sequence[Sequence[float]]) -> Tensor:
        matrix = torch.tensor(mean_covariance, dtype=torch.float64)
        if not matrix.ndim:
            matrix = matrix * torch.eye(self.dimension, dtype=torch.float64)
        if matrix.shape != (self.dimension, self.dimension):
            raise ValueError(f"mean_covariance must be a number or {self.dimension} x {self.dimension} numbers.")
        return factor(matrix)

    def _vector(self, name: str, value: float | Sequence[float]) -> Tensor:
        vector = torch.tensor(value, dtype=torch.float64)
        if vector.shape not in ((), (self.dimension,)) or not (vector >= 0).all():
            raise ValueError(f"{name} must be a number >= 0, or {self.dimension} of them; got {value!r}.")
        return vector.expand(self.dimension)

    def draw(self, batch_size: int, generator: Generator) -> MixtureLaw:
        """Draws the priors of B tasks, all with the same number of components."""
        low, high = self.components
        k = int(torch.randint(low, high + 1, (), generator=generator, device=generator.device))
        log_weights = self._draw_log_weights(batch_size, k, generator)
        means = self._draw_means(batch_size, k, generator)
        scale_trils = self.covariance.draw(batch_size, k, generator)
        return MixtureLaw(GaussianMixture(log_weights.float(), means.float(), scale_trils.float()))

    def _draw_log_weights(self, batch_size: int, k: int, generator: Generator) -> Tensor:
        """Logarithms of Dirichlet weights, (B, k), of which none is below a floor."""
        concentration = draw_log_uniform(self.concentration, (batch_size, 1), generator).expand(-1, k)
        draws = torch._standard_gamma(concentration.contiguous(), generator=generator)  # type: ignore[attr-defined]
        draws = draws.clamp(min=torch.finfo(draws.dtype).tiny)
        weights = draws / draws.sum(-1, keepdim=True)
        return (WEIGHT_FLOOR + (1 - k * WEIGHT_FLOOR) * weights).log()

    def _draw_means(self, batch_size: int, k: int, generator: Generator) -> Tensor:
        """Means, (B, k, d)."""
        options: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": generator.device}
        centre = self.centre.to(generator.device) * torch.randn(batch_size, 1, self.dimension, **options)
        noise = torch.randn(batch_size, k, self.dimension, **options) @ self.mean_factor.to(generator.device).mT
        return centre + draw_log_uniform(self.spread, (batch_size, 1, self.dimension), generator) * noise
