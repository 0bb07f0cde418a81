"""Maximum-likelihood fits of jump processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import logm

from priorfit.evaluation.jump_fit import fit
from priorfit.evaluation.jump_systems import flashing_ratchet, regular_times, stationary_paths
from priorfit.priors import MarkovJump
from tests.cases import seeded


def test_two_states_on_a_regular_grid_have_a_closed_form() -> None:
    """The transition matrix has its own maximum, and its logarithm is that of the rates."""
    rates = torch.tensor([[0.0, 0.7], [0.4, 0.0]])
    times = regular_times(40, 30, 10.0)
    states = stationary_paths(rates, times, seeded())
    found = fit(times, states, 2)
    counts = np.zeros((2, 2))
    np.add.at(counts, (states[:, :-1].numpy(), states[:, 1:].numpy()), 1)
    generator = logm(counts / counts.sum(1, keepdims=True)) / (10 / 29)
    np.testing.assert_allclose(found.rates[[0, 1], [1, 0]], generator[[0, 1], [1, 0]], rtol=1e-4)
    np.testing.assert_allclose(found.initial, states[:, 0].bincount(minlength=2).numpy() / 40)
    assert found.success
    assert found.noise == 0


def test_standard_errors_are_those_of_repeated_fits() -> None:
    prior = MarkovJump(states=2, state_weights=None, paths=100, points=50, grids={"thinned": 1}, noise=0.0)
    draw = prior.simulate(60, generator=seeded(3))
    scores = []
    for times, states, rates in zip(draw.observed.times, draw.observed.states, draw.rates.numpy(), strict=True):
        found = fit(times, states, 2)
        assert np.isnan(np.diag(found.standard_errors)).all()
        estimate, truth, error = (part[[0, 1], [1, 0]] for part in (found.rates, rates, found.standard_errors))
        scores.append(np.log(estimate / truth) / error)
    scores = np.array(scores)
    assert abs(scores.mean()) < 0.4
    assert 0.75 < scores.std() < 1.25


def test_noise_is_found_and_makes_the_difference() -> None:
    prior = MarkovJump(states=3, state_weights=None, paths=100, points=50, grids={"full": 1}, noise=0.1)
    draw = prior.simulate(2, generator=seeded(1))
    for times, states, rates in zip(draw.observed.times, draw.observed.states, draw.rates.numpy(), strict=True):
        naive, known, free = (fit(times, states, 3, noise=noise) for noise in (0.0, 0.1, None))
        errors = [np.abs(found.rates - rates).max() for found in (naive, known, free)]
        assert errors[1] < 0.3 * errors[0]
        assert errors[2] < 0.3 * errors[0]
        assert free.noise == pytest.approx(0.1, abs=0.02)
        assert naive.log_likelihood < known.log_likelihood <= free.log_likelihood + 1e-6
        assert free.initial.sum() == pytest.approx(1)


def test_absent_links_stay_absent() -> None:
    """The ratchet's own links: closer than with all of them."""
    rates = flashing_ratchet()
    times = regular_times(100, 50, 2.5)
    states = stationary_paths(rates, times, seeded())
    own, full = fit(times, states, 6, links=rates > 0), fit(times, states, 6)
    assert (own.rates[rates.numpy() == 0] == 0).all()
    assert own.log_likelihood < full.log_likelihood
    distance = [np.square(found.rates - rates.numpy()).mean() for found in (own, full)]
    assert distance[0] < distance[1]
    assert distance[1] ** 0.5 < 0.25  # 0.17 over the 30 rates with twice the points


def test_nothing_is_known_of_the_logarithm_of_a_rate_that_is_next_to_zero() -> None:
    states = torch.tensor([[0, 0, 1, 1, 1, 1]] * 5)  # never back
    found = fit(torch.arange(6.0).expand(5, -1), states, 2)
    assert found.rates[1, 0] < 1e-3
    assert not found.standard_errors[1, 0] < 3
    assert found.standard_errors[0, 1] < 1
