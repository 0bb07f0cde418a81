"""Simulated states against matrix exponentials, and against jumps drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import expm
from torch import Tensor

from priorfit.priors.jump_rates import stationary_law
from priorfit.priors.jump_simulation import POWERS, power_tables, simulate
from tests.cases import TINY, seeded

RATES = torch.tensor([[0.0, 1.0, 0.2], [0.5, 0.0, 0.0], [0.1, 2.0, 0.0]], dtype=torch.float64)
INITIAL = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def generator(rates: Tensor) -> np.ndarray:
    return (rates - rates.sum(-1).diag_embed()).numpy()


def p_value(states: Tensor, law: np.ndarray) -> float:
    """Chi-square of independent states."""
    return stats.chisquare(states.bincount(minlength=len(law)).numpy(), law * len(states)).pvalue


@pytest.mark.parametrize("scale", [0.05, 1.0, 300.0])  # the last takes hundreds of steps in a gap
def test_marginals_are_those_of_matrix_exponentials(scale: float) -> None:
    times = torch.tensor([0.0, 0.3, 0.35, 2.0]).expand(2, 20_000, -1)
    rates = torch.stack([scale * RATES, RATES.mT])
    states = simulate(rates, INITIAL.expand(2, -1), times, seeded())
    for task in range(2):
        for index, t in enumerate((0.0, 0.3, 0.35, 2.0)):
            law = INITIAL.numpy() @ expm(generator(rates[task]) * t)
            assert p_value(states[task, :, index], law) > TINY


def test_pairs_of_states_are_those_of_matrix_exponentials() -> None:
    """Irregular times, another gap for every path."""
    times = torch.rand(1, 6000, 2, generator=seeded(1)).sort(-1).values * 3
    states = simulate(RATES[None], INITIAL[None], times, seeded(2))[0]
    moves = np.stack([expm(generator(RATES) * gap) for gap in times[0].diff(dim=-1)[:, 0].tolist()])  # (P, S, S)
    for start in range(3):
        mine = states[:, 0] == start
        observed = states[mine, 1].bincount(minlength=3).numpy()
        expected = moves[mine.numpy(), start]
        variance = (expected * (1 - expected)).sum(0)
        assert (np.abs(observed - expected.sum(0)) < 4.5 * np.sqrt(variance)).all()


def test_stationary_law_stays() -> None:
    law = stationary_law(RATES[None])
    times = torch.tensor([0.0, 0.5, 4.0]).expand(1, 20_000, -1)
    states = simulate(RATES[None], law, times, seeded())[0]
    for index in range(3):
        assert p_value(states[:, index], law[0].numpy()) > TINY


def test_number_of_jumps_and_times_between_them() -> None:
    """On a fine grid paths are those of a process that leaves state i at rate Σ_j f_ij, to j in proportion to f_ij."""
    step, n_points = 0.005, 800
    times = (step * torch.arange(n_points)).expand(1, 400, -1)
    states = simulate(RATES[None], INITIAL[None], times, seeded())[0]
    before, after = states[:, :-1], states[:, 1:]
    jumps = torch.stack([(before * 3 + after == kind).sum() for kind in range(9)]).view(3, 3).double()
    dwell = step * before.flatten().bincount(minlength=3).double()
    off = ~torch.eye(3, dtype=torch.bool)
    expected = (RATES * dwell[:, None])[off]
    z = (jumps[off] - expected) / expected.clamp(min=1).sqrt()
    assert z.abs().max() < 4.5 + 0.02 * expected.max().sqrt()  # two jumps in a step look like one or none
    leaves_first = [int((row != row[0]).nonzero()[0]) for row in states if row[0] == 0 and (row != row[0]).any()]
    horizon = step * n_points
    truncated = stats.truncexpon(b=1.2 * horizon, scale=1 / 1.2)
    assert stats.kstest(step * (np.array(leaves_first) - 0.5), truncated.cdf).pvalue > TINY


def test_a_state_without_exits_is_never_left_and_impossible_jumps_never_happen() -> None:
    rates = torch.tensor([[0.0, 3.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    times = torch.linspace(0, 50, 40).expand(1, 300, -1)
    states = simulate(rates[None], torch.tensor([[1.0, 0.0, 0.0]]), times, seeded())[0]
    assert (states[:, 0] == 0).all()
    assert (states.diff(dim=1) >= 0).all()
    assert (states[:, -1] == 2).all()


def test_a_process_without_jumps_stays_where_it_is() -> None:
    times = torch.linspace(0, 5, 4).expand(1, 10, -1)
    states = simulate(torch.zeros(1, 2, 2), torch.tensor([[0.5, 0.5]]), times, seeded())[0]
    assert (states == states[:, :1]).all()
    assert len(states.unique()) == 2


def test_long_runs_of_steps_are_made_of_several_powers() -> None:
    kernel = torch.tensor([[[0.99, 0.01], [0.02, 0.98]]], dtype=torch.float64)
    tables = power_tables(kernel, POWERS**2 + 5)
    assert [table.shape for table in tables] == [(1, POWERS, 2, 2)] * 3
    for exponent, table in zip((1, POWERS, POWERS**2), tables, strict=True):
        expected = np.linalg.matrix_power(kernel[0].numpy(), 3 * exponent).cumsum(-1)
        np.testing.assert_allclose(table[0, 3].numpy(), expected, atol=1e-12)
