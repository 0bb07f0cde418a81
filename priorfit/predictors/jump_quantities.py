"""What follows from the rates of a Markov jump process: its stationary law, its time scales, its irreversibility.

All functions take rate matrices with any leading axes: f_ij jumps per unit of time from state i to state j. What
stands on their diagonals is never looked at. A rate of 0 is a jump that cannot happen, so some states may never be
reached from others; each function says what it answers then.

Letters: S states.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy import ndarray

MOST_JUMPS = 2.0**40  # up to which exponentials are taken; those of longer times are squares of theirs


def generator_matrix(rates: ndarray) -> ndarray:
    """The rates in float64 with minus the sums of their rows on the diagonal, (…, S, S).

    Raises:
        ValueError: not square matrices, or rates that are negative or not finite.
    """
    rates = np.array(rates, dtype=np.float64)
    if rates.ndim < 2 or rates.shape[-1] != rates.shape[-2]:
        raise ValueError(f"Rates must be square matrices (…, S, S), not an array of shape {rates.shape}.")
    diagonal = np.arange(rates.shape[-1])
    rates[..., diagonal, diagonal] = 0
    if not (np.isfinite(rates) & (rates >= 0)).all():
        raise ValueError("Rates must be finite and not negative.")
    rates[..., diagonal, diagonal] = -rates.sum(-1)
    return rates


def transition_matrices(rates: ndarray, times: ndarray) -> ndarray:
    """Probabilities exp(F t) of being in state j a time t after state i.

    Args:
        rates: (…, S, S).
        times: (T,), not negative.

    Returns:
        (…, T, S, S).
    """
    exponents = generator_matrix(rates)[..., None, :, :] * np.asarray(times, dtype=np.float64)[:, None, None]
    jumps = np.abs(exponents).max((-2, -1), keepdims=True)
    squarings = np.ceil(np.log2(np.maximum(jumps, MOST_JUMPS) / MOST_JUMPS)).astype(int)
    matrices = _normalised(torch.linalg.matrix_exp(torch.from_numpy(np.ldexp(exponents, -squarings))).numpy())
    for done in range(squarings.max(initial=0)):  # without rows that add up to 1, rounding would grow with the time
        matrices = np.where(done < squarings, _normalised(matrices @ matrices), matrices)
    return matrices


def _normalised(matrices: ndarray) -> ndarray:
    """Matrices with rows that are probabilities."""
    probabilities = matrices.clip(0)
    return probabilities / probabilities.sum(-1, keepdims=True)


def stationary_distribution(rates: ndarray) -> ndarray:
    """The law that stays as it is, p F = 0, (…, S).

    States that are left for ever have probability 0. NaN where the law is not unique: where there are several groups of
    states that are never left.
    """
    generator = generator_matrix(rates)
    scale = np.abs(generator).max((-2, -1), keepdims=True)
    scaled = generator / np.where(scale > 0, scale, 1)
    recurrent, n_classes = _recurrent(generator)
    unique = n_classes == 1
    # p F = 0 and Σ p = 1 give p (F + 1 1ᵀ) = 1ᵀ, which has one solution where the law is unique.
    system = np.where(unique[..., None, None], scaled.swapaxes(-1, -2) + 1, np.eye(generator.shape[-1]))
    law = np.linalg.solve(system, np.ones((*system.shape[:-1], 1)))[..., 0]
    law = np.where(recurrent, law, 0).clip(0)
    return np.where(unique[..., None], law / law.sum(-1, keepdims=True), np.nan)


def relaxation_times(rates: ndarray) -> ndarray:
    """How long deviations from the stationary law last: 1 / |Re λ| of the eigenvalues of F but 0, (…, S - 1).

    The slowest first. Infinite where the stationary law is not unique: as often as there are further groups of states
    that are never left.
    """
    generator = generator_matrix(rates)
    speeds = np.sort(np.abs(np.linalg.eigvals(generator).real), -1)[..., 1:]
    stay = np.arange(speeds.shape[-1]) < _recurrent(generator)[1][..., None] - 1  # rounding makes those speeds 1e-17
    return np.where(stay, np.inf, 1 / np.where(stay, 1, speeds))


def mean_first_passage_times(rates: ndarray) -> ndarray:
    """Expected time from state i until state j is first entered, (…, S, S), 0 on the diagonal.

    Infinite where state j may never be entered.
    """
    generator = generator_matrix(rates)
    identity = np.eye(generator.shape[-1])
    sure = _sure(generator).swapaxes(-1, -2)  # (…, j, i)
    # For each j: Σ_k f_ik (m_k - m_i) = -1 from all i that surely enter j, and m = 0 at j.
    solved = sure & ~identity.astype(bool)
    system = np.where(solved[..., None], generator[..., None, :, :], identity)  # (…, j, i, k)
    times = np.linalg.solve(system, np.where(solved, -1.0, 0.0)[..., None])[..., 0]  # (…, j, i)
    return np.where(solved, times, np.where(sure, 0, np.inf)).swapaxes(-1, -2)


def entropy_production_rate(rates: ndarray) -> ndarray:
    """Entropy that the stationary process produces per unit of time, Σ_ij p_i f_ij ln(p_i f_ij / p_j f_ji), (…).

    0 for a process that looks the same backwards; infinite where a jump happens whose opposite cannot; NaN where the
    stationary law is not unique.
    """
    flow = stationary_distribution(rates)[..., None] * generator_matrix(rates)
    back = flow.swapaxes(-1, -2)
    happens = (flow > 0) & ~np.eye(flow.shape[-1], dtype=bool)
    one_way = happens & ~(back > 0)
    both = happens & ~one_way
    ratio = np.log(np.where(both, flow, 1)) - np.log(np.where(both, back, 1))
    production = np.where(both, flow * ratio, 0).sum((-2, -1))
    production = np.where(one_way.any((-2, -1)), np.inf, production)
    return np.where(np.isnan(flow).any((-2, -1)), np.nan, production)


QUANTITIES: dict[str, Callable[[ndarray], ndarray]] = {
    "stationary_distribution": stationary_distribution,
    "relaxation_times": relaxation_times,
    "mean_first_passage_times": mean_first_passage_times,
    "entropy_production_rate": entropy_production_rate,
}


def _reach(edges: ndarray) -> ndarray:
    """Whether state j is i itself or can be reached from it, (…, S, S)."""
    n_states = edges.shape[-1]
    reach = edges | np.eye(n_states, dtype=bool)
    for _ in range(n_states.bit_length()):  # paths of 2, 4, 8, … jumps
        reach = reach @ reach
    return reach


def _edges(generator: ndarray) -> ndarray:
    """Which jumps can happen."""
    return generator > 0


def _recurrent(generator: ndarray) -> tuple[ndarray, ndarray]:
    """Which states are returned to for ever, (…, S), and how many groups of them there are, (…)."""
    reach = _reach(_edges(generator))
    recurrent: ndarray = np.all(~reach | reach.swapaxes(-1, -2), -1)  # all that is reached leads back
    shares = recurrent / (reach & reach.swapaxes(-1, -2)).sum(-1)  # the states of a group add up to 1
    return recurrent, shares.sum(-1).round().astype(int)


def _sure(generator: ndarray) -> ndarray:
    """Whether state j is entered from i with probability 1, (…, i, j)."""
    edges, n_states = _edges(generator), generator.shape[-1]
    until = edges[..., None, :, :] & ~np.eye(n_states, dtype=bool)[:, :, None]  # (…, j, i, k): j is not left
    reach = _reach(until)
    leads = np.einsum("...jkj->...jk", reach)
    return (~reach | leads[..., None, :]).all(-1).swapaxes(-1, -2)  # all that is reached before j leads there
