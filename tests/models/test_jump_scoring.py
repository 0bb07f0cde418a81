"""Fisher scoring of rates: closed forms for two states, derivatives, and the likelihood's own maximum."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from priorfit.models.jump_panel import Panel, build_panel
from priorfit.models.jump_scoring import (
    Fit,
    expected_evidence,
    fisher_information,
    improve,
    scoring_step,
    start,
    time_integral,
    transition_matrices,
    with_diagonal,
)
from priorfit.models.jump_smoother import smooth
from tests.cases import seeded

NODES = torch.tensor([[0.3, 0.9, 2.0]], dtype=torch.float64)


def some_rates(n_states: int = 3) -> Tensor:
    generator = seeded(2)
    rates = 0.2 + torch.rand(1, n_states, n_states, generator=generator, dtype=torch.float64)
    return rates * ~torch.eye(n_states, dtype=torch.bool)


def flat(matrix: Tensor) -> Tensor:
    return matrix[..., ~torch.eye(matrix.shape[-1], dtype=torch.bool)]


def panel_log_likelihood(rates: Tensor, counts: Tensor) -> Tensor:
    return (counts * transition_matrices(rates, NODES).log()).sum()


def test_the_time_integral_is_the_derivative_by_the_generator() -> None:
    weights = torch.rand(1, 3, 3, 3, generator=seeded(3), dtype=torch.float64)
    generator = with_diagonal(some_rates()).requires_grad_()
    total = (weights * torch.linalg.matrix_exp(generator[:, None] * NODES[..., None, None])).sum()
    (expected,) = torch.autograd.grad(total, generator)
    torch.testing.assert_close(time_integral(generator.detach(), weights, NODES), expected)


def test_jumps_minus_expected_jumps_is_the_score_of_the_log_rates() -> None:
    counts = 10 * torch.rand(1, 3, 3, 3, generator=seeded(4), dtype=torch.float64)
    rates = some_rates().requires_grad_()
    (slope,) = torch.autograd.grad(panel_log_likelihood(rates, counts), rates)
    evidence = expected_evidence(rates.detach(), counts, NODES)
    score = flat(evidence.jumps - rates.detach() * evidence.dwell[..., None])
    torch.testing.assert_close(score, flat(rates.detach() * slope))
    total = (counts.sum((2, 3)) * NODES).sum(1)
    torch.testing.assert_close(evidence.dwell.sum(1), total)  # all of the time is spent somewhere


def test_information_is_the_curvature_at_expected_counts() -> None:
    rates, starts = some_rates(), torch.tensor([[[4.0, 7.0, 2.0], [3.0, 3.0, 9.0], [5.0, 1.0, 1.0]]]).double()
    transitions = transition_matrices(rates, NODES)
    counts = starts[..., None] * transitions

    def negative(log_rates: Tensor) -> Tensor:
        moved = torch.zeros_like(rates)
        moved[:, ~torch.eye(3, dtype=torch.bool)] = log_rates.exp()[None]
        return -panel_log_likelihood(moved, counts)

    expected = torch.autograd.functional.hessian(negative, flat(rates)[0].log())
    information = fisher_information(rates, starts, transitions, NODES)
    torch.testing.assert_close(information[0], expected, rtol=2e-2, atol=2e-2)


def test_two_states_have_their_maximum_in_closed_form() -> None:
    """exp(F Δ) of two states determines the rates: f + b = -log(1 - p - q) / Δ, f = p (f + b) / (p + q)."""
    p, q, gap = 0.3, 0.15, 0.8
    counts = 1e6 * torch.tensor([[[[1 - p, p], [q, 1 - q]]]], dtype=torch.float64)
    nodes = torch.tensor([[gap]], dtype=torch.float64)
    rates = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    for _ in range(8):
        rates = scoring_step(rates, counts, nodes, prior=0.0)
    total = -math.log(1 - p - q) / gap
    assert rates[0, 0, 1].item() == pytest.approx(total * p / (p + q), rel=1e-6)
    assert rates[0, 1, 0].item() == pytest.approx(total * q / (p + q), rel=1e-6)


def noisy_panel(rates: Tensor, noise: float, n_paths: int) -> tuple[Tensor, Tensor]:
    """Paths of 40 observations at gaps of 0.4, some labels wrong."""
    generator, matrix = seeded(6), torch.linalg.matrix_exp(with_diagonal(rates)[0] * 0.4)
    state = torch.randint(3, (n_paths,), generator=generator)
    path = [state]
    for _ in range(39):
        state = torch.multinomial(matrix[state], 1, generator=generator)[:, 0]
        path.append(state)
    clean = torch.stack(path, -1)
    wrong = torch.rand(clean.shape, generator=generator) < noise
    other = (clean + torch.randint(1, 3, clean.shape, generator=generator)) % 3
    return 0.4 * torch.arange(40.0).expand(1, n_paths, 40), torch.where(wrong, other, clean)[None]


def test_rates_and_noise_are_found_from_many_mislabelled_paths() -> None:
    rates = some_rates()
    times, states = noisy_panel(rates, 0.1, 1500)
    panel = build_panel(times, states, 8)
    fit = improve(panel, start(panel, 3), 15, prior=0.0)
    assert fit.noise.item() == pytest.approx(0.1, abs=0.01)
    torch.testing.assert_close(flat(fit.rates / panel.unit), flat(rates), rtol=0.1, atol=0.03)


def log_likelihood(panel: Panel, fit: Fit) -> float:
    transitions = transition_matrices(fit.rates, panel.nodes).float()
    return smooth(panel, transitions, fit.initial.float(), fit.noise.float()).log_likelihood.item()


def test_rounds_raise_the_likelihood_and_leaps_raise_it_sooner() -> None:
    times, states = noisy_panel(some_rates(), 0.05, 60)
    panel = build_panel(times, states, 8)
    fits = [start(panel, 3)]
    for _ in range(25):
        fits.append(improve(panel, fits[-1], 1, prior=0.0))
    values = [log_likelihood(panel, fit) for fit in fits]
    assert all(later > earlier - 0.5 for earlier, later in itertools.pairwise(values))
    assert values[6] > values[0] + 50
    leapt = log_likelihood(panel, improve(panel, fits[0], 13, prior=0.0))
    assert leapt > values[-1]
    assert log_likelihood(panel, improve(panel, fits[0], 25, prior=0.0)) - leapt < 0.2
