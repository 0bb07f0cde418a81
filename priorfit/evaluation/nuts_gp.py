"""Full Bayes for Gaussian processes by NUTS over their hyperparameters.

The published baseline of PFNs with hyperpriors: Müller et al. 2022, section 5.2.
Letters: B tasks, C chains, S draws of all chains together, K kernels, n context rows, m queries, F features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily

from priorfit.evaluation.nuts import Chain, Draws, checks, run
from priorfit.evaluation.scoring import Array
from priorfit.priors import GaussianProcess, Prior, Task
from priorfit.priors.gaussian_process import Conditioned, Hyperparameters, condition, joined
from priorfit.priors.laws import Law

NUMPYRO_NAMES = {"gamma": "Gamma", "inverse_gamma": "InverseGamma", "log_normal": "LogNormal", "uniform": "Uniform"}


@dataclass(frozen=True)
class HyperparameterModel:
    """The numpyro model of one task's hyperparameters; its kernel, if there are several, is summed out.

    Attributes:
        kernels: the prior's.
        laws: of lengthscale, output_scale and noise: the name of one and its two parameters, or "" and the value.
        noise_floor: as for `GaussianProcess`.
        scale_with_dimension: likewise.
    """

    kernels: tuple[str, ...]
    laws: tuple[tuple[str, tuple[float, ...]], ...]
    noise_floor: float
    scale_with_dimension: bool

    @classmethod
    def of(cls, prior: GaussianProcess) -> HyperparameterModel:
        """The model of a prior."""
        described = (
            (law.kind, tuple(law.parameters.values())) if law.value is None else ("", (law.value,))
            for law in laws(prior)
        )
        return cls(tuple(prior.kernels), tuple(described), prior.noise_floor, prior.scale_with_dimension)

    def __call__(self, x: Any, y: Any) -> None:
        """Of the context x (n, F), y (n,)."""
        import numpyro
        from jax.scipy.special import logsumexp

        n_features = x.shape[1]
        lengthscale = self._draw("lengthscale", self.laws[0], (n_features,))
        output_scale, noise = self._draw("output_scale", self.laws[1]), self._draw("noise", self.laws[2])
        factor = math.sqrt(n_features) if self.scale_with_dimension else 1.0
        evidence = self.log_evidence(x, y, lengthscale * factor, output_scale, noise + self.noise_floor)
        numpyro.factor("evidence", logsumexp(evidence))

    def _draw(self, name: str, law: tuple[str, tuple[float, ...]], shape: tuple[int, ...] = ()) -> Any:
        """A site, unless the hyperparameter is fixed."""
        import numpyro
        from numpyro import distributions

        kind, parameters = law
        if not kind:
            return parameters[0]
        single = getattr(distributions, NUMPYRO_NAMES[kind])(*parameters)
        return numpyro.sample(name, single.expand(shape).to_event(len(shape)))

    def log_evidence(self, x: Any, y: Any, lengthscale: Any, output_scale: Any, noise: Any) -> Any:
        """Log density of y (n,) at inputs (n, F) under each kernel, (K,)."""
        from jax import numpy
        from jax.scipy.linalg import solve_triangular

        # Differences first: of quotients, compiled code rounds each its own way, and a point is not at distance 0 of
        # itself. There the square root has no derivative, and the kernel's slope does not need one.
        squares = numpy.square((x[:, None] - x) / lengthscale).sum(-1)
        apart = squares > 0
        r = numpy.where(apart, numpy.sqrt(numpy.where(apart, squares, 1.0)), 0.0)

        def under(kernel: str) -> Any:
            covariance = output_scale * correlation(kernel, r) + noise * numpy.eye(len(y))
            factor = numpy.linalg.cholesky(covariance)
            white = solve_triangular(factor, y, lower=True)
            log_det = 2 * numpy.log(numpy.diagonal(factor)).sum()
            return -0.5 * (white @ white + log_det + len(y) * math.log(2 * math.pi))

        return numpy.stack([under(kernel) for kernel in self.kernels])


class Posterior(NamedTuple):
    """Draws from the posterior of B tasks' hyperparameters."""

    hyper: Hyperparameters  # leading shape (B, S)
    checks: dict[str, Array]  # of the logarithms, see `nuts.checks`


def laws(prior: GaussianProcess) -> tuple[Law, Law, Law]:
    """The laws of lengthscale, output scale and noise."""
    return prior.lengthscale, prior.output_scale, prior.noise


def check_covered(prior: Prior) -> GaussianProcess:
    """Returns a Gaussian process with something to draw.

    Raises:
        ValueError: another prior, a relative of it with another evidence, or one whose numbers are all fixed.
    """
    if type(prior) is not GaussianProcess:
        raise ValueError(f"NUTS knows the evidence of 'gaussian_process', not of '{prior.registered_name}'.")
    if all(law.fixed for law in laws(prior)):
        raise ValueError("All hyperparameters are fixed: there is nothing to draw, and `posterior` is exact.")
    return prior


