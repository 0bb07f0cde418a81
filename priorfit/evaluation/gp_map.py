"""The classical baseline: one Gaussian process per task, its hyperparameters fitted by maximum a posteriori.

Also known as type-II maximum likelihood with a hyperprior, which is what GP libraries do by default. The
predictive plugs the fitted values in; their uncertainty, which full Bayes keeps, is lost.

Letters: B tasks, R starts (every kernel of the prior, each from several points), F features.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorfit.priors import GaussianProcess, Task
from priorfit.priors.gaussian_process import Hyperparameters, condition
from priorfit.priors.laws import Law

SMALLEST, LARGEST = 1e-6, 1e6  # no hyperparameter is looked for outside; densities of some laws have no bound
START_SEED = 20_220_520  # fits are deterministic
CANDIDATES = 16  # draws that each starting point is the best of


class MapFit(NamedTuple):
    """The best hyperparameters that were found for each of B tasks."""

    hyper: Hyperparameters  # leading shape (B,)
    objective: Tensor  # (B,), log evidence + log density of the hyperprior
    log_evidence: Tensor  # (B,)


class _Variables(NamedTuple):
    """Logarithms of the hyperparameters as their laws have them: no floor, no scaling with dimension."""

    lengthscale: Tensor  # (R, B, F)
    output_scale: Tensor  # (R, B)
    noise: Tensor  # (R, B)


def fit_map(prior: GaussianProcess, task: Task, *, starts: int = 4, steps: int = 200, lr: float = 0.1) -> MapFit:
    """Fits the hyperparameters that `prior` draws to the context of each task, all tasks and starts at once.

    Maximises log p(y | X, h) + log p(h) by Adam in log h, from good draws of the hyperprior. p(h) is the
    density of h itself, as in BoTorch, not of log h: the maximum depends on this choice. Hyperparameters that
    the prior fixes stay fixed, its noise floor is added, and of several kernels the best is taken.

    Args:
        prior: gives kernels, laws and floor.
        task: of the prior's family; only its context is used.
        starts: starting points per kernel.
        steps: of Adam; the step size falls to 0 along a cosine.
        lr: its first step size, in log units.

    Raises:
        ValueError: no starts or no steps.
    """
    if starts < 1 or steps < 1:
        raise ValueError("starts and steps must be at least 1.")
    x, y = task.observed.x_context.double(), task.observed.y_context.double()
    shape = (len(prior.kernels) * starts, len(y))
    kernel = torch.arange(shape[0], device=x.device).div(starts, rounding_mode="floor")[:, None].expand(shape)
    with torch.inference_mode(False), torch.enable_grad():
        variables = _climb(prior, x.clone(), y.clone(), kernel.clone(), steps, lr)
    hyper = _hyperparameters(prior, variables, kernel)
    log_evidence, objective = _objective(prior, x, y, hyper, variables)
    best = objective.argmax(0)  # (B,)
    tasks = torch.arange(len(y), device=x.device)
    return MapFit(Hyperparameters(*(h[best, tasks] for h in hyper)), objective[best, tasks], log_evidence[best, tasks])


def map_predictive(prior: GaussianProcess, task: Task, fit: MapFit | None = None) -> Distribution:
    """Predictive of the queries with the fitted hyperparameters plugged in, batch shape (B, m), float64."""
    hyper = (fit or fit_map(prior, task)).hyper
    x_context, y_context, x_query = (part.double() for part in task.observed)
    given = condition(prior.covariance(torch.cat([x_context, x_query], 1), hyper), y_context)
    return prior.predictive(given._replace(quadratic=given.quadratic[:, None]), y_context.shape[1])


def _climb(prior: GaussianProcess, x: Tensor, y: Tensor, kernel: Tensor, steps: int, lr: float) -> _Variables:
    """Raises the objective of every start and task by Adam."""
    variables = _start(prior, x, y, kernel)
    free = [(law, v.requires_grad_()) for law, v in zip(_laws(prior), variables, strict=True) if not law.fixed]
    if not free:
        return variables
    optimizer = torch.optim.Adam([variable for _, variable in free], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        _, objective = _objective(prior, x, y, _hyperparameters(prior, variables, kernel), variables)
        (-objective.sum()).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for law, variable in free:
                variable.clamp_(*_bounds(law))
    return _Variables(*(variable.detach() for variable in variables))


def _start(prior: GaussianProcess, x: Tensor, y: Tensor, kernel: Tensor) -> _Variables:
    """Starting points (R, B), each the best of several draws."""
    generator = torch.Generator(x.device).manual_seed(START_SEED)
    shape, n_features = kernel.shape, x.shape[-1]
    tried = [_draw(prior, (*shape, n_features), generator) for _ in range(CANDIDATES)]
    scores = [_objective(prior, x, y, _hyperparameters(prior, one, kernel), one)[1] for one in tried]
    best = torch.stack(scores).argmax(0)  # (R, B)
    return _Variables(*(_pick(torch.stack(fields), best) for fields in zip(*tried, strict=True)))


def _draw(prior: GaussianProcess, shape: tuple[int, ...], generator: torch.Generator) -> _Variables:
    """A draw of the hyperprior, spread out, for every start, task and feature: `shape` (R, B, F)."""
    variables = []
    for law, size in zip(_laws(prior), (shape, shape[:-1], shape[:-1]), strict=True):
        spread = torch.randn(size, generator=generator, device=generator.device, dtype=torch.float64)
        variables.append((law.sample(size, generator).log() + spread).clamp(*_bounds(law)))
    return _Variables(*variables)


def _pick(stacked: Tensor, best: Tensor) -> Tensor:
    """Entry `best` (R, B) of the first axis of `stacked` (candidates, R, B, …)."""
    index = best.reshape(1, *best.shape, *[1] * (stacked.ndim - 3)).expand(1, *stacked.shape[1:])
    return stacked.gather(0, index).squeeze(0)


def _laws(prior: GaussianProcess) -> tuple[Law, Law, Law]:
    """The laws of the variables."""
    return prior.lengthscale, prior.output_scale, prior.noise


def _bounds(law: Law) -> tuple[float, float]:
    """Logarithms of the smallest and largest value that is looked for, just inside the law's support."""
    if law.value is not None:
        return math.log(law.value), math.log(law.value)
    support = law.distribution.support
    low = max(SMALLEST, float(getattr(support, "lower_bound", 0)) * (1 + 1e-6))
    high = min(LARGEST, float(getattr(support, "upper_bound", math.inf)) * (1 - 1e-6))
    return math.log(low), math.log(high)


def _hyperparameters(prior: GaussianProcess, variables: _Variables, kernel: Tensor) -> Hyperparameters:
    """The covariance's hyperparameters: exponentials, scaled and floored as the prior does."""
    lengthscale, output_scale, noise = (variable.exp() for variable in variables)
    factor = math.sqrt(lengthscale.shape[-1]) if prior.scale_with_dimension else 1.0
    return Hyperparameters(lengthscale * factor, output_scale, noise + prior.noise_floor, kernel)


def _objective(
    prior: GaussianProcess, x: Tensor, y: Tensor, hyper: Hyperparameters, variables: _Variables
) -> tuple[Tensor, Tensor]:
    """Log evidence, and log evidence plus log hyperprior, each (R, B)."""
    shape = hyper.noise.shape
    covariance = prior.covariance(x.expand(*shape, *x.shape[1:]), hyper)
    evidence = prior.log_evidence(condition(covariance, y.expand(*shape, -1)), y.shape[1])
    objective = evidence
    for law, variable in zip(_laws(prior), variables, strict=True):
        if not law.fixed:
            density = law.distribution.log_prob(variable.exp())
            objective = objective + density.reshape(*shape, -1).sum(-1)
    return evidence, objective
