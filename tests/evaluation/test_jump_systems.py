"""Known jump processes and their published constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from priorfit.evaluation import jump_systems
from priorfit.evaluation.jump_systems import flashing_ratchet, ratchet_parameters, stationary_paths
from priorfit.predictors.jump_quantities import (
    entropy_production_rate,
    mean_first_passage_times,
    relaxation_times,
    stationary_distribution,
)
from tests.cases import TINY, assert_mean, assert_uniform, seeded

STATIONARY = {
    0: [1 / 6] * 6,
    1: [0.30119, 0.13654, 0.06227, 0.20030, 0.15914, 0.14057],
    2: [0.39641, 0.08428, 0.01931, 0.22410, 0.14607, 0.12983],
    3: [0.44744, 0.04633, 0.00623, 0.23686, 0.13658, 0.12656],
}
ENTROPY = {0: 0.0, 0.5: 0.0485, 1: 0.1792, 1.5: 0.3606, 2: 0.5657, 3: 0.9927}
PASSAGE = {1: (2.9653, 0.7899), 2: (4.767, 0.362)}


@pytest.mark.parametrize("potential", STATIONARY)
def test_stationary_law_of_the_ratchet(potential: float) -> None:
    law = stationary_distribution(flashing_ratchet(potential).numpy())
    np.testing.assert_allclose(law, STATIONARY[potential], atol=1e-5)


@pytest.mark.parametrize("potential", ENTROPY)
def test_entropy_production_of_the_ratchet(potential: float) -> None:
    production = entropy_production_rate(flashing_ratchet(potential).numpy())
    assert float(production) == pytest.approx(ENTROPY[potential], abs=1e-4)


@pytest.mark.parametrize("potential", PASSAGE)
def test_passage_times_of_the_ratchet(potential: float) -> None:
    times = mean_first_passage_times(flashing_ratchet(potential).numpy())
    assert (times[0, 2], times[2, 0]) == pytest.approx(PASSAGE[potential], abs=5e-4)


@pytest.mark.parametrize("potential", STATIONARY)
def test_slowest_relaxation_of_the_ratchet_is_that_of_switching(potential: float) -> None:
    assert relaxation_times(flashing_ratchet(potential).numpy())[0] == pytest.approx(0.5, abs=1e-6)


def test_parameters_are_read_back() -> None:
    parameters = [(0.0, 1.0, 1.0), (1.7, 0.3, 2.0), (-1.0, 2.0, 0.1)]
    rates = torch.stack([flashing_ratchet(*values) for values in parameters])
    np.testing.assert_allclose(ratchet_parameters(rates).numpy(), parameters, atol=1e-12)
    assert (rates > 0).sum((1, 2)).tolist() == [18] * 3
    assert torch.equal(rates[0, [0, 3], [3, 0]], torch.ones(2, dtype=torch.float64))


def test_ratchet_paths_stay_in_the_stationary_law() -> None:
    times = jump_systems.regular_times(4000, 6, jump_systems.RATCHET_HORIZON)
    states = stationary_paths(flashing_ratchet(), times, seeded())
    for index in (0, 5):
        assert_mean((states[:, index] == 0).double(), STATIONARY[1][0])


def test_uniform_times_increase() -> None:
    times = jump_systems.uniform_times(500, 50, 1.25, seeded())
    assert (times.diff(dim=1) > 0).all()
    assert_uniform(times[:200] / 1.25)


def test_ion_channel_has_the_published_passage_times() -> None:
    rates = jump_systems.ion_channel().numpy()
    published = [[0, 0.068, 0.054], [0.133, 0, 0.033], [0.181, 0.092, 0]]
    np.testing.assert_allclose(mean_first_passage_times(rates), published, atol=5e-4)
    np.testing.assert_allclose(stationary_distribution(rates), [0.180, 0.150, 0.671], atol=0.005)


def test_protein_folds_as_often_as_published() -> None:
    """(.73, .27) by Mardt et al. 2017."""
    times, states = jump_systems.protein_folding(4000, 2, seeded())
    assert times[0].tolist() == [0, 1]
    assert_mean((states[:, 0] == 0).double(), 0.73, slack=0.015)
    radii = jump_systems.folding_radii(4000, 1, seeded(1))[:, 0]
    assert 0.5 < radii[radii < 2].median() < 1.5
    assert 4 < radii[radii > 3.5].median() < 5
    assert TINY < (radii - 3).abs().lt(0.3).double().mean() < 0.1  # few are on the barrier
