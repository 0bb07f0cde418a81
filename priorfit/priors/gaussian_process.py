"""Gaussian-process prior over functions, with fixed or drawn hyperparameters.

Source: Müller et al. 2022, "Transformers Can Do Bayesian Inference", sections 5.1 and 5.2.
Letters: B tasks, N = n + m points (n context rows, then m queries), F features, S importance draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal

from priorfit.priors.base import Prior, Reference, check_batch_size, priors
from priorfit.priors.kernels import KERNELS
from priorfit.priors.laws import Law, scaled
from priorfit.priors.regression_prior import RegressionPrior
from priorfit.priors.task import Regression, Task
from priorfit.registry import closest

IMPORTANCE_SEED = 20_220_519  # references are deterministic
IMPORTANCE_ELEMENTS = 20_000_000  # covariance entries held at a time


class Hyperparameters(NamedTuple):
    """Hyperparameters of tasks with any leading shape "..."."""

    lengthscale: Tensor  # (..., F)
    output_scale: Tensor  # (...)
    noise: Tensor  # (...)
    kernel: Tensor  # (...), index into the prior's kernels


class Conditioned(NamedTuple):
    """A Gaussian vector's queries given its context."""

    mean: Tensor  # (..., m)
    variance: Tensor  # (..., m)
    quadratic: Tensor  # (...), yᵀ K⁻¹ y of the context
    log_det: Tensor  # (...), log |K| of the context


