"""Fully observed processes: jumps drawn one by one, and the posterior that is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from priorfit.evaluation.jump_gamma import complete_paths, gamma_posterior, totals
from priorfit.evaluation.jump_likelihood import PanelLikelihood
from priorfit.priors.jump_rates import stationary_law
from tests.cases import TINY, assert_uniform, seeded

RATES = torch.tensor([[0.0, 1.0, 0.2], [0.5, 0.0, 0.3], [0.1, 2.0, 0.0]], dtype=torch.float64)


def test_jumps_are_as_many_as_time_and_rates_say() -> None:
    seen = totals(complete_paths(RATES, 5.0, 3000, seeded()), 3)
    assert seen.dwell.sum().item() == pytest.approx(15_000)
    assert (seen.jumps.diagonal() == 0).all()
    off = ~torch.eye(3, dtype=torch.bool)
    expected = (RATES * seen.dwell[:, None])[off]
    assert ((seen.jumps[off] - expected) / expected.sqrt()).abs().max() < 4.5
    share = seen.dwell / seen.dwell.sum()
    torch.testing.assert_close(share, stationary_law(RATES), atol=0.02, rtol=0)


def test_waiting_times_are_exponential() -> None:
    paths = complete_paths(RATES, 20.0, 500, seeded())
    first = paths.times[:, 1][paths.states[:, 0] == 1]  # rate 0.8: all but one in 10⁷ jump before the end
    assert stats.kstest(first.numpy(), stats.expon(scale=1 / 0.8).cdf).pvalue > TINY


def test_posterior_of_two_states_is_calibrated() -> None:
    generator, levels = seeded(), []
    prior = torch.distributions.Gamma(torch.tensor(2.0, dtype=torch.float64), 3.0)
    for index in range(150):
        with torch.random.fork_rng():
            torch.manual_seed(index)
            rates = prior.sample((2, 2)).fill_diagonal_(0)
        seen = totals(complete_paths(rates, 4.0, 2, generator), 2)
        posterior = gamma_posterior(seen, 2.0, 3.0)
        law = stats.gamma(posterior.concentration.numpy(), scale=1 / posterior.rate.numpy())
        levels.append(law.cdf(rates.numpy())[[0, 1], [1, 0]])
    assert_uniform(np.array(levels))


def test_panels_on_a_fine_grid_say_the_same() -> None:
    """Log likelihoods of panels with ever finer gaps become those of complete paths, up to a constant."""
    paths = complete_paths(RATES, 2.0, 20, seeded())
    seen, grid = totals(paths, 3), torch.linspace(0, 2, 4001, dtype=torch.float64)
    index = torch.searchsorted(paths.times.contiguous(), grid.expand(20, -1).contiguous(), right=True) - 1
    panel = PanelLikelihood(grid.expand(20, -1), paths.states.gather(1, index), 3)
    several = torch.stack([RATES, 0.5 * RATES, RATES.mT])
    law = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    exact = (seen.jumps * several.clamp(min=1e-9).log()).sum((1, 2)) - (several.sum(2) * seen.dwell).sum(1)
    found = panel(several, law)
    torch.testing.assert_close(found - found[0], exact - exact[0], atol=0.1, rtol=0)
