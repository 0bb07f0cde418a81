"""Markov chain Monte Carlo for learning curves: the reference at an equal prior.

The affine-invariant ensemble sampler of Goodman & Weare 2010 as emcee implements it (Foreman-Mackey et al. 2013),
with the walkers and steps of Domhan et al. 2015. Chains of that length mix badly on these posteriors (look at the
acceptance and the effective sample size): they bound what is possible, and are not the truth.

Letters: S points in parameter space (walkers or draws), P = 13 parameters, L steps, T observed ones, m queries.
A point holds the parameters of pow3 (c, a, ln alpha), ilog2 (c, a) and janoschek (a, b, ln k, ln delta), the three
weights, and ln sigma.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from emcee import EnsembleSampler
from emcee.autocorr import integrated_time
from numpy.random import MT19937, RandomState, SeedSequence
from scipy.optimize import least_squares
from scipy.special import logsumexp, ndtr

from priorfit.evaluation.curve_fits import FAMILIES, ilog2, janoschek, pow3
from priorfit.evaluation.scoring import Array
from priorfit.priors import LearningCurve, Prior

P = 13
LOGS, LOG_MEANS, LOG_SDS = [2, 7, 8, 12], np.array([0.0, -2.0, 0.0, -4.0]), np.array([2.0, 1.0, 0.5, 1.0])
BOXED = [0, 1, 3, 4, 5, 6, 9, 10, 11]
LOW = np.array([0, -0.6, 0, -0.5, 0, 0, 0, 0, 0])
HIGH = np.array([1.25, 0.6, 1, 0.5, 1, 2, 1, 1, 1])
# The fits' first starts, equal weights, and the median noise: a curve inside the support at any length.
STARTS = [FAMILIES[name].starts[0] for name in ("pow3", "ilog2", "janoschek")]
DEFAULT = np.concatenate([*STARTS, [1 / 3, 1 / 3, 1 / 3, -4]])
START_LOW, START_HIGH = np.empty(P), np.empty(P)  # where least squares looks
START_LOW[BOXED], START_HIGH[BOXED] = LOW + 0.001 * (HIGH - LOW), HIGH - 0.001 * (HIGH - LOW)
START_LOW[LOGS], START_HIGH[LOGS] = LOG_MEANS - 3 * LOG_SDS, LOG_MEANS + 3 * LOG_SDS
FREE = {"length", "context", "queries", "thinning"}  # arguments that leave the law of a curve as it is
POOL, POOL_SEED = 20_000, 20_150_725  # draws of the prior to start from


@dataclass(frozen=True)
class Chain:
    """How the chain is run; the defaults are the published setting.

    Attributes:
        walkers: members of the ensemble, even and at least 2 P = 26.
        burn_in: steps that are dropped.
        steps: steps after that.
        thin: every how many of them is kept.
        start: "least squares" (all walkers within about 1e-6 of a fit) or "prior" (the most likely of 20 000 draws
            of the prior).

    Raises:
        ValueError: a setting outside its range.
    """

    walkers: int = 100
    burn_in: int = 500
    steps: int = 2000
    thin: int = 10
    start: Literal["least squares", "prior"] = "least squares"

    def __post_init__(self) -> None:
        if self.walkers < 2 * P or self.walkers % 2 or self.walkers > POOL:
            raise ValueError(f"walkers must be an even number from {2 * P} to {POOL}, not {self.walkers}.")
        if self.burn_in < 0 or self.thin < 1 or self.steps < self.thin:
            raise ValueError("Needs burn_in >= 0, thin >= 1 and steps >= thin, so that something is kept.")
        if self.start not in ("least squares", "prior"):
            raise ValueError(f'start must be "least squares" or "prior", not {self.start!r}.')


class CurvePosterior:
    """Log density, up to a constant, of the parameters of one curve given its first values.

    The box and Gaussian laws of the published prior, -inf unless 0 <= f <= 1 on all steps and f(L) > f(1), and
    Gaussian noise.

    Args:
        length: L, the steps on which the prior's conditions hold.
        values: what was observed on the steps 1 … T, (T,); T may be 0.
    """

    def __init__(self, length: int, values: Array) -> None:
        self.values = np.asarray(values, float)
        self.x = np.log(np.arange(1.0, length + 1))

    def __call__(self, points: Array) -> Array:
        """Log density at points (S, P): (S,), never NaN."""
        density = np.full(len(points), -np.inf)
        boxed = points[:, BOXED]
        inside = np.flatnonzero(((boxed >= LOW) & (boxed <= HIGH)).all(1))
        if len(inside):
            density[inside] = self._inside_box(points[inside])
        return density

    def _inside_box(self, points: Array) -> Array:
        """Log density at points whose bounded parameters are inside their bounds."""
        f = curves(points, self.x)  # (S, L)
        good = (f.min(1) >= 0) & (f.max(1) <= 1) & (f[:, -1] > f[:, 0])  # false where there is NaN
        log_sigma, n = points[:, -1], len(self.values)
        squares = np.square(f[:, :n] - self.values).sum(1)
        likelihood = -squares * np.exp(-2 * log_sigma) / 2 - n * log_sigma
        prior = -np.square((points[:, LOGS] - LOG_MEANS) / LOG_SDS).sum(1) / 2
        return np.where(good, likelihood + prior, -np.inf)


def curves(points: Array, x: Array) -> Array:
    """The curves with parameters `points` (S, P) at x = ln t, (L,): (S, L)."""
    p = points.T[..., None]  # (P, S, 1)
    with np.errstate(over="ignore", invalid="ignore"):  # far outside of the prior's mass
        return p[9] * pow3(x, *p[:3]) + p[10] * ilog2(x, *p[3:5]) + p[11] * janoschek(x, *p[5:9])


def check_covered(prior: Prior) -> LearningCurve:
    """Returns the prior if it is the published one, of any length.

    Raises:
        ValueError: it is another; the message says in which arguments.
    """
    if not isinstance(prior, LearningCurve):
        raise ValueError(f"The MCMC is for the prior 'learning_curve', not for '{prior.registered_name}'.")
    published = LearningCurve(length=prior.length).arguments
    changed = sorted(key for key, value in prior.arguments.items() if value != published[key] and key not in FREE)
    if changed:
        raise ValueError(
            f"The MCMC knows the published prior of learning curves, and this one differs in: {', '.join(changed)}. "
            "Leave them at their defaults, or compare without MCMC."
        )
    return prior


def score_curve(
    length: int, values: Array, query_steps: Array, hidden: Array, chain: Chain, seed: tuple[int, ...]
) -> dict[str, Array]:
    """Runs the chain on one curve and scores its predictions, an equal mixture of N(f_s(t), sigma_s²) over draws s.

    Args:
        length: L.
        values: observed on the steps 1 … T, (T,).
        query_steps: later steps, (m,).
        hidden: the noisy values there, (m,).
        chain: how to run it.
        seed: chooses the random numbers.

    Returns:
        `log_prob`, `cdf` at the hidden values and the predictive `median`, (m,); and numbers: `acceptance` (share of
        proposals), `effective_sample_size` (of all kept draws, for the worst parameter) and `cpu_seconds` (of
        start, chain and log density).
    """
    started = time.process_time()
    random, noise = (RandomState(MT19937(part)) for part in SeedSequence(seed).spawn(2))
    sampler = run(CurvePosterior(length, values), chain, random)
    kept: Array = sampler.get_chain()  # type: ignore[assignment]  # (steps / thin, walkers, P)
    draws = kept.reshape(-1, P)
    f, log_sigma = curves(draws, np.log(query_steps)), draws[:, -1:]  # (S, m), (S, 1)
    z = (hidden - f) * np.exp(-log_sigma)
    log_prob: Array = logsumexp(-np.square(z) / 2 - log_sigma, axis=0)  # type: ignore[assignment]
    log_prob = log_prob - math.log(len(draws) * math.sqrt(2 * math.pi))
    seconds = time.process_time() - started
    noisy = f + np.exp(log_sigma) * noise.standard_normal(log_sigma.shape)
    return {
        "log_prob": log_prob,
        "cdf": ndtr(z).mean(0),
        "median": np.median(noisy, 0),
        "acceptance": np.array(sampler.acceptance_fraction.mean()),
        "effective_sample_size": np.array(effective_sample_size(kept)),
        "cpu_seconds": np.array(seconds),
    }


def run(posterior: CurvePosterior, chain: Chain, random: RandomState) -> EnsembleSampler:
    """The sampler after burn-in and all steps; it holds every `thin`-th."""
    start = likeliest_draws if chain.start == "prior" else around_fit
    state: Any = start(posterior, chain.walkers, random)
    sampler = EnsembleSampler(chain.walkers, P, posterior, vectorize=True)
    sampler.random_state = random.get_state()
    if chain.burn_in:
        state = sampler.run_mcmc(state, chain.burn_in, store=False)
    sampler.run_mcmc(state, chain.steps // chain.thin, thin_by=chain.thin)
    return sampler


def around_fit(posterior: CurvePosterior, walkers: int, random: RandomState) -> Array:
    """Walkers (walkers, P) within about 1e-6 of a least-squares fit, or of a point on the way from it to `DEFAULT`.

    The fit may leave the support, which the walkers must not: the nearest tenth of the way that is inside is taken.
    """
    fit, ball = least_squares_fit(posterior), 1e-6 * random.standard_normal((walkers, P))
    for share in np.linspace(0, 1, 11):
        points = (1 - share) * fit + share * DEFAULT + ball
        if np.isfinite(posterior(points)).all():
            break
    return points


def least_squares_fit(posterior: CurvePosterior) -> Array:
    """The best fit of all parameters at once to the observed values, (P,); ln sigma is that of the residuals.

    What the curve lacks of staying in [0, 1] and rising, and a hundredth of the distance of logarithms from the
    prior's mean, count as residuals too.
    """
    n = len(posterior.values)

    def residuals(free: Array) -> Array:
        f = curves(np.append(free, 0)[None], posterior.x)[0]  # (L,)
        beyond = np.append(f - np.clip(f, 0, 1), max(f[0] - f[-1], 0))
        prior = 0.01 * ((free[LOGS[:-1]] - LOG_MEANS[:-1]) / LOG_SDS[:-1])
        return np.concatenate([f[:n] - posterior.values, beyond, prior])

    fit = least_squares(residuals, DEFAULT[:-1], bounds=(START_LOW[:-1], START_HIGH[:-1]), max_nfev=60)
    spread = math.log(fit.fun[:n].std() + 1e-9) if n else DEFAULT[-1]
    return np.append(fit.x, np.clip(spread, START_LOW[-1], START_HIGH[-1]))


def likeliest_draws(posterior: CurvePosterior, walkers: int, random: RandomState) -> Array:
    """The most likely of 20 000 draws of the prior, (walkers, P); the draws are the same for all curves."""
    draws = prior_draws(len(posterior.x))
    n, log_sigma = len(posterior.values), draws.points[:, -1]
    squares = np.square(draws.curves[:, :n] - posterior.values).sum(1)
    order = np.argsort(squares * np.exp(-2 * log_sigma) / 2 + n * log_sigma, kind="stable")
    return draws.points[order[:walkers]]


class Draws(NamedTuple):
    """Draws of the prior inside the support."""

    points: Array  # (S, P)
    curves: Array  # (S, L)


@lru_cache(maxsize=4)
def prior_draws(length: int) -> Draws:
    """20 000 draws, less those that only rounding put inside the support."""
    generator = torch.Generator().manual_seed(POOL_SEED)
    prior = LearningCurve(length=length)
    parameters, _ = prior.mixture.sample(POOL, length, generator)  # (P - 1, S)
    sigma = prior.noise.sample((1, POOL), generator)
    points = torch.cat([parameters.double(), sigma.double()]).T.numpy().copy()
    points[:, LOGS] = np.log(points[:, LOGS])
    posterior = CurvePosterior(length, np.empty(0))
    points = points[np.isfinite(posterior(points))]
    return Draws(points, curves(points, posterior.x))


def effective_sample_size(kept: Array) -> float:
    """Of kept draws (steps, walkers, P), by the integrated autocorrelation time of the worst parameter.

    Walkers that never moved count as nothing. emcee's estimate is far too favourable for chains that are short of
    many autocorrelation times, as these are.
    """
    moved = kept[:, (kept != kept[:1]).any(0).all(-1)]
    if not moved.size:
        return 0.0
    return moved.shape[0] * moved.shape[1] / max(1.0, float(integrated_time(moved, tol=0).max()))
