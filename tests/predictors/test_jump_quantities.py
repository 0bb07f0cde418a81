"""Derived quantities of Markov jump processes, against closed forms, an independent method and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray
from scipy.linalg import expm, null_space

from priorfit.predictors.jump_quantities import (
    QUANTITIES,
    entropy_production_rate,
    generator_matrix,
    mean_first_passage_times,
    relaxation_times,
    stationary_distribution,
    transition_matrices,
)

# Stationary laws and entropy production of the flashing ratchet with r = b = 1.
RATCHETS = {
    0: ([1 / 6] * 6, 0.0),
    1: ([0.30119, 0.13654, 0.06227, 0.20030, 0.15914, 0.14057], 0.1792),
    2: ([0.39641, 0.08428, 0.01931, 0.22410, 0.14607, 0.12983], 0.5657),
    3: ([0.44744, 0.04633, 0.00623, 0.23686, 0.13658, 0.12656], 0.9927),
}


def ratchet(potential: float) -> ndarray:
    """Three sites with a potential that is on (states 0 to 2) or off (3 to 5)."""
    rates = np.zeros((6, 6))
    site = np.arange(3)
    rates[:3, :3] = np.exp(-potential * (site - site[:, None]) / 2)
    rates[3:, 3:] = 1
    rates[site, site + 3] = rates[site + 3, site] = 1
    np.fill_diagonal(rates, 0)
    return rates


def random_rates(n_states: int, seed: int = 0) -> ndarray:
    return np.random.default_rng(seed).gamma(0.5, size=(n_states, n_states))


# --- known answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("potential", RATCHETS)
def test_ratchet(potential: int) -> None:
    law, production = RATCHETS[potential]
    rates = ratchet(potential)
    np.testing.assert_allclose(stationary_distribution(rates), law, atol=6e-6)
    np.testing.assert_allclose(entropy_production_rate(rates), production, atol=6e-5)
    assert relaxation_times(rates)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(("potential", "there", "back"), [(1, 2.9653, 0.7899), (2, 4.767, 0.362)])
def test_passages_of_the_ratchet(potential: float, there: float, back: float) -> None:
    times = mean_first_passage_times(ratchet(potential))
    assert times[0, 2] == pytest.approx(there, rel=2e-4 if potential == 1 else 2e-3)
    assert times[2, 0] == pytest.approx(back, rel=2e-4 if potential == 1 else 2e-3)


def test_two_states_in_closed_form() -> None:
    rates = np.array([[0.0, 3.0], [0.5, 0.0]])
    np.testing.assert_allclose(stationary_distribution(rates), [1 / 7, 6 / 7])
    np.testing.assert_allclose(relaxation_times(rates), [1 / 3.5])
    np.testing.assert_allclose(mean_first_passage_times(rates), [[0, 1 / 3], [2, 0]])
    assert entropy_production_rate(rates) == pytest.approx(0, abs=1e-15)
    decay = np.exp(-3.5 * 0.2)
    expected = [[1 / 7 + 6 / 7 * decay, 6 / 7 - 6 / 7 * decay], [1 / 7 - decay / 7, 6 / 7 + decay / 7]]
    np.testing.assert_allclose(transition_matrices(rates, np.array([0.2]))[0], expected)


def test_a_driven_ring_in_closed_form() -> None:
    """Forwards at a, backwards at b: the current (a - b) / S per link times ln(a / b)."""
    rates = 5 * np.roll(np.eye(4), 1, 1) + 2 * np.roll(np.eye(4), -1, 1)
    np.testing.assert_allclose(stationary_distribution(rates), [0.25] * 4)
    assert entropy_production_rate(rates) == pytest.approx((5 - 2) * np.log(5 / 2))
    eigenvalues = 7 - 7 * np.cos(2 * np.pi * np.array([1, 3, 2]) / 4)
    np.testing.assert_allclose(relaxation_times(rates), 1 / eigenvalues)


def test_a_birth_chain_in_closed_form() -> None:
    """0 -> 1 -> 2 without return: times add up, and what is left is never entered."""
    rates = np.array([[0, 2, 0], [0, 0, 4], [0, 0, 0.0]])
    np.testing.assert_allclose(
        mean_first_passage_times(rates), [[0, 0.5, 0.75], [np.inf, 0, 0.25], [np.inf, np.inf, 0]]
    )


@pytest.mark.parametrize("n_states", [2, 3, 6])
def test_against_other_methods(n_states: int) -> None:
    rates = random_rates(n_states)
    generator = generator_matrix(rates)
    np.testing.assert_array_equal(generator.sum(1).round(12), 0)
    null = null_space(generator.T)[:, 0]
    np.testing.assert_allclose(stationary_distribution(rates), null / null.sum(), atol=1e-12)
    times = np.array([0.0, 0.3, 4.0])
    np.testing.assert_allclose(
        transition_matrices(rates, times), np.stack([expm(generator * time) for time in times]), atol=1e-12
    )
    fundamental = np.linalg.inv(np.outer(np.ones(n_states), null / null.sum()) - generator)
    passage = (np.diag(fundamental) - fundamental) / (null / null.sum())
    np.testing.assert_allclose(mean_first_passage_times(rates), passage, atol=1e-10)


def test_rates_of_very_different_size() -> None:
    rates = np.array([[0, 1e6, 0], [1e6, 0, 1e-3], [0, 1e-3, 0]])
    np.testing.assert_allclose(stationary_distribution(rates), [1 / 3] * 3, rtol=1e-6)
    assert mean_first_passage_times(rates)[0, 2] == pytest.approx(2e3, rel=1e-6)


def test_times_that_are_long_beside_all_jumps() -> None:
    rates = random_rates(3)
    times = np.array([1.0, 1e13, 1e20, 1e100, 1e300])
    stationary = np.broadcast_to(stationary_distribution(rates), (4, 3, 3))
    np.testing.assert_allclose(transition_matrices(rates, times)[1:], stationary, atol=1e-12)
    np.testing.assert_allclose(transition_matrices(rates, times)[0], expm(generator_matrix(rates)), atol=1e-12)
    absorbed = transition_matrices(TWO_TRAPS, times)[:, 0]  # by either trap, as often as its rate says
    np.testing.assert_allclose(absorbed[1:], np.broadcast_to([0, 1 / 3, 2 / 3], (4, 3)), atol=1e-12)


# --- chains that fall apart ---------------------------------------------------------------------------------

TRAP = np.array([[0, 1, 1], [0, 0, 3], [0, 2, 0.0]])  # state 0 is left for ever
TWO_TRAPS = np.array([[0, 1, 2], [0, 0, 0], [0, 0, 0.0]])
TWO_PAIRS = np.kron(np.eye(2), [[0, 1.0], [1, 0]])


def test_states_that_are_left_for_ever() -> None:
    np.testing.assert_allclose(stationary_distribution(TRAP), [0, 0.4, 0.6])
    np.testing.assert_allclose(relaxation_times(TRAP), [0.5, 0.2])
    assert entropy_production_rate(TRAP) == pytest.approx(0, abs=1e-15)
    times = mean_first_passage_times(TRAP)
    assert np.isinf(times[1:, 0]).all()
    assert np.isfinite(times[0]).all()


@pytest.mark.parametrize(("rates", "infinite"), [(TWO_TRAPS, 1), (TWO_PAIRS, 1), (np.zeros((3, 3)), 2)])
def test_several_groups_that_are_never_left(rates: ndarray, infinite: int) -> None:
    assert np.isnan(stationary_distribution(rates)).all()
    assert np.isnan(entropy_production_rate(rates))
    assert np.isinf(relaxation_times(rates)).tolist() == [True] * infinite + [False] * (len(rates) - 1 - infinite)


def test_a_state_that_may_be_missed() -> None:
    """From 0 the process ends in 1 or in 2: neither is sure."""
    times = mean_first_passage_times(TWO_TRAPS)
    assert times.tolist() == [[0, np.inf, np.inf], [np.inf, 0, np.inf], [np.inf, np.inf, 0]]


def test_a_one_way_link_produces_infinite_entropy() -> None:
    assert np.isinf(entropy_production_rate(np.roll(np.eye(3), 1, 1)))


# --- shapes, symmetries, errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUANTITIES)
def test_stacks_give_what_single_matrices_give(name: str) -> None:
    stack = np.stack([random_rates(3), TRAP, TWO_TRAPS, np.zeros((3, 3)), np.roll(np.eye(3), 1, 1)])
    expected = np.stack([QUANTITIES[name](rates) for rates in stack])
    np.testing.assert_allclose(QUANTITIES[name](stack), expected, rtol=1e-12)
    np.testing.assert_allclose(QUANTITIES[name](stack[None]), expected[None], rtol=1e-12)


@pytest.mark.parametrize("name", QUANTITIES)
def test_units_of_time(name: str) -> None:
    power = {"stationary_distribution": 0, "entropy_production_rate": 1}.get(name, -1)
    rates = ratchet(1.5)
    for factor in (1e-9, 1e9):
        np.testing.assert_allclose(QUANTITIES[name](factor * rates), factor**power * QUANTITIES[name](rates))


def test_what_is_on_the_diagonal_does_not_matter() -> None:
    rates = random_rates(4)
    for quantity in QUANTITIES.values():
        np.testing.assert_array_equal(quantity(rates), quantity(generator_matrix(rates)))


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (np.zeros((2, 3)), r"square matrices .* shape \(2, 3\)"),
        (np.zeros(4), "square matrices"),
        (np.array([[0, -1], [1, 0]]), "finite and not negative"),
        (np.array([[0, np.nan], [1, 0]]), "finite and not negative"),
    ],
)
def test_bad_rates(rates: ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator_matrix(rates)
