"""Exact simulation of Markov jump processes at given times, for all paths of all processes at once.

By uniformisation: with Λ a process's largest exit rate, it is a Markov chain of kernel K = I + F / Λ whose steps come
at the points of a Poisson process of rate Λ. Between two observations there are n ~ Poisson(Λ Δt) steps, and the state
after them has the law K^n, which is looked up. So the work does not grow with the number of jumps.
Source: Jensen 1953, "Markoff chains as an aid in the study of Markoff processes".
Letters: B processes, S states, P paths, L observations, R powers.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

POWERS = 64  # R; longer runs of steps are made of several: n = n_0 + R n_1 + R² n_2 …


def simulate(rates: Tensor, initial: Tensor, times: Tensor, generator: Generator) -> Tensor:
    """States of independent paths at the given times, (B, P, L), int64.

    Args:
        rates: jumps per unit of time from state to state, (B, S, S), >= 0; the diagonal is not looked at.
        initial: law of the state at time 0, (B, S).
        times: (B, P, L), >= 0, not decreasing along each path.
        generator: source of all randomness.
    """
    rates, batch_size, n_states = off_diagonal_part(rates.double()), len(rates), rates.shape[-1]
    exit_rates = rates.sum(-1)  # (B, S)
    fastest = exit_rates.amax(1)[:, None, None]  # (B, 1, 1)
    kernel = (rates - exit_rates.diag_embed()) / fastest.clamp(min=torch.finfo(torch.float64).tiny)
    kernel = kernel + torch.eye(n_states, dtype=kernel.dtype, device=kernel.device)
    gaps = times.diff(dim=-1, prepend=torch.zeros_like(times[..., :1]))  # (B, P, L)
    steps = torch.poisson((gaps * fastest).float(), generator=generator).long()
    tables = power_tables(kernel, int(steps.max()))
    task = torch.arange(batch_size, device=times.device)[:, None]  # (B, 1)
    state = draw(initial.double().cumsum(-1)[:, None].expand(-1, times.shape[1], -1), generator)
    states = torch.empty(times.shape, dtype=torch.int64, device=times.device)
    for index in range(times.shape[2]):
        left = steps[..., index]  # (B, P)
        for table in tables:
            state = draw(table[task, left % POWERS, state], generator)
            left = left // POWERS
        states[..., index] = state
    return states


def off_diagonal_part(matrices: Tensor) -> Tensor:
    """Square matrices (…, S, S) with zeros on their diagonals."""
    return matrices - matrices.diagonal(dim1=-2, dim2=-1).diag_embed()


def power_tables(kernel: Tensor, largest: int) -> list[Tensor]:
    """Cumulative rows of K^n for n = 0 … R - 1, of K^(R n), and so on up to `largest`: each (B, R, S, S)."""
    tables = []
    while not tables or largest:
        powers = torch.stack(
            [torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device).expand_as(kernel)], 1
        )
        factor = kernel
        while powers.shape[1] < POWERS:
            powers = torch.cat([powers, powers @ factor[:, None]], 1)
            factor = factor @ factor
        tables.append(powers.clamp(min=0).cumsum(-1))
        kernel, largest = factor, largest // POWERS
    return tables


def draw(cumulative: Tensor, generator: Generator) -> Tensor:
    """Classes drawn from cumulative probabilities (…, S), which end near 1: (…)."""
    level = torch.rand(cumulative.shape[:-1], generator=generator, dtype=cumulative.dtype, device=cumulative.device)
    return (level[..., None] >= cumulative[..., :-1]).sum(-1)


def mislabelled(states: Tensor, noise: Tensor, n_states: int, generator: Generator) -> Tensor:
    """States (B, P, L), each changed to another one with probability noise (B,); -1 stays."""
    shift = torch.randint(1, n_states, states.shape, generator=generator, device=states.device)
    level = torch.rand(states.shape, generator=generator, device=states.device)
    wrong = (level < noise[:, None, None]) & (states >= 0)
    return torch.where(wrong, (states + shift) % n_states, states)
