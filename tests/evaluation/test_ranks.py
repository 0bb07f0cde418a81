"""What must be uniform is, for laws with and without ties, and is not where it must not be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from priorfit.evaluation.ranks import highest_density_level, randomized_pit, randomized_rank, tarp
from priorfit.evaluation.uniformity import uniformity

RNG = np.random.default_rng(1)
N, L = 2000, 60


def p_value(values: np.ndarray) -> float:
    return uniformity(values.reshape(-1, 1)).p_value


def test_a_rank_counts_draws_below_and_breaks_ties() -> None:
    draws = np.array([[1.0], [2.0], [2.0], [5.0]])
    found = [randomized_rank(draws, np.array([value]), RNG)[0] for value in (0.0, 2.0, 9.0) for _ in range(200)]
    bounds = [(0, 1 / 5), (1 / 5, 4 / 5), (4 / 5, 1)]
    for (low, high), own in zip(bounds, np.reshape(found, (3, 200)), strict=True):
        assert low <= own.min() < low + 0.05
        assert high - 0.05 < own.max() <= high


@pytest.mark.parametrize("law", ["normal", "poisson", "constant"])
def test_ranks_are_uniform_with_and_without_ties(law: str) -> None:
    size = (L + 1, N)
    drawn = {"normal": RNG.normal(size=size), "poisson": RNG.poisson(1.0, size), "constant": np.zeros(size)}[law]
    assert p_value(randomized_rank(drawn[1:], drawn[0], RNG)) > 0.001


def test_the_transform_of_classes_lies_in_the_classs_own_interval_and_is_uniform() -> None:
    probabilities = np.broadcast_to([0.5, 0.2, 0.3], (N, 3))
    classes = RNG.choice(3, N, p=[0.5, 0.2, 0.3])
    found = randomized_pit(probabilities, classes, RNG)
    edges = np.array([0, 0.5, 0.7, 1.0])
    assert ((found >= edges[classes] - 1e-12) & (found <= edges[classes + 1] + 1e-12)).all()
    assert p_value(found) > 0.001
    assert p_value(randomized_pit(np.broadcast_to([0.4, 0.3, 0.3], (N, 3)), classes, RNG)) < 0.001


def test_the_highest_density_level_of_a_normal_law_is_that_of_its_ball() -> None:
    draws, truth = RNG.normal(size=(20_000, 6, 2)), np.array([[0, 0], [0.5, 0], [1, 0], [0, 1.5], [2, 1], [3, 3.0]])
    found = highest_density_level(-0.5 * (draws**2).sum(-1), -0.5 * (truth**2).sum(-1), RNG)
    assert found == pytest.approx(chi2.cdf((truth**2).sum(-1), 2), abs=0.015)


def conjugate(width: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """θ ~ N(0, 1) in three dimensions and x ~ N(θ, 1): draws of the posterior, or of a wrong one, truths and data."""
    truth = RNG.normal(size=(N, 3))
    data = truth + RNG.normal(size=(N, 3))
    draws = data / 2 + width * np.sqrt(0.5) * RNG.normal(size=(L, N, 3))
    return draws, truth, data


@pytest.mark.parametrize(("width", "rejected"), [(1.0, False), (0.7, True), (1.4, True)])
@pytest.mark.parametrize("reference", ["from the data", "from the prior", "far away"])
def test_tarp_rejects_a_posterior_that_is_too_narrow_and_not_the_right_one(
    width: float, rejected: bool, reference: str
) -> None:
    draws, truth, data = conjugate(width)
    noise = RNG.normal(size=truth.shape)
    points = {"from the data": data + 0.5 * noise, "from the prior": noise, "far away": np.full_like(truth, 3.0)}
    found = p_value(tarp(draws, truth, points[reference], RNG))
    if reference == "from the data" or not rejected:  # the other points are right, and see less
        assert (found < 0.001) == rejected


def test_only_reference_points_that_depend_on_the_data_tell_the_prior_from_the_posterior() -> None:
    _, truth, data = conjugate()
    prior = RNG.normal(size=(L, N, 3))
    assert p_value(tarp(prior, truth, RNG.normal(size=(N, 3)), RNG)) > 0.001
    assert p_value(tarp(prior, truth, data, RNG)) < 0.001