@priors.register("gaussian_process")
class GaussianProcess(RegressionPrior):
    r"""Zero-mean Gaussian process with noisy targets.

    y = f(x) + e, cov f = output_scale * k(r), r² = Σ_j (x_j - x'_j)² / lengthscale_j², var e = noise. All
    hyperparameters that are not fixed are drawn afresh for every task; targets are the noisy values.

    Args:
        sizes: arguments of `Sizes`: points, features, context.
        kernel: "rbf", "matern12", "matern32", "matern52", or a list from which each task draws one.
        lengthscale: a number or a law (see `Law`), drawn per feature (ARD).
        output_scale: variance of f, a number or a law.
        noise: variance of the noise, a number or a law.
        noise_floor: added to the noise, so that drawn noise never vanishes and Cholesky factors exist.
        scale_with_dimension: multiply lengthscales by √F, which keeps correlations alive in many dimensions
            (Hvarfner et al. 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions").
        inputs: "uniform" on [0, 1] or standard "normal".
        importance_draws: S, draws from the hyperprior that `posterior` averages over.

    Raises:
        ValueError: unknown kernels or laws, negative scales, impossible sizes.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        kernel: str | Sequence[str] = "rbf",
        lengthscale: float | Mapping[str, Any] = 0.2,
        output_scale: float | Mapping[str, Any] = 1.0,
        noise: float | Mapping[str, Any] = 0.01,
        noise_floor: float = 0.0,
        scale_with_dimension: bool = False,
        inputs: str = "uniform",
        importance_draws: int = 2000,
    ) -> None:
        super().__init__(sizes, inputs)
        self.kernels = [kernel] if isinstance(kernel, str) else list(kernel)
        for name in self.kernels or [""]:
            if name not in KERNELS:
                raise ValueError(f"Unknown kernel '{name}': {closest(name, KERNELS)}")
        self.lengthscale = Law("lengthscale", lengthscale)
        self.output_scale = Law("output_scale", output_scale)
        self.noise = Law("noise", noise)
        if noise_floor < 0 or importance_draws < 1:
            raise ValueError("noise_floor must not be negative and importance_draws must be at least 1.")
        self.noise_floor, self.scale_with_dimension = noise_floor, scale_with_dimension
        self.importance_draws = importance_draws

    @property
    def fixed(self) -> bool:
        """Whether every task has the same hyperparameters."""
        laws = (self.lengthscale, self.output_scale, self.noise)
        return len(self.kernels) == 1 and all(law.fixed for law in laws)

    @property
    def reference(self) -> Reference:  # type: ignore[override]
        """Exact for fixed hyperparameters, else full Bayes by importance sampling from the hyperprior."""
        return "exact" if self.fixed else "importance sampling"

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks; `law` is the exact predictive given each task's hyperparameters and context.

        The Cholesky factor of all N points holds that predictive already: with y = L z and the context first,
        the queries given the context are normal with mean L_qc z_c and variances the row sums of L_qq².
        """
        shape = (check_batch_size(batch_size),)
        n, m, n_features = self.sizes.draw(generator)
        x = self.draw_inputs((batch_size, n + m, n_features), generator)  # (B, N, F)
        hyper = self.draw_hyperparameters(shape, n_features, generator)
        factor = torch.linalg.cholesky(self.covariance(x, hyper).to(safe_dtype(hyper)))  # (B, N, N)
        z = torch.randn(batch_size, n + m, 1, generator=generator, device=x.device).to(factor.dtype)
        observed = torch.cat([z[:, :n], torch.zeros_like(z[:, n:])], 1)
        amplitude = self.draw_amplitude(shape, generator)[:, None]
        y, mean = (amplitude[..., None] * (factor @ torch.cat([z, observed], -1))).unbind(-1)  # (B, N) each
        std = amplitude * factor[:, n:, n:].norm(dim=-1)
        law = Normal(mean[:, n:].float(), std.float(), validate_args=False)
        y = y.float()
        return Task(Regression(x[:, :n], y[:, :n], x[:, n:]), y[:, n:], law)

    def shifts(self) -> dict[str, Prior]:
        """Other scales than those of the prior, and a rougher kernel."""
        given = self.arguments
        changes: dict[str, dict[str, Any]] = {
            "lengthscale × 0.5": {"lengthscale": scaled(given["lengthscale"], 0.5)},
            "lengthscale × 2": {"lengthscale": scaled(given["lengthscale"], 2)},
            "noise variance × 4": {"noise": scaled(given["noise"], 4)},
            "output variance × 4": {"output_scale": scaled(given["output_scale"], 4)},
            **({} if "matern12" in self.kernels else {"kernel matern12": {"kernel": "matern12"}}),
        }
        return self.changed(changes)

    def draw_hyperparameters(self, shape: tuple[int, ...], n_features: int, generator: Generator) -> Hyperparameters:
        """Draws hyperparameters of the given leading shape."""
        factor = math.sqrt(n_features) if self.scale_with_dimension else 1.0
        return Hyperparameters(
            self.lengthscale.sample((*shape, n_features), generator) * factor,
            self.output_scale.sample(shape, generator),
            self.noise.sample(shape, generator) + self.noise_floor,
            torch.randint(len(self.kernels), shape, generator=generator, device=generator.device),
        )

    def draw_amplitude(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """A random factor of each whole function; one for a Gaussian process."""
        return torch.ones(shape, dtype=torch.float64, device=generator.device)

    def covariance(self, x: Tensor, hyper: Hyperparameters, rows: int | None = None) -> Tensor:
        """Covariance of the noisy targets at x (..., N, F), shape (..., N, N), or its first `rows` rows."""
        scaled = x / hyper.lengthscale.to(x.dtype)[..., None, :]
        r = torch.cdist(scaled[..., :rows, :], scaled, compute_mode="donot_use_mm_for_euclid_dist")
        covariance = hyper.output_scale.to(x.dtype)[..., None, None] * self._correlation(r, hyper.kernel)
        covariance.diagonal(dim1=-2, dim2=-1).add_(hyper.noise.to(x.dtype)[..., None])
        return covariance

    def _correlation(self, r: Tensor, kernel: Tensor) -> Tensor:
        """Correlations at scaled distances r (..., n, N), under the kernel with index `kernel` (...)."""
        if len(self.kernels) == 1:
            return KERNELS[self.kernels[0]](r)
        correlation = torch.empty_like(r)
        for index, name in enumerate(self.kernels):
            chosen = kernel == index
            correlation[chosen] = KERNELS[name](r[chosen])
        return correlation

    def posterior(self, task: Task) -> Distribution:
        """Posterior predictive of the query targets, batch shape (B, m), float64.

        Fixed hyperparameters: exact. Otherwise a mixture over S draws from the hyperprior, weighted by the
        evidence of each task's context; `1 / (weights²).sum()` is its effective sample size.
        """
        x_context, y_context, x_query = (part.double() for part in task.observed)
        x = torch.cat([x_context, x_query], 1)  # (B, N, F)
        generator = torch.Generator(x.device).manual_seed(IMPORTANCE_SEED)
        draws = 1 if self.fixed else self.importance_draws
        hyper = self.draw_hyperparameters((draws,), x.shape[-1], generator)
        n = y_context.shape[1]
        chunk = max(1, IMPORTANCE_ELEMENTS // (draws * x.shape[1] * max(n, 1)))
        parts = [
            self._condition_tasks(a, b, hyper) for a, b in zip(x.split(chunk), y_context.split(chunk), strict=True)
        ]
        given = joined(parts, 0)  # (B, S, …)
        if self.fixed:
            single = Conditioned(*(tensor.squeeze(1) for tensor in given))
            return self.predictive(single._replace(quadratic=single.quadratic[:, None]), n)
        mixing = self.log_evidence(given, n)[:, None].expand(-1, x_query.shape[1], -1)  # (B, m, S)
        component = given._replace(mean=given.mean.mT, variance=given.variance.mT, quadratic=given.quadratic[:, None])
        return MixtureSameFamily(Categorical(logits=mixing), self.predictive(component, n), validate_args=False)

    def _condition_tasks(self, x: Tensor, y_context: Tensor, hyper: Hyperparameters) -> Conditioned:
        """Conditions every task on its context under each of S hyperparameter draws: fields (B, S, …)."""
        n = y_context.shape[1]
        chunk = max(1, IMPORTANCE_ELEMENTS // (len(x) * x.shape[1] * max(n, 1)))
        parts = []
        for some in zip(*(h.split(chunk) for h in hyper), strict=True):
            shape = (len(x), len(some[0]))
            tiled = Hyperparameters(*(h.expand(*shape, *h.shape[1:]) for h in some))
            covariance = self.covariance(x[:, None].expand(*shape, -1, -1), tiled, rows=n)
            variance = (tiled.output_scale + tiled.noise)[..., None]
            parts.append(condition(covariance, y_context[:, None].expand(*shape, -1), variance))
        return joined(parts, 1)

    def predictive(self, given: Conditioned, n_context: int) -> Distribution:
        """The queries' marginals given hyperparameters and context: normal; fields broadcast."""
        return Normal(given.mean, given.variance.sqrt(), validate_args=False)

    def log_evidence(self, given: Conditioned, n_context: int) -> Tensor:
        """Log density of the context's targets given hyperparameters."""
        return -0.5 * (given.quadratic + given.log_det + n_context * math.log(2 * math.pi))


def joined(parts: Sequence[Conditioned], dim: int) -> Conditioned:
    """Parts of a larger problem, put together along one axis."""
    return Conditioned(*(torch.cat(tensors, dim) for tensors in zip(*parts, strict=True)))


def safe_dtype(hyper: Hyperparameters) -> torch.dtype:
    """The precision in which Cholesky factors of such covariances are accurate.

    In float32 they err by about 1e-6 of the output scale, which only noise well above that hides.
    """
    return torch.float32 if (hyper.noise > 1e-3 * hyper.output_scale).all() else torch.float64


def condition(covariance: Tensor, y_context: Tensor, variance: Tensor | None = None) -> Conditioned:
    """Conditions a zero-mean Gaussian vector on its first n entries.

    Args:
        covariance: (..., N, N); its first n rows are enough where `variance` is given.
        y_context: (..., n), n <= N.
        variance: the other entries' own variances, (..., N - n) or (..., 1).
    """
    n = y_context.shape[-1]
    if variance is None:
        variance = covariance.diagonal(dim1=-2, dim2=-1)[..., n:]
    factor = torch.linalg.cholesky(covariance[..., :n, :n])
    right = torch.cat([covariance[..., :n, n:], y_context[..., None]], -1)  # (..., n, N - n + 1)
    solved = torch.linalg.solve_triangular(factor, right, upper=False)
    cross, white = solved[..., :-1], solved[..., -1]
    mean = (cross * white[..., None]).sum(-2)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return Conditioned(mean, variance - cross.square().sum(-2), white.square().sum(-1), log_det)
