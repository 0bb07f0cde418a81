"""The likelihood of panels against products of matrix exponentials and sums over all true states."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from priorfit.evaluation.jump_likelihood import PanelLikelihood, distinct

RATES = np.array([[0.0, 1.0, 0.2], [0.5, 0.0, 0.0], [0.1, 2.0, 0.0]])
INITIAL = np.array([0.2, 0.5, 0.3])
TIMES = torch.tensor([[0.5, 0.7, 1.5, 1.9], [0.0, 0.2, 1.0, 1.0]])
STATES = torch.tensor([[0, 1, 1, 2], [2, 2, 0, -1]])


def log_likelihood(noise: float, from_zero: bool = False) -> float:
    panel = PanelLikelihood(TIMES, STATES, 3, from_zero=from_zero)
    return float(panel(torch.from_numpy(RATES)[None], torch.from_numpy(INITIAL)[None], noise))


def by_enumeration(noise: float, from_zero: bool = False) -> float:
    """Sum over all true states of each path."""
    generator, total = RATES - np.diag(RATES.sum(1)), 0.0
    emission = (1 - noise) * np.eye(3) + noise / 2 * (1 - np.eye(3))
    for times, states in zip(TIMES.double().numpy(), STATES.numpy(), strict=True):
        seen = states >= 0
        times, states, chance = times[seen], states[seen], 0.0
        start = INITIAL @ expm(generator * times[0]) if from_zero else INITIAL
        moves = [expm(generator * gap) for gap in np.diff(times)]
        for truth in product(range(3), repeat=len(states)):
            steps = [moves[n][truth[n], truth[n + 1]] for n in range(len(moves))]
            labels = [emission[true, label] for true, label in zip(truth, states, strict=True)]
            chance += start[truth[0]] * np.prod(steps) * np.prod(labels)
        total += np.log(chance)
    return total


@pytest.mark.parametrize("from_zero", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3])
def test_likelihood_sums_over_true_states(noise: float, from_zero: bool) -> None:
    assert log_likelihood(noise, from_zero) == pytest.approx(by_enumeration(noise, from_zero), rel=1e-6)


def test_little_noise_is_next_to_none() -> None:
    assert log_likelihood(1e-9) == pytest.approx(log_likelihood(0.0), abs=1e-6)


def test_several_parameters_at_once() -> None:
    panel = PanelLikelihood(TIMES, STATES, 3)
    rates = torch.from_numpy(np.stack([RATES, 2 * RATES]))
    initial = torch.from_numpy(np.stack([INITIAL, INITIAL[::-1]]))
    for noise in (0.0, 0.1):
        together = panel(rates, initial, noise)
        alone = [panel(rates[[k]], initial[[k]], noise)[0] for k in range(2)]
        torch.testing.assert_close(together, torch.stack(alone))


def test_gradients_are_finite_where_a_path_is_impossible() -> None:
    rates = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    panel = PanelLikelihood(torch.tensor([[0.0, 1.0]]), torch.tensor([[1, 0]]), 2)
    value = panel(rates, torch.tensor([[0.5, 0.5]], dtype=torch.float64))
    value.sum().backward()
    assert value.item() < -600
    assert rates.grad is not None
    assert rates.grad.isfinite().all()


def test_gaps_that_differ_by_rounding_are_one() -> None:
    gaps = torch.tensor([[0.1, 0.3], [0.1 + 1e-8, 0.2]], dtype=torch.float64)
    values, kind = distinct(gaps)
    assert values.tolist() == pytest.approx([0.1, 0.2, 0.3], rel=1e-6)
    assert kind.tolist() == [[0, 2], [0, 1]]


def test_gaps_side_by_side_are_not_all_one() -> None:
    gaps = torch.linspace(0.1, 0.11, 30_001, dtype=torch.float64)  # each less than `SAME` from the next
    values, kind = distinct(gaps)
    assert (values[kind] - gaps).abs().max() < 2e-7


@pytest.mark.parametrize(
    ("times", "states", "message"),
    [
        ([[0.0, 1.0]], [[0, 3]], "states below 3"),
        ([[1.0, 1.0]], [[0, 1]], "must increase"),
        ([[0.0]], [[0, 1]], "Needs times and states"),
    ],
)
def test_bad_panels_are_refused(times: list, states: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PanelLikelihood(torch.tensor(times), torch.tensor(states), 3)
