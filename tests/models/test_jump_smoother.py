"""Forward and backward passes against sums over all hidden paths, and against automatic differentiation."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from priorfit.models import jump_smoother
from priorfit.models.jump_panel import Panel, build_panel
from priorfit.models.jump_scoring import transition_matrices
from priorfit.models.jump_smoother import is_regular, smooth
from tests.cases import seeded

NOISE = torch.tensor([0.1, 0.25])
INITIAL = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])


def processes(regular: bool) -> tuple[Panel, Tensor]:
    """Two processes of three states, four paths of at most four observations, and transition matrices."""
    generator = seeded(5)
    times = torch.arange(4.0).expand(2, 4, 4)
    if not regular:
        times = torch.rand(2, 4, 4, generator=generator).add(0.1).cumsum(-1)
    states = torch.randint(3, (2, 4, 4), generator=generator)
    states[:, 1, 2:], states[:, 2, 1:] = -1, -1
    panel = build_panel(times, states, 12)
    rates = torch.rand(2, 3, 3, generator=generator, dtype=torch.float64) * ~torch.eye(3, dtype=torch.bool)
    return panel, transition_matrices(rates, panel.nodes).float()


def transition(panel: Panel, matrices: Tensor, b: int, p: int, t: int) -> Tensor:
    """From one observation to the next."""
    index, fraction = panel.index[b, p, t], panel.fraction[b, p, t]
    return matrices[b, index].lerp(matrices[b, index + 1], fraction)


def enumerated(panel: Panel, matrices: Tensor, b: int) -> tuple[float, Tensor, float]:
    """Log likelihood, initial counts and wrong labels of a process, by summing over every hidden path."""
    total, first, wrong = 0.0, torch.zeros(3), 0.0
    for p in range(panel.states.shape[1]):
        length = int(panel.seen[b, p].sum())
        weights, starts, mistakes = [], [], []
        for hidden in itertools.product(range(3), repeat=length):
            weight = INITIAL[b, hidden[0]]
            for t in range(length - 1):
                weight = weight * transition(panel, matrices, b, p, t)[hidden[t], hidden[t + 1]]
            errors = sum(int(panel.states[b, p, t]) != hidden[t] for t in range(length))
            weights.append(weight * (NOISE[b] / 2) ** errors * (1 - NOISE[b]) ** (length - errors))
            starts.append(hidden[0])
            mistakes.append(errors)
        law = torch.stack(weights)
        total += law.sum().log().item()
        first.index_add_(0, torch.tensor(starts), law / law.sum())
        wrong += (law / law.sum() * torch.tensor(mistakes)).sum().item()
    return total, first, wrong


def check(regular: bool) -> None:
    panel, matrices = processes(regular)
    assert is_regular(panel) == regular
    smoothed = smooth(panel, matrices, INITIAL, NOISE)
    for b in range(2):
        log_likelihood, first, wrong = enumerated(panel, matrices, b)
        torch.testing.assert_close(smoothed.log_likelihood[b].item(), log_likelihood, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(smoothed.first[b], first, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(smoothed.wrong[b].item(), wrong, rtol=1e-4, atol=1e-4)


def test_sums_over_all_hidden_paths_on_a_regular_grid() -> None:
    check(regular=True)


def test_sums_over_all_hidden_paths_at_any_times() -> None:
    check(regular=False)


def test_weights_are_the_derivative_of_the_log_likelihood() -> None:
    for regular in (True, False):
        panel, matrices = processes(regular)
        matrices.requires_grad_()
        total = smooth(panel, matrices, INITIAL, NOISE).log_likelihood.sum()
        (expected,) = torch.autograd.grad(total, matrices)
        weights = smooth(panel, matrices.detach(), INITIAL, NOISE).weights
        torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-4)


def test_paths_in_turn_are_paths_together(monkeypatch) -> None:
    panel, matrices = processes(regular=False)
    together = smooth(panel, matrices, INITIAL, NOISE)
    monkeypatch.setattr(jump_smoother, "CELLS", 1)
    torch.testing.assert_close(tuple(smooth(panel, matrices, INITIAL, NOISE)), tuple(together))
