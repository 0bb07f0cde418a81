"""The prior of Markov jump processes: its options, and the moments of the published one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from priorfit.priors import JumpPaths, MarkovJump
from priorfit.priors.jump_rates import beta_rates, draw_initial, spread_rates, stationary_law
from tests.cases import TINY, assert_mean, seeded


def published(**changes: Any) -> MarkovJump:
    return MarkovJump(**{"states": 4, "state_weights": None, "paths": 2, "points": 10, **changes})


def test_a_batch_shares_its_sizes() -> None:
    prior = MarkovJump(states=[2, 4], state_weights=None, paths=[1, 3], points=[2, 5], grids={"full": 1})
    draws = [prior.sample(3, generator=seeded(seed)) for seed in range(60)]
    for task in draws:
        times, states, n_states = task.observed
        assert isinstance(task.observed, JumpPaths)
        assert times.shape == states.shape
        assert task.hidden.shape == (3, n_states[0], n_states[0] + 1)
        assert (n_states == n_states[0]).all()
    sizes = {(int(task.observed.n_states[0]), *task.observed.times.shape[1:]) for task in draws}
    assert [{size[axis] for size in sizes} for axis in range(3)] == [{2, 3, 4}, {1, 2, 3}, {2, 3, 4, 5}]


def test_numbers_of_states_have_their_weights() -> None:
    prior = MarkovJump(paths=1, points=2)  # the published weights: 1, 1, 1, 1, 5
    sizes = [int(prior.sample(1, generator=seeded(seed)).observed.n_states) for seed in range(300)]
    counts = [sizes.count(n) for n in range(2, 7)]
    assert stats.chisquare(counts, [300 / 9 * weight for weight in (1, 1, 1, 1, 5)]).pvalue > TINY


def test_rates_are_what_they_are_said_to_be() -> None:
    draw = published(paths=1).simulate(3000, generator=seeded())
    off = ~torch.eye(4, dtype=torch.bool)
    assert (draw.rates[:, ~off] == 0).all()
    there = draw.rates[draw.rates > 0].double()
    assert_mean(there, 0.3158, slack=1e-3)
    laws = [stats.beta(alpha, beta) for alpha in (1, 2) for beta in (1, 3, 5, 10)]
    assert np.mean([law.mean() for law in laws]) == pytest.approx(0.3158, abs=5e-4)
    levels = np.mean([law.cdf(there[:5000]) for law in laws], 0)
    assert stats.kstest(levels, "uniform").pvalue > TINY


def test_links_have_rates_of_their_own() -> None:
    """No correlation within rows or columns, or of a rate with its opposite."""
    rates = beta_rates(torch.ones(4000, 3, 3, dtype=torch.bool), seeded())
    for other in (rates[:, 0, 2], rates[:, 2, 1], rates[:, 1, 0]):
        assert stats.pearsonr(rates[:, 0, 1], other).pvalue > TINY


def test_half_of_the_processes_start_in_their_stationary_law() -> None:
    rates = beta_rates(~torch.eye(5, dtype=torch.bool).expand(4000, 5, 5), seeded())
    initial = draw_initial(rates, seeded(1))
    assert_mean(initial.sum(1), 1.0, slack=1e-12)
    still = (torch.einsum("bi,bij->bj", initial, rates - rates.sum(-1).diag_embed()).abs() < 1e-9).all(1)
    assert stats.binomtest(int(still.sum()), len(still)).pvalue > TINY
    first = initial[~still, 0].numpy()
    assert stats.kstest(first, stats.beta(50, 200).cdf).pvalue > TINY


def test_stationary_law_of_states_that_are_left_for_ever_is_zero() -> None:
    rates = torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    assert stationary_law(rates).tolist() == pytest.approx([0.0, 0.6, 0.4])


def test_share_of_labels_that_are_wrong() -> None:
    draw = published(paths=50, points=40, noise=[0.02, 0.2]).simulate(60, generator=seeded())
    seen = draw.observed.states >= 0
    assert (draw.clean >= 0).eq(seen).all()
    wrong = (draw.observed.states != draw.clean).sum((1, 2)).double()
    expected = draw.noise.double() * seen.sum((1, 2))
    z = (wrong - expected) / (expected * (1 - draw.noise)).sqrt()
    assert draw.noise.unique().tolist() == pytest.approx([0.02, 0.2])
    assert stats.kstest(z.numpy(), "norm").pvalue > TINY
    shift = (draw.observed.states - draw.clean).remainder(4)[draw.observed.states != draw.clean]
    assert stats.chisquare([int((shift == k).sum()) for k in (1, 2, 3)]).pvalue > TINY


def test_a_noise_law_is_drawn_per_process_and_stays_below_one_half() -> None:
    law = {"law": "uniform", "low": 0.0, "high": 0.8}
    noise = published(noise=law).simulate(2000, generator=seeded()).noise
    assert (noise == 0.5).double().mean().item() == pytest.approx(3 / 8, abs=0.05)
    assert stats.kstest(noise[noise < 0.5].numpy(), stats.uniform(0, 0.5).cdf).pvalue > TINY


def test_time_unit_changes_times_and_rates_and_nothing_else() -> None:
    slow, fast = (published(time_unit=unit).simulate(3, generator=seeded()) for unit in (1.0, 1e-3))
    assert torch.equal(slow.observed.states, fast.observed.states)
    torch.testing.assert_close(1e-3 * slow.observed.times, fast.observed.times)
    torch.testing.assert_close(1e3 * slow.rates, fast.rates)


def test_horizon_is_the_length_of_the_grid() -> None:
    task = published(horizon=7.0, grids={"full": 1}).sample(2, generator=seeded())
    assert task.observed.times[..., 0].max() == 0
    torch.testing.assert_close(task.observed.times[..., -1], torch.full((2, 2), 7.0))


def test_spread_rates_cover_their_decades() -> None:
    ones = torch.ones(3000, 3, 3, dtype=torch.float64)
    spread = spread_rates(ones, 0.3, (-2.0, 1.0), seeded())
    changed = (spread != 1).flatten(1).any(1)
    assert stats.binomtest(int(changed.sum()), 3000, 0.3).pvalue > TINY
    decades = spread[changed].log10().flatten().numpy()
    assert stats.kstest(decades, stats.uniform(-2, 3).cdf).pvalue > TINY


def test_with_context_fixes_the_paths_only() -> None:
    prior = MarkovJump(states=[2, 3], state_weights=None, paths=[1, 300], points=[2, 4])
    fixed = prior.with_context(7, 1)
    assert fixed.sample(2, generator=seeded()).observed.times.shape[1] == 7
    assert fixed.arguments == {**prior.arguments, "paths": 7}
    assert prior.context_sizes() == [1, 10, 30, 100, 300]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": 1}, "states must be a whole number >= 2"),
        ({"states": [3, 2]}, "states must"),
        ({"state_weights": [1, 2]}, "state_weights must be 1 numbers"),
        ({"paths": 0}, "paths must"),
        ({"points": 1}, "points must be a whole number >= 2"),
        ({"paths_law": "log"}, "paths_law must be uniform or log_uniform"),
        ({"horizon": 0}, "horizon must be a positive number"),
        ({"grids": {"regulr": 1}}, "did you mean 'regular'"),
        ({"grids": {}}, "grids must give kinds"),
        ({"graphs": {"ring": -1}}, "graphs must give kinds"),
        ({"noise": 0.6}, "noise must be probabilities from 0 to 0.5"),
        ({"noise": []}, "noise must be"),
        ({"noise": {"law": "normal"}}, "Unknown law 'normal' for noise"),
        ({"spread": 2}, "spread is a share"),
        ({"decades": [1, 0]}, "decades must be"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        published(**changes)