def sample_posterior(prior: Prior, task: Task, chain: Chain, seed: int) -> Posterior:
    """Draws the hyperparameters given the context of each task.

    Raises:
        ValueError: a prior that is not covered, see `check_covered`.
        ImportError: jax or numpyro is not installed.
    """
    prior = check_covered(prior)
    x, y = task.observed.x_context, task.observed.y_context
    draws = run(HyperparameterModel.of(prior), [x.double().numpy(), y.double().numpy()], chain, seed)
    logs = [np.log(sites).reshape(*sites.shape[:3], -1) for sites in draws.sites.values()]
    return Posterior(_hyperparameters(prior, draws, x.shape[2]), checks(np.concatenate(logs, -1), draws.divergent))


def _hyperparameters(prior: GaussianProcess, draws: Draws, n_features: int) -> Hyperparameters:
    """The covariance's hyperparameters, (B, S): scaled and floored as the prior does; the first kernel."""
    batch, chains, number = next(iter(draws.sites.values())).shape[:3]
    shape, values = (batch, chains * number), []
    for law, size in zip(laws(prior), ((*shape, n_features), shape, shape), strict=True):
        drawn = draws.sites.get(law.name, np.array(law.value, dtype=float))
        values.append(
            torch.from_numpy(drawn.copy()).reshape(size) if drawn.ndim else torch.full(size, float(drawn)).double()
        )
    factor = math.sqrt(n_features) if prior.scale_with_dimension else 1.0
    kernel = torch.zeros(shape, dtype=torch.int64)
    return Hyperparameters(values[0] * factor, values[1], values[2] + prior.noise_floor, kernel)


def predictive(prior: GaussianProcess, task: Task, hyper: Hyperparameters) -> MixtureSameFamily:
    """The mixture, over draws (B, S), of the queries' laws given hyperparameters; batch shape (B, m), float64.

    Of several kernels each has the weight that the context gives it beside a draw.
    """
    parts = [_condition(prior, *one) for one in zip(*(part.double() for part in task.observed), *hyper, strict=True)]
    given = joined(parts, 0)  # (B, S, K, …)
    n, m = task.observed.y_context.shape[1], task.observed.x_query.shape[1]
    weights = prior.log_evidence(given, n).log_softmax(-1).flatten(1)  # (B, S K)
    component = Conditioned(
        given.mean.flatten(1, 2).mT, given.variance.flatten(1, 2).mT, given.quadratic.flatten(1)[:, None], given.log_det
    )
    mixing = Categorical(logits=weights[:, None].expand(-1, m, -1))
    return MixtureSameFamily(mixing, prior.predictive(component, n), validate_args=False)


def _condition(prior: GaussianProcess, *one: Tensor) -> Conditioned:
    """Conditions one task on its context under S draws and each kernel: fields (1, S, K, …)."""
    x_context, y_context, x_query, lengthscale, output_scale, noise, _ = one
    shape = (len(noise), len(prior.kernels))
    x = torch.cat([x_context, x_query]).expand(*shape, -1, -1)
    hyper = Hyperparameters(
        lengthscale[:, None].expand(*shape, -1),
        output_scale[:, None].expand(shape),
        noise[:, None].expand(shape),
        torch.arange(shape[1]).expand(shape),
    )
    covariance = prior.covariance(x, hyper, rows=len(y_context))
    given = condition(covariance, y_context.expand(*shape, -1), (hyper.output_scale + hyper.noise)[..., None])
    return Conditioned(*(part[None] for part in given))


def correlation(kernel: str, r: Any) -> Any:
    """The kernels of `priors.kernels` at scaled distances r, in jax."""
    from jax import numpy

    if kernel == "rbf":
        return numpy.exp(-numpy.square(r) / 2)
    order = {"matern12": 1, "matern32": 3, "matern52": 5}[kernel]
    scaled = math.sqrt(order) * r
    polynomial = {1: 1.0, 3: 1 + scaled, 5: 1 + scaled + numpy.square(scaled) / 3}[order]
    return polynomial * numpy.exp(-scaled)


def score_tasks(prior: Prior, task: Task, chain: Chain, seed: int) -> dict[str, Array]:
    """Runs the chains on a batch of tasks and scores their predictive.

    Returns:
        `log_prob` of the hidden values, (B, m), and what `nuts.checks` says, (B,).

    Raises:
        ValueError: a prior that is not covered.
        ImportError: jax or numpyro is not installed.
    """
    found = sample_posterior(prior, task, chain, seed)
    log_prob = predictive(check_covered(prior), task, found.hyper).log_prob(task.hidden)
    return {"log_prob": log_prob.numpy(), **found.checks}
