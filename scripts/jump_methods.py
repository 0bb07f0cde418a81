"""Ways to read the rates of a jump process off its paths, all asked alike: for `compare_jump.py`.

Letters: S states, P paths, L observations.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from priorfit.checkpoints import Checkpoint
from priorfit.evaluation.jump_fit import fit
from priorfit.evaluation.metrics import estimate
from priorfit.evaluation.scoring import Array
from priorfit.evaluation.writers import with_error
from priorfit.predictors import MarkovJumpEstimator
from priorfit.predictors.jump_posterior import off_diagonal

POINTS = 100  # observations per path
# P(rate < value) + u P(rate = value), (S (S - 1),), for true rates (S, S) and uniform numbers u, off the diagonal
Level = Callable[[Array, Array], Array]


class Panel(NamedTuple):
    """What is known of one process."""

    times: Tensor  # (P, L)
    states: Tensor  # (P, L), int64, -1 past the end of a path
    n_states: int
    noise: float  # probability of a wrong label, for the methods that must be told


class Answer(NamedTuple):
    """What a method makes of it."""

    rates: Array  # (S, S), zero diagonal
    level: Level
    seconds: float  # processor time


Method = Callable[[Panel], Answer]


def maximum_likelihood(panel: Panel, noise: float | None) -> Answer:
    """The most probable rates given a level of label noise, with normal laws of their logarithms."""
    started = time.process_time()
    found = fit(panel.times, panel.states, panel.n_states, noise=noise)
    seconds = time.process_time() - started
    off = off_diagonal(panel.n_states)

    def level(values: Array, u: Array) -> Array:
        with np.errstate(divide="ignore"):
            z = (np.log(values[off]) - np.log(found.rates[off])) / found.standard_errors[off]
        return ndtr(z)

    return Answer(found.rates, level, seconds)


def network(panel: Panel, checkpoint: Checkpoint, refine: bool) -> Answer:
    """The network's posterior means or, with `refine`, the most probable rates near them."""
    estimator = MarkovJumpEstimator(panel.n_states, checkpoint, refine=refine, device="cpu")
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # states that no path visits are meant to be counted
        estimator.fit((panel.times.double().numpy(), panel.states.numpy()))
    seconds = time.process_time() - started
    law, off = estimator.rate_distribution_, off_diagonal(panel.n_states)

    def level(values: Array, u: Array) -> Array:
        below, absent = law.rate_cdf(torch.from_numpy(values)).numpy()[off], 1 - law.present.numpy()[off]
        return np.where(values[off] > 0, below, u * absent)

    return Answer(estimator.rate_matrix_ * off, level, seconds)


def from_draws(rates: Array, seconds: float) -> Answer:
    """Posterior means and levels of draws (D, S, S)."""
    off = off_diagonal(rates.shape[-1])

    def level(values: Array, u: Array) -> Array:
        return (rates < values)[:, off].mean(0) + u * (rates == values)[:, off].mean(0)

    return Answer(rates.mean(0), level, seconds)


def methods(checkpoint: Checkpoint, refine: bool) -> dict[str, Method]:
    """All ways, by name."""
    ways: dict[str, Method] = {
        "naive ML": lambda panel: maximum_likelihood(panel, 0.0),
        "ML, noise known": lambda panel: maximum_likelihood(panel, panel.noise),
        "network": lambda panel: network(panel, checkpoint, False),
    }
    if refine:
        ways["network, refine"] = lambda panel: network(panel, checkpoint, True)
    return ways


def error(rates: Array, truth: Array) -> float:
    """Root of the mean squared error of all S (S - 1) rates."""
    return float(np.sqrt(np.square(rates - truth)[off_diagonal(len(truth))].mean()))


def mean(values: Sequence[float]) -> str:
    """Mean and standard error."""
    column = np.array(values)[:, None]
    return with_error(estimate(column, np.arange(len(column))), 3)
