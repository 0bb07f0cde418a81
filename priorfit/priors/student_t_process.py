"""Student-t process: a Gaussian process with an inverse-Gamma factor on its covariance.

Source: Lee et al. 2022, "Scale Mixtures of Neural Network Gaussian Processes"; Shah et al. 2014, "Student-t
Processes as Alternatives to Gaussian Processes".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, StudentT

from priorfit.priors.base import Prior, priors
from priorfit.priors.gaussian_process import Conditioned, GaussianProcess
from priorfit.priors.laws import Law


@priors.register("student_t_process")
class StudentTProcess(GaussianProcess):
    r"""Heavy-tailed sibling of the Gaussian process, with an exact posterior.

    y | s ~ N(0, s K), s ~ InverseGamma(shape, rate), so that y is multivariate Student-t with 2 shape degrees
    of freedom and scale matrix (rate / shape) K; K includes the noise. Given n targets the queries are
    Student-t with 2 shape + n degrees of freedom, the Gaussian process's mean, and squared scale
    v (2 rate + yᵀK⁻¹y) / (2 shape + n), v the Gaussian process's variance.

    Args:
        shape: of the inverse Gamma, positive; 2 shape degrees of freedom.
        rate: of the inverse Gamma, positive; rate = shape keeps the scale near K's.
        others: as for `GaussianProcess`.

    Raises:
        ValueError: as for `GaussianProcess`, or a shape or rate that is not positive.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        shape: float = 2.0,
        rate: float = 2.0,
        kernel: str | Sequence[str] = "rbf",
        lengthscale: float | Mapping[str, Any] = 0.2,
        output_scale: float | Mapping[str, Any] = 1.0,
        noise: float | Mapping[str, Any] = 0.01,
        noise_floor: float = 0.0,
        scale_with_dimension: bool = False,
        inputs: str = "uniform",
        importance_draws: int = 2000,
    ) -> None:
        super().__init__(
            sizes, kernel, lengthscale, output_scale, noise, noise_floor, scale_with_dimension, inputs, importance_draws
        )
        if not min(shape, rate) > 0:
            raise ValueError(f"shape and rate must be positive, not {shape} and {rate}.")
        self.mixing = Law("mixing", {"law": "inverse_gamma", "concentration": shape, "rate": rate})
        self.shape, self.rate = shape, rate

    def shifts(self) -> dict[str, Prior]:
        """Those of a Gaussian process, and heavier tails of the same scale."""
        return {**super().shifts(), "shape × 0.5": self.replace(shape=self.shape / 2, rate=self.rate / 2)}

    def draw_amplitude(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """√s of each task."""
        return self.mixing.sample(shape, generator).sqrt()

    def predictive(self, given: Conditioned, n_context: int) -> Distribution:
        """The queries' marginals given hyperparameters and context: Student-t; fields broadcast."""
        freedom = 2 * self.shape + n_context
        widening = (2 * self.rate + given.quadratic) / freedom
        return StudentT(freedom, given.mean, (given.variance * widening).sqrt(), validate_args=False)

    def log_evidence(self, given: Conditioned, n_context: int) -> Tensor:
        """Log density of the context's targets given hyperparameters: multivariate Student-t."""
        a, half = self.shape, n_context / 2
        constant = math.lgamma(a + half) - math.lgamma(a) - half * math.log(2 * math.pi * self.rate)
        return constant - 0.5 * given.log_det - (a + half) * torch.log1p(given.quadratic / (2 * self.rate))
