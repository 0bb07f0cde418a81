"""Fully observed Markov jump processes: every jump is seen, and the posterior of the rates is known exactly.

Letters: S states, P paths, J jumps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import Gamma

from priorfit.priors.jump_rates import stationary_law
from priorfit.priors.jump_simulation import draw, off_diagonal_part


class CompletePaths(NamedTuple):
    """Paths of which every jump is seen: `states[p, j]` holds from `times[p, j]` to `times[p, j + 1]`.

    Past the last jump of a path its last state is repeated at the end of the time of observation.
    """

    times: Tensor  # (P, J + 1), float64, from 0 to the horizon
    states: Tensor  # (P, J + 1), int64


class Totals(NamedTuple):
    """What the likelihood depends on."""

    jumps: Tensor  # (S, S), zero diagonal
    dwell: Tensor  # (S,), time spent in each state


def complete_paths(rates: Tensor, horizon: float, n_paths: int, generator: Generator) -> CompletePaths:
    """Draws jump after jump, of all paths at once, from the stationary law on.

    Source: Gillespie 1977, "Exact stochastic simulation of coupled chemical reactions".

    Args:
        rates: (S, S), every state can be left.
        horizon: until when paths are observed.
        n_paths: P.
        generator: source of all randomness.
    """
    rates = off_diagonal_part(rates.double())
    exits = rates.sum(1)
    targets = (rates / exits[:, None]).cumsum(1)
    state = draw(stationary_law(rates).cumsum(0).expand(n_paths, -1), generator)
    time = torch.zeros(n_paths, dtype=torch.float64)
    times, states = [time], [state]
    while bool((time < horizon).any()):
        wait = -torch.log1p(-torch.rand(n_paths, generator=generator, dtype=torch.float64)) / exits[state]
        time = (time + wait).clamp(max=horizon)
        state = torch.where(time < horizon, draw(targets[state], generator), state)
        times.append(time)
        states.append(state)
    return CompletePaths(torch.stack(times, 1), torch.stack(states, 1))


def totals(paths: CompletePaths, n_states: int) -> Totals:
    """Jumps from state to state, and time spent in each, over all paths."""
    before, after = paths.states[:, :-1].flatten(), paths.states[:, 1:].flatten()
    jumps = torch.bincount(before * n_states + after, minlength=n_states**2).view(n_states, n_states)
    spent = torch.zeros(n_states, dtype=torch.float64).index_add_(0, before, paths.times.diff(dim=1).flatten())
    return Totals(off_diagonal_part(jumps.double()), spent)


def gamma_posterior(seen: Totals, shape: float, rate: float) -> Gamma:
    """Posterior of every rate, batch shape (S, S), what is on the diagonal being of no use.

    f_ij ~ Gamma(a, b) and the likelihood Π f_ij^N_ij exp(-f_ij T_i) give f_ij ~ Gamma(a + N_ij, b + T_i).

    Args:
        seen: N and T.
        shape: a of the prior.
        rate: b of the prior, in units of time.
    """
    return Gamma(shape + seen.jumps, (rate + seen.dwell)[:, None].expand_as(seen.jumps))
