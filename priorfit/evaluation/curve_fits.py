"""Classical extrapolations of learning curves: parametric least squares, and the last value.

Both are called as a network is, with the fields of `Curves`, and return a distribution for every query. They are
meant to be hard to beat; every number below was chosen for the best log scores on curves of the published prior and
on real training runs together.

Letters: B curves, T observed steps, m queries, K families, p parameters of a family.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal

from priorfit.evaluation.scoring import Array

RECENCY = 10.0  # weight of the last observed step, relative to a step before the first
PSEUDO_RESIDUAL = 0.05  # one residual of this size joins those of a fit: few points never look like no noise
PSEUDO_INCREMENT = 0.1  # one increment of this size per unit of log time joins those of a curve
FLOOR = 1e-3  # standard deviation that is added to every prediction's

Method = Callable[[Tensor, Tensor, Tensor, Tensor], Distribution]  # takes the fields of `Curves`, as networks do


class Family(NamedTuple):
    """A family of curves: its formula in x = ln t, bounds of its parameters, and where fits start."""

    curve: Callable[..., Array]
    low: tuple[float, ...]
    high: tuple[float, ...]
    starts: tuple[tuple[float, ...], ...]


class Fit(NamedTuple):
    """A weighted least-squares fit of one family to T points."""

    parameters: Array  # (p,)
    jacobian: Array  # (T, p), of the weighted residuals
    squares: float  # sum of the squared weighted residuals


def pow3(x: Array, c: Array, a: Array, log_alpha: Array) -> Array:
    """c - a t^-alpha."""
    return c - a * np.exp(-np.exp(log_alpha) * x)


def ilog2(x: Array, c: Array, a: Array) -> Array:
    """c - a / ln(t + 1)."""
    return c - a / np.log1p(np.exp(x))


def janoschek(x: Array, a: Array, b: Array, log_k: Array, log_delta: Array) -> Array:
    """a - (a - b) exp(-k t^delta)."""
    return a - (a - b) * np.exp(-np.exp(log_k + np.exp(log_delta) * x))


def pow4(x: Array, c: Array, a: Array, log_alpha: Array, log_s: Array) -> Array:
    """c - a (1 + t / s)^-alpha."""
    return c - a * np.exp(-np.exp(log_alpha) * np.log1p(np.exp(x - log_s)))


# The three families of the published prior, and the one that fits real curves best (Cazacu 2025). The first start
# of each of the three is that of Domhan et al. 2015.
FAMILIES = {
    "pow3": Family(
        pow3, (-0.5, -3, math.log(0.01)), (1.5, 3, 2), ((0.84, 0.52, math.log(0.01)), (0.8, 0.5, -1), (0.8, 0.5, 0))
    ),
    "ilog2": Family(ilog2, (-0.5, -3), (1.5, 3), ((0.78, 0.43),)),
    "janoschek": Family(
        janoschek,
        (-0.5, -1, -7, -1.5),
        (1.5, 2, 2, 1.5),
        ((0.73, 0.07, math.log(0.355), math.log(0.46)), (0.73, 0.2, -3, 0)),
    ),
    "pow4": Family(pow4, (-0.5, -3, -4, -1), (1.5, 3, 2, 5), ((0.8, 0.5, -1, 1), (0.8, 0.5, 0, 3))),
}


def parametric_fits(steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> MixtureSameFamily:
    r"""Least-squares fits of several families, weighted by their information criteria.

    Each family is fitted within bounds, from one to three starts, with weights that grow along the curve as
    10^(i / T) (Domhan et al. 2015). Its prediction at step t is normal around the fit (kept in [0, 1]) with

        variance = s² (1 + ln(t / t_T)) + gᵀ (JᵀJ / s² + D)⁻¹ g,    s² = (RSS + 0.05²) / (max(T - p, 0) + 1) + 0.001²

    where J and g are the derivatives of observed and predicted values by the parameters, and D holds the inverse
    variances of uniform laws between the bounds: noise, drift away from the family, and what the data leave open
    about the parameters (Laplace's approximation). The mixture weighs families by exp(-BIC / 2).

    Args:
        steps: increasing and positive, (B, n).
        values: about in the unit range, (B, n).
        query_steps: later ones, (B, m).
        visible: the same number T >= 1 for all queries of a curve, (B, m).

    Returns:
        Batch shape (B, m), float64.

    Raises:
        ValueError: not so.
    """
    parts = [_mixture(*curve) for curve in _curves(steps, values, query_steps, visible)]
    mean, std, log_weight = (torch.from_numpy(np.stack(part)) for part in zip(*parts, strict=True))  # (B, m, K) each
    return MixtureSameFamily(
        Categorical(logits=log_weight), Normal(mean, std, validate_args=False), validate_args=False
    )


def last_value(steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> Normal:
    r"""The last observed value stays: a random walk in log time, the natural scale of learning curves.

    variance = r² ln(t / t_T) + 0.001²,  r² = (0.1² + Σ_i (y_i - y_{i-1})² / ln(t_i / t_{i-1})) / (1 + I),

    where i runs over the I = ⌊T / 2⌋ last increments: r = 0.1 for a single value.

    Args, Returns, Raises: as `parametric_fits`.
    """
    parts = [_walk(*curve) for curve in _curves(steps, values, query_steps, visible)]
    mean, std = (torch.from_numpy(np.stack(part)) for part in zip(*parts, strict=True))  # (B, m) each
    return Normal(mean, std, validate_args=False)


def fit_family(family: Family, x: Array, values: Array, weights: Array) -> Fit:
    """The best weighted least-squares fit to values at x = ln t, all (T,), within the family's bounds."""
    low, high, root = np.array(family.low), np.array(family.high), np.sqrt(weights)

    def residuals(parameters: Array) -> Array:
        return root * (family.curve(x, *parameters) - values)

    results = [
        least_squares(residuals, start, bounds=(low, high), x_scale=(high - low) / 4, max_nfev=100)
        for start in np.clip(family.starts, low + 1e-6, high - 1e-6)
    ]
    best = min(results, key=lambda result: result.cost)
    return Fit(best.x, best.jac, 2 * best.cost)


def _curves(
    steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor
) -> Iterator[tuple[Array, Array, Array]]:
    """What is seen of each curve: its observed steps and values, (T,), and its queries, (m,)."""
    counts = visible[:, 0].tolist()
    if not (visible == visible[:, :1]).all() or min(counts, default=1) < 1:
        raise ValueError("Fits need at least one observed value, and as many for every query of a curve.")
    arrays = (part.detach().double().cpu().numpy() for part in (steps, values, query_steps))
    for n, t, y, queries in zip(counts, *arrays, strict=True):
        if (np.diff(t[:n], prepend=0) <= 0).any() or (queries <= t[n - 1]).any():
            raise ValueError("Observed steps must be positive and increase, and queries must come after them.")
        yield t[:n], y[:n], queries


def _mixture(steps: Array, values: Array, query_steps: Array) -> tuple[Array, Array, Array]:
    """Means, standard deviations and log weights of the families' predictions, each (m, K)."""
    x, x_query = np.log(steps), np.log(query_steps)
    n = len(values)
    weights = RECENCY ** (np.arange(1, n + 1) / n)
    weights /= weights.mean()
    parts = []
    for family in FAMILIES.values():
        fit = fit_family(family, x, values, weights)
        mean, std = _prediction(family, fit, x_query, x_query - x[-1])
        likely = (fit.squares + PSEUDO_RESIDUAL**2) / (n + 1) + FLOOR**2  # variance of the largest likelihood
        criterion = n * math.log(likely) + len(fit.parameters) * math.log(max(n, 2))
        parts.append((mean, std, np.full_like(mean, -criterion / 2)))
    mean, std, log_weight = (np.stack(part, 1) for part in zip(*parts, strict=True))
    return mean, std, log_weight


def _prediction(family: Family, fit: Fit, x: Array, elapsed: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of one family at x = ln t, `elapsed` later than the last value, each (m,)."""
    width = np.array(family.high) - np.array(family.low)
    degrees = max(len(fit.jacobian) - len(width), 0)
    variance = (fit.squares + PSEUDO_RESIDUAL**2) / (degrees + 1) + FLOOR**2
    precision = fit.jacobian.T @ fit.jacobian / variance + np.diag(12 / width**2)  # (p, p)
    gradient = _gradient(family, fit.parameters, x, 1e-5 * width)  # (m, p)
    open_ = (gradient * np.linalg.solve(precision, gradient.T).T).sum(1)
    mean = np.clip(family.curve(x, *fit.parameters), 0, 1)
    return mean, np.sqrt(variance * (1 + elapsed) + open_)


def _gradient(family: Family, parameters: Array, x: Array, step: Array) -> Array:
    """Central differences of the curve at x by each parameter, (m, p)."""
    shifts = np.diag(step)
    ends = ((family.curve(x, *(parameters + s)), family.curve(x, *(parameters - s))) for s in shifts)
    return np.stack([(high - low) / (2 * h) for (high, low), h in zip(ends, step, strict=True)], 1)


def _walk(steps: Array, values: Array, query_steps: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the last value's prediction, each (m,)."""
    recent = len(values) // 2 + 1
    increments = np.diff(values[-recent:]) ** 2 / np.diff(np.log(steps[-recent:]))
    rate = (PSEUDO_INCREMENT**2 + increments.sum()) / (1 + len(increments))
    elapsed = np.log(query_steps / steps[-1])
    return np.full_like(elapsed, values[-1]), np.sqrt(rate * elapsed + FLOOR**2)
