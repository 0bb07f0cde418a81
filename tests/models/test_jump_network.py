"""The network for jump processes: its symmetries, what it gains from more paths, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from priorfit.models import JumpNetwork, networks
from priorfit.models.jump_network import statistics
from tests.cases import SMALL_JUMPS, jump_paths, perturbed, seeded
from tests.models.test_jump_scoring import flat, noisy_panel, some_rates


@pytest.fixture
def network() -> JumpNetwork:
    made = perturbed(networks.build("jump_network", SMALL_JUMPS), size=0.5)
    assert isinstance(made, JumpNetwork)
    return made.eval()


def relabelled(value: Tensor, order: Tensor) -> Tensor:
    """Rates and initial law (B, S, S + 1) of which state i is the old state order[i]."""
    rates, initial = value[..., :-1], value[..., -1:]
    return torch.cat([rates[:, order][..., order], initial[:, order]], -1)


def test_relabelling_states_relabels_the_answer(network: JumpNetwork) -> None:
    times, states, n_states = jump_paths()(seeded())
    order = torch.tensor([2, 0, 1])
    renamed = torch.where(states >= 0, order.argsort()[states.clamp(min=0)], -1)
    with torch.no_grad():
        first, second = network(times, states, n_states).mean, network(times, renamed, n_states).mean
    torch.testing.assert_close(second, relabelled(first, order), rtol=1e-3, atol=1e-4)
    assert (first[:, 0] - first[:, 1]).abs().max() > 1e-2  # states do differ


def test_another_unit_of_time_rescales_the_answer(network: JumpNetwork) -> None:
    times, states, n_states = jump_paths()(seeded())
    with torch.no_grad():
        seconds, minutes = network(60 * times, states, n_states), network(times, states, n_states)
    torch.testing.assert_close(60 * seconds.mean[..., :-1], minutes.mean[..., :-1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seconds.concentration, minutes.concentration, rtol=1e-3, atol=1e-4)


def test_the_order_of_paths_does_not_matter(network: JumpNetwork) -> None:
    times, states, n_states = jump_paths(n=70)(seeded())
    order = torch.randperm(6, generator=seeded(1))  # of the paths that the first rounds see
    order = torch.cat([order, torch.arange(6, 48), torch.arange(69, 47, -1)])
    with torch.no_grad():
        first = network(times, states, n_states).mean
        second = network(times[:, order], states[:, order], n_states).mean
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_statistics_close_in_on_the_truth_with_more_paths() -> None:
    rates = some_rates()
    times, states = noisy_panel(rates, 0.02, 2000)
    errors, deviations = [], []
    for n_paths in (20, 200, 2000):
        known = statistics(times[:, :n_paths], states[:, :n_paths], 3)
        log_rates = known.log_rates - known.log_unit[:, None, None]
        errors.append((flat(log_rates.exp()) - flat(rates)).square().mean().sqrt().item())
        deviations.append(flat(known.deviations).mean().item())
    assert errors[2] < 0.05 < errors[0]
    assert deviations[0] > 2.5 * deviations[1] > 6 * deviations[2]  # about 1 / √paths


def test_deviations_are_those_of_the_fits() -> None:
    """Independent data sets of one process: the fits scatter as their deviations say."""
    rates = some_rates()
    times, states = noisy_panel(rates, 0.0, 40 * 60)
    known = statistics(times[0, :60].expand(40, 60, -1), states.view(40, 60, -1), 3)
    log_rates = known.log_rates - known.log_unit[:, None, None]
    z = flat((log_rates - rates.clamp(min=1e-9).log()) / known.deviations)
    assert 0.8 < z.std().item() < 1.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, s, n: (t, s, n + 3), "takes 2 to 4 states, not 6"),
        (lambda t, s, n: (t, s + 2, n), "states must be 0 … 2"),
        (lambda t, s, n: (t.flip(-1), s, n), "increase"),
        (lambda t, s, n: (t * torch.nan, s, n), "infinite values"),
        (lambda t, s, n: (t[..., :1], s[..., :1], n), "two times"),
        (lambda t, s, n: (t, s.float(), n), "whole numbers"),
        (lambda t, s, n: (t[0], s, n), "Expected times"),
        (lambda t, s, n: (t, torch.where(torch.arange(9) == 0, -1, s), n), "goes on after"),
        (lambda t, s, n: (t, s, torch.tensor([3, 3, 2])), "same for all"),
    ],
)
def test_refuses_what_are_no_paths(network: JumpNetwork, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(*change(*jump_paths()(seeded())))
