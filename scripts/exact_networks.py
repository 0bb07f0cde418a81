"""Networks that are exact, and what is known in closed form of linear functionals of Gaussian rows.

What is here is what trained networks are compared with: a prior over linear functions, a "network" that returns a
prior's own posterior, and the law that predictive resampling with it must reproduce.
Letters: B tasks, n context rows, m queries, k further rows, N = n + k, F features, p numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Generator, Tensor
from torch.distributions import Distribution, Normal

from priorfit.models import Network
from priorfit.priors import GaussianProcess, Prior, Regression, Task
from priorfit.priors.base import Reference
from priorfit.priors.regression_prior import RegressionPrior


class LinearModel(RegressionPrior):
    """y = w · x + e with w ~ N(0, I) and e ~ N(0, noise): Bayesian linear regression, whose posterior is normal.

    Args:
        sizes: arguments of `Sizes`.
        noise: variance of e.
        inputs: see `RegressionPrior`.
    """

    reference: Reference | None = "exact"

    def __init__(self, sizes: Mapping[str, Any], noise: float = 0.25, inputs: str = "normal") -> None:
        super().__init__(sizes, inputs)
        self.noise = noise

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks; `law` is the exact predictive, as for Gaussian processes."""
        n, m, n_features = self.sizes.draw(generator)
        x = self.draw_inputs((batch_size, n + m, n_features), generator)
        weights = torch.randn(batch_size, n_features, 1, generator=generator)
        y = (x @ weights)[..., 0] + self.noise**0.5 * torch.randn(batch_size, n + m, generator=generator)
        task = Task(Regression(x[:, :n], y[:, :n], x[:, n:]), y[:, n:])
        exact = self.posterior(task)
        return Task(task.observed, task.hidden, Normal(exact.mean.float(), exact.stddev.float()))

    def posterior(self, task: Task) -> Normal:
        """The exact predictive, batch shape (B, m), float64."""
        x, y, x_query = (part.double() for part in task.observed)
        precision = torch.eye(x.shape[-1]).to(x) + x.mT @ x / self.noise
        covariance = torch.linalg.inv(precision)  # of the weights, (B, F, F)
        mean = covariance @ x.mT @ y[..., None] / self.noise  # (B, F, 1)
        variance = torch.einsum("bmf,bfg,bmg->bm", x_query, covariance, x_query) + self.noise
        return Normal((x_query @ mean)[..., 0], variance.sqrt())

    def covariance(self, x: Tensor) -> Tensor:
        """Covariance (N, N) of the targets at x (N, F)."""
        return x @ x.mT + self.noise * torch.eye(len(x)).to(x)


GaussianPrior = LinearModel | GaussianProcess


class ExactNetwork(Network):
    """Predicts rows with a prior's own posterior.

    Args:
        prior: one that has a posterior of rows.
    """

    max_features = 1000

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def compute(self, *observed: Tensor) -> Distribution:
        """The posterior itself."""
        return self.prior.posterior(Task(Regression(*observed), observed[2][..., 0]))

    def distribution(self, output: Distribution) -> Distribution:
        """What `compute` returned."""
        return output


def covariance_of(prior: GaussianPrior, x: ndarray) -> tuple[ndarray, float]:
    """Covariance (N, N) of a Gaussian prior's targets at x (N, F), and the variance of their noise."""
    points = torch.from_numpy(np.asarray(x, dtype=np.float64))
    if isinstance(prior, LinearModel):
        return prior.covariance(points).numpy(), prior.noise
    hyper = prior.draw_hyperparameters((), points.shape[-1], Generator())
    return prior.covariance(points, hyper).numpy(), float(hyper.noise)


def linear_law(covariance: ndarray, y: ndarray, weights: ndarray) -> tuple[ndarray, ndarray]:
    """Mean (p,) and covariance (p, p) of weights (p, N) @ targets (N,), given the first n targets y (n,).

    Args:
        covariance: of all N targets, which have mean 0, (N, N).
        y: what was observed.
        weights: of the functional.
    """
    n = len(y)
    gain = np.linalg.solve(covariance[:n, :n], covariance[:n, n:])  # (n, k)
    spread = covariance[n:, n:] - covariance[n:, :n] @ gain
    mean = weights[:, :n] @ y + weights[:, n:] @ (gain.T @ y)
    return mean, weights[:, n:] @ spread @ weights[:, n:].T
