"""How probable observed paths are under given rates.

Letters: P paths, L observations, S states, G different gaps.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from priorfit.predictors.jump_quantities import transition_matrices
from priorfit.predictors.jump_reading import ObservedPaths

SAME = 1e-9  # relative difference between gaps that count as one


def path_log_likelihoods(paths: ObservedPaths, rates: ndarray, initial: ndarray, label_noise: float = 0.0) -> ndarray:
    """Log probability of the states of each path given its times, log p(s_0) Π exp(F Δ_n)_{s_n, s_n+1}, (P,).

    With label noise it sums over the true states, each shown wrongly with probability ε, then as any other state alike
    (the forward algorithm: Rabiner 1989, "A tutorial on hidden Markov models").

    Args:
        paths: states 0 … S - 1.
        rates: F, (S, S).
        initial: law of the state at the first observation, (S,).
        label_noise: ε, from 0 on and below 1.
    """
    n_states = len(initial)
    moves, kind = _moves(paths, rates)
    wrong = label_noise / (n_states - 1)
    shown = np.where(np.eye(n_states, dtype=bool), 1 - label_noise, wrong)  # (shown, true)
    law, total = np.broadcast_to(initial, (len(kind), n_states)), np.zeros(len(kind))
    for t in range(paths.states.shape[1]):
        seen = paths.states[:, t] >= 0
        before = law if t == 0 else np.einsum("ps,pst->pt", law, moves[kind[:, t - 1]])
        joint = np.where(seen[:, None], before * shown[paths.states[:, t]], law)
        chance = joint.sum(1)
        with np.errstate(divide="ignore"):
            total += np.where(seen, np.log(chance), 0)
        law = joint / np.where(chance > 0, chance, 1)[:, None]
    return total


def _moves(paths: ObservedPaths, rates: ndarray) -> tuple[ndarray, ndarray]:
    """Transition matrices (G, S, S), and which of them each gap has, (P, L - 1)."""
    gaps = np.diff(paths.times, axis=1)
    digits = np.round(np.log(gaps, out=np.full_like(gaps, -np.inf), where=gaps > 0) / SAME)  # differences are rounding
    _, first, kind = np.unique(digits, return_index=True, return_inverse=True)
    return transition_matrices(rates, gaps.flatten()[first]), kind.reshape(gaps.shape)
