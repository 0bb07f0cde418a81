"""MarkovJumpEstimator on a network whose answers are known by hand: it counts changes and time."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from numpy import ndarray
from scipy.linalg import expm, logm
from scipy.special import expit
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from priorfit import MarkovJumpEstimator, checkpoints
from priorfit.checkpoints import Checkpoint, CheckpointError
from priorfit.models.jump_network import JumpNetwork
from priorfit.predictors.jump_quantities import (
    QUANTITIES,
    generator_matrix,
    stationary_distribution,
    transition_matrices,
)
from tests.predictors.jump_counter import ABSENT, SCALE, JumpCounter, counter
from tests.toy import ToyPrior

NAN = np.nan
PATHS = [([0.0, 0.5, 1.5, 2.0], [0, 1, 1, 2]), ([10.0, 11.0], [2, 0]), ([3.0, 3.5, 4.0], [1, 0, 0])]
# By hand: changes, with one more each, by the time in each state, with the mean gap 4 / 6 * 1.0 more each.
CHANGES = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0.0]])
SPENT = np.array([1.0, 2.0, 1.0])
THERE = expit(-ABSENT)
OFF = ~np.eye(3, dtype=bool)


@pytest.fixture
def checkpoint() -> Checkpoint:
    return counter()


@pytest.fixture
def fitted(checkpoint: Checkpoint) -> MarkovJumpEstimator:
    return MarkovJumpEstimator(checkpoint=checkpoint).fit(PATHS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a network with 100 kB of weights."""
    return checkpoints.save(tmp_path / "counter.safetensors", JumpCounter(size=25_000), ToyPrior())


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


def medians() -> ndarray:
    """Of rates that are there, on PATHS."""
    return (CHANGES + 1) / (SPENT + SPENT.sum() / CHANGES.sum())[:, None] * OFF


def simulated(
    rates: ndarray, n_paths: int, times: ndarray, noise: float = 0.0, seed: int = 0
) -> tuple[ndarray, ndarray]:
    """Times and states of stationary paths, some of them mislabelled."""
    generator = np.random.default_rng(seed)
    n_states = len(rates)
    states = [generator.choice(n_states, n_paths, p=stationary_distribution(rates))]
    for moves in transition_matrices(rates, np.diff(times)):
        states.append((moves[states[-1]].cumsum(1)[:, :-1] < generator.random((n_paths, 1))).sum(1))
    clean = np.stack(states, 1)
    wrong = (generator.random(clean.shape) < noise) * generator.integers(1, n_states, clean.shape)
    return times, (clean + wrong) % n_states


# --- rates --------------------------------------------------------------------------------------------------


def test_rates_are_the_networks_own(fitted: MarkovJumpEstimator) -> None:
    expected = generator_matrix(THERE * medians() * np.exp(SCALE**2 / 2))
    np.testing.assert_allclose(fitted.rate_matrix_, expected, rtol=1e-6)
    np.testing.assert_allclose(fitted.rate_matrix_.sum(1), 0, atol=1e-12)
    np.testing.assert_allclose(fitted.edge_probability_, THERE * OFF)
    np.testing.assert_allclose(fitted.initial_distribution_, [1 / 3] * 3)
    assert (fitted.n_states_, fitted.n_paths_) == (3, 3)
    assert fitted.rate_matrix_.dtype == np.float64
    assert not hasattr(fitted, "log_rate_covariance_")
    assert not hasattr(fitted, "label_noise_")


def test_distribution_is_in_the_units_of_the_paths(fitted: MarkovJumpEstimator) -> None:
    law = fitted.rate_distribution_
    assert law.batch_shape == ()
    assert law.locs.dtype == torch.float64
    np.testing.assert_allclose(law.locs[..., 0].exp().numpy() * OFF, medians(), rtol=1e-6)
    np.testing.assert_allclose(law.mean[:, :-1].numpy(), fitted.rate_matrix_ * OFF)


def test_intervals(fitted: MarkovJumpEstimator) -> None:
    """The law has mass 1 - THERE at 0 below its log-normal part."""
    for level in (0.5, 0.9):
        ends = np.array([(1 - level) / 2, (1 + level) / 2])
        inside = np.clip((ends - (1 - THERE)) / THERE, 1e-300, 1)
        expected = medians() * np.exp(SCALE * norm.ppf(inside))[:, None, None] * (ends > 1 - THERE)[:, None, None]
        np.testing.assert_allclose(fitted.rate_interval(level), expected, rtol=1e-5)


def test_derived_quantities_follow_from_the_rates(fitted: MarkovJumpEstimator) -> None:
    for name, quantity in QUANTITIES.items():
        np.testing.assert_array_equal(getattr(fitted, f"{name}_"), quantity(fitted.rate_matrix_))


def test_draws(fitted: MarkovJumpEstimator) -> None:
    before = torch.get_rng_state()
    draws = fitted.sample_rates(4000, random_state=1)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(draws, fitted.sample_rates(4000, random_state=1))
    np.testing.assert_allclose(draws.sum(-1), 0, atol=1e-12)
    error = draws.std(0) / np.sqrt(len(draws))
    assert (abs(draws.mean(0) - fitted.rate_matrix_) < 4 * error).all()
    assert (abs((draws[:, OFF] > 0).mean(0) - THERE) < 4 * 0.5 / np.sqrt(len(draws))).all()


def test_intervals_of_quantities_are_those_of_draws(fitted: MarkovJumpEstimator) -> None:
    for level in (0.5, 0.9):
        rates = fitted.quantity_interval(lambda draws: draws * OFF, level, n_draws=20_000)
        inside = stats_cdf(rates, fitted)
        np.testing.assert_allclose(inside[0][rates[0][OFF] > 0], (1 - level) / 2, atol=0.015)
        np.testing.assert_allclose(inside[1], (1 + level) / 2, atol=0.015)
    draws = fitted.sample_rates(500, random_state=0)
    expected = np.nanquantile(QUANTITIES["relaxation_times"](draws), [0.05, 0.95], axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(fitted.quantity_interval("relaxation_times", n_draws=500), expected)
    low, high = fitted.quantity_interval("mean_first_passage_times", 0.8)
    assert low.shape == (3, 3)
    assert (low <= high).all()


def stats_cdf(rates: ndarray, fitted: MarkovJumpEstimator) -> ndarray:
    """The law's own cdf at rates (2, S, S), off the diagonal."""
    return fitted.rate_distribution_.rate_cdf(torch.from_numpy(rates)).numpy()[:, OFF]


def test_draws_without_a_value_do_not_count(fitted: MarkovJumpEstimator) -> None:
    answer = fitted.quantity_interval(
        lambda draws: np.where(np.arange(len(draws)) < 10, NAN, np.arange(len(draws))), 0.5, 50
    )
    np.testing.assert_array_equal(answer, [19, 39])
    assert np.isnan(fitted.quantity_interval(lambda draws: np.full(len(draws), NAN))).all()
    assert np.isinf(fitted.quantity_interval(lambda draws: np.full(len(draws), np.inf))).all()


# --- predictions --------------------------------------------------------------------------------------------


def test_state_laws_are_matrix_exponentials(fitted: MarkovJumpEstimator) -> None:
    start = np.array([0.2, 0.5, 0.3])
    laws = fitted.predict_proba([0, 0.3, 7], start)
    expected = np.stack([start @ expm(fitted.rate_matrix_ * t) for t in (0, 0.3, 7)])
    np.testing.assert_allclose(laws, expected, atol=1e-12)
    np.testing.assert_allclose(fitted.predict_proba(0.3, start), expected[1], atol=1e-12)
    np.testing.assert_allclose(fitted.predict_proba(0.3, 2), expm(fitted.rate_matrix_ * 0.3)[2], atol=1e-12)
    np.testing.assert_allclose(fitted.predict_proba(0), fitted.initial_distribution_)
    np.testing.assert_allclose(fitted.predict_proba(1e4), fitted.stationary_distribution_, atol=1e-9)


def test_simulated_paths_have_the_laws_predicted(fitted: MarkovJumpEstimator) -> None:
    times = [0.2, 0.5, 3]
    paths = fitted.sample_paths(20_000, times, start=1, random_state=0)
    assert paths.shape == (20_000, 3)
    assert paths.dtype == np.int64
    shares = (paths[..., None] == np.arange(3)).mean(0)
    np.testing.assert_allclose(shares, fitted.predict_proba(times, 1), atol=4 * 0.5 / np.sqrt(20_000))
    moved = expm(fitted.rate_matrix_ * 0.3)[paths[:, 0], paths[:, 1]].mean()
    among = fitted.predict_proba(0.2, 1) @ (expm(fitted.rate_matrix_ * 0.3) ** 2).sum(1)
    assert moved == pytest.approx(among, abs=0.01)
    assert (fitted.sample_paths(5, [0, 1], start=2)[:, 0] == 2).all()
    np.testing.assert_array_equal(paths[:50], fitted.sample_paths(20_000, times, 1, 0)[:50])
    assert fitted.sample_paths(7, 0.5).shape == (7, 1)


def test_scores_in_closed_form(fitted: MarkovJumpEstimator) -> None:
    moves = {gap: expm(fitted.rate_matrix_ * gap) for gap in (0.5, 1.0)}
    first = np.log(1 / 3)
    expected = [
        first + np.log(moves[0.5][0, 1] * moves[1.0][1, 1] * moves[0.5][1, 2]),
        first + np.log(moves[1.0][2, 0]),
        first + np.log(moves[0.5][1, 0] * moves[0.5][0, 0]),
    ]
    np.testing.assert_allclose(fitted.score_samples(PATHS), expected)
    assert fitted.score(PATHS) == pytest.approx(sum(expected))


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_scores_with_noise_add_up_over_true_paths(fitted: MarkovJumpEstimator, noise: float) -> None:
    times, labels = [0.0, 0.4, 1.9], [0, 2, 1]
    moves = [expm(fitted.rate_matrix_ * gap) for gap in (0.4, 1.5)]
    total = 0.0
    for true in product(range(3), repeat=3):
        chance = fitted.initial_distribution_[true[0]] * moves[0][true[0], true[1]] * moves[1][true[1], true[2]]
        total += chance * np.prod([1 - noise if a == b else noise / 2 for a, b in zip(true, labels, strict=True)])
    assert fitted.score([(times, labels)], label_noise=noise) == pytest.approx(np.log(total))


# --- what paths may look like -------------------------------------------------------------------------------


def same(one: MarkovJumpEstimator, other: MarkovJumpEstimator) -> None:
    np.testing.assert_allclose(one.rate_matrix_, other.rate_matrix_, rtol=1e-5)
    np.testing.assert_allclose(one.initial_distribution_, other.initial_distribution_)


def test_arrays_and_lists_say_the_same(fitted: MarkovJumpEstimator, checkpoint: Checkpoint) -> None:
    times = np.array([[0, 0.5, 1.5, 2.0], [10, 11, NAN, NAN], [3, 3.5, 4, 0]])
    whole = np.array([[0, 1, 1, 2], [2, 0, -1, -1], [1, 0, 0, -1]])
    for states in (whole, np.where(whole < 0, NAN, whole), whole.tolist()):
        for paths in ((times, states), list(zip(times, states, strict=True))):
            other = MarkovJumpEstimator(checkpoint=checkpoint).fit(paths)
            same(fitted, other)
            np.testing.assert_allclose(other.score_samples(paths), fitted.score_samples(PATHS), rtol=1e-5)
    same(fitted, MarkovJumpEstimator(checkpoint=checkpoint).fit(pair for pair in PATHS))


def test_one_list_of_times_serves_all_paths(checkpoint: Checkpoint) -> None:
    times, states = np.array([0, 1, 3.0]), np.array([[0, 1, 0], [1, 1, 0]])
    one = MarkovJumpEstimator(checkpoint=checkpoint).fit((times, states))
    same(one, MarkovJumpEstimator(checkpoint=checkpoint).fit([(times, row) for row in states]))
    single = MarkovJumpEstimator(checkpoint=checkpoint).fit((times, states[0]))
    same(single, MarkovJumpEstimator(checkpoint=checkpoint).fit([(times, states[0])]))


def test_time_counts_from_the_first_observation(fitted: MarkovJumpEstimator, checkpoint: Checkpoint) -> None:
    later = [(np.array(times) + 1e6, states) for times, states in PATHS]
    same(fitted, MarkovJumpEstimator(checkpoint=checkpoint).fit(later))
    network = checkpoint.network
    assert isinstance(network, JumpCounter)
    assert all((call[0][..., 0] == 0).all() for call in network.calls)


def test_gaps_of_all_sizes() -> None:
    """Nine decades in one path are more than float32 tells apart."""
    torch.manual_seed(0)
    times, states = np.cumsum(10.0 ** np.array([3, -6, 2, -5, 0, 1, -6, 3])), np.array([0, 0, 1, 1, 0, 1, 1, 0])
    for refine in (False, True):
        fitted = MarkovJumpEstimator(checkpoint=Checkpoint(JumpNetwork().eval(), {}), refine=refine).fit(
            (times, states)
        )
        assert np.isfinite(fitted.rate_matrix_).all()
        assert (fitted.rate_matrix_[~np.eye(2, dtype=bool)] > 0).all()


def test_what_was_not_observed_is_left_out(fitted: MarkovJumpEstimator, checkpoint: Checkpoint) -> None:
    holes = [([-1, 0.0, 0.5, 0.9, 1.5, 2.0], [NAN, 0, 1, NAN, 1, 2]), ([NAN, 10.0, 11.0], [-1, 2, 0]), PATHS[2]]
    same(fitted, MarkovJumpEstimator(checkpoint=checkpoint).fit(holes))


def test_a_path_of_one_observation_tells_of_the_initial_law_only(
    fitted: MarkovJumpEstimator, checkpoint: Checkpoint
) -> None:
    more = MarkovJumpEstimator(checkpoint=checkpoint).fit([*PATHS, ([5.0], [2])])
    np.testing.assert_allclose(more.rate_matrix_, fitted.rate_matrix_)
    np.testing.assert_allclose(more.initial_distribution_, [2 / 7, 2 / 7, 3 / 7])
    assert more.n_paths_ == fitted.n_paths_ + 1
    many = MarkovJumpEstimator(checkpoint=checkpoint).fit([*(100 * [([5.0], [2])]), *PATHS])  # in any order
    np.testing.assert_allclose(many.rate_matrix_, fitted.rate_matrix_)
    np.testing.assert_allclose(many.initial_distribution_, [2 / 106, 2 / 106, 102 / 106])
    with pytest.raises(ValueError, match="Every path has one observation"):
        MarkovJumpEstimator(checkpoint=checkpoint).fit([([5.0], [2]), ([1.0], [0])])


@pytest.mark.parametrize("factor", [1e-12, 1e-3, 3600.0, 1e12])
@pytest.mark.parametrize("refine", [False, True])
def test_units_of_time(checkpoint: Checkpoint, factor: float, refine: bool) -> None:
    """Rates are per unit, whatever it is."""
    times, states = simulated(np.array([[0, 1, 0.2], [0.5, 0, 1], [2, 0.1, 0]]), 40, np.linspace(0, 5, 20))
    estimator = MarkovJumpEstimator(checkpoint=checkpoint, refine=refine)
    one, other = clone(estimator).fit((times, states)), clone(estimator).fit((factor * times, states))
    np.testing.assert_allclose(other.rate_matrix_ * factor, one.rate_matrix_, rtol=1e-4)
    np.testing.assert_allclose(other.rate_interval() * factor, one.rate_interval(), rtol=2e-3)
    np.testing.assert_allclose(other.sample_rates(3, 0) * factor, one.sample_rates(3, 0), rtol=1e-2)
    np.testing.assert_allclose(other.relaxation_times_ / factor, one.relaxation_times_, rtol=1e-4)
    np.testing.assert_allclose(other.predict_proba(3 * factor), one.predict_proba(3), rtol=1e-4)


def permuted(matrix: ndarray, order: ndarray) -> ndarray:
    return matrix[np.ix_(order, order)]


@pytest.mark.parametrize("network", [JumpCounter, JumpNetwork])
@pytest.mark.parametrize("refine", [False, True])
def test_names_of_states(network: Any, refine: bool) -> None:
    """State `order[k]` becomes k."""
    torch.manual_seed(0)
    checkpoint = Checkpoint(network().eval(), {"provenance": {}})
    order = np.array([2, 0, 1])
    times, states = simulated(np.array([[0, 1, 0.2], [0.5, 0, 1], [2, 0.1, 0]]), 40, np.linspace(0, 5, 20))
    estimator = MarkovJumpEstimator(checkpoint=checkpoint, refine=refine)
    one, other = clone(estimator).fit((times, states)), clone(estimator).fit((times, order.argsort()[states]))
    np.testing.assert_allclose(other.rate_matrix_, permuted(one.rate_matrix_, order), rtol=2e-3)
    np.testing.assert_allclose(other.rate_interval()[1], permuted(one.rate_interval()[1], order), rtol=2e-3)
    np.testing.assert_allclose(other.initial_distribution_, one.initial_distribution_[order], rtol=1e-3)
    np.testing.assert_allclose(other.predict_proba([1, 2]), one.predict_proba([1, 2])[:, order], rtol=1e-3)


def test_states_that_were_never_observed(checkpoint: Checkpoint) -> None:
    with pytest.warns(
        UserWarning, match=r"State 3, 4 of 0 to 4 was never observed.* what the network expects"
    ) as caught:
        wide = MarkovJumpEstimator(5, checkpoint).fit(PATHS)
    assert caught[0].filename == __file__
    assert wide.rate_matrix_.shape == (5, 5)
    with pytest.warns(UserWarning, match="State 1 of 0 to 2 was never observed"):
        assert MarkovJumpEstimator(checkpoint=checkpoint).fit([([0, 1, 2], [0, 2, 0])]).n_states_ == 3


def test_long_paths_are_better_cut(checkpoint: Checkpoint) -> None:
    metadata = {"provenance": {}, "prior": {"name": "markov_jump", "arguments": {"points": [5, 20]}}}
    trained = replace(checkpoint, metadata=metadata)
    states = np.arange(41) % 2
    MarkovJumpEstimator(checkpoint=trained).fit((np.arange(40), states[:40]))
    with pytest.warns(UserWarning, match="41 observations and this network was trained on paths of up to 20") as caught:
        whole = MarkovJumpEstimator(checkpoint=trained).fit((np.arange(41), states))
    assert caught[0].filename == __file__
    pieces = [(np.arange(start, start + 11), states[start : start + 11]) for start in range(0, 40, 10)]
    cut = MarkovJumpEstimator(checkpoint=trained).fit(pieces)
    np.testing.assert_allclose(cut.rate_matrix_, whole.rate_matrix_)  # as the recipe says


# --- refinement ---------------------------------------------------------------------------------------------

RATES = np.array([[0, 0.9, 0.2], [0.5, 0, 1.1], [0.7, 0.3, 0]])


def test_refined_rates_are_those_of_maximum_likelihood(checkpoint: Checkpoint) -> None:
    """On one regular grid, F = log(C / row sums) / Δ."""
    times, states = simulated(RATES, 400, np.linspace(0, 6, 61))
    counts = np.zeros((3, 3))
    np.add.at(counts, (states[:, :-1], states[:, 1:]), 1)
    best = np.real(logm(counts / counts.sum(1, keepdims=True))) / 0.1
    network = MarkovJumpEstimator(checkpoint=checkpoint).fit((times, states))
    refined = MarkovJumpEstimator(checkpoint=checkpoint, refine=True).fit((times, states))
    deviations = np.sqrt(refined.log_rate_covariance_.diagonal())
    assert (abs(np.log(refined.rate_matrix_[OFF] / best[OFF])) < 0.35 * deviations).all()  # noise is estimated too
    assert refined.label_noise_ < 1e-3
    score = refined.score((times, states))
    refined.rate_matrix_ = best
    assert refined.score((times, states)) - 0.3 < score < refined.score((times, states))
    assert score > network.score((times, states)) + 3


def test_refining_sees_through_wrong_labels(checkpoint: Checkpoint) -> None:
    paths = simulated(RATES, 400, np.linspace(0, 10, 60), noise=0.1)
    refined = MarkovJumpEstimator(checkpoint=checkpoint, refine=True).fit(paths)
    deviations = np.sqrt(refined.log_rate_covariance_.diagonal())
    assert deviations.max() < 0.3
    assert (abs(np.log(refined.rate_matrix_[OFF] / RATES[OFF])) < 3.5 * deviations).all()
    assert refined.label_noise_ == pytest.approx(0.1, abs=0.01)
    assert refined.score(paths, label_noise=0.1) > refined.score(paths) + 1000


def test_covariance_is_that_of_the_likelihoods_curvature(checkpoint: Checkpoint) -> None:
    """Second differences of the exact log likelihood, noise included; irregular times, wrong labels."""
    generator, paths = np.random.default_rng(0), []
    for seed in range(60):
        times, states = simulated(RATES, 1, np.append(0, np.sort(generator.uniform(0, 10, 19))), 0.05, seed)
        paths.append((times, states[0]))
    refined = MarkovJumpEstimator(checkpoint=checkpoint, refine=True).fit(paths)
    best = np.append(np.log(refined.rate_matrix_[OFF]), np.log(refined.label_noise_ / (1 - refined.label_noise_)))

    def value(point: ndarray) -> float:
        other = copy.copy(refined)
        rates = np.zeros((3, 3))
        rates[OFF] = np.exp(point[:-1])
        other.rate_matrix_ = generator_matrix(rates)
        return other.score(paths, label_noise=expit(point[-1]))

    steps, size = 0.1 * np.eye(len(best)), len(best)
    alone = {(a, sign): value(best + sign * steps[a]) for a in range(size) for sign in (1, -1)}
    slope = np.array([(alone[a, 1] - alone[a, -1]) / 0.2 for a in range(size)])
    information, centre = np.zeros((size, size)), value(best)
    for a, b in product(range(size), repeat=2):
        if a >= b:
            both = value(best + steps[a] + steps[b]) + value(best - steps[a] - steps[b]) + 2 * centre
            change = both - sum(alone[c, sign] for c in (a, b) for sign in (1, -1))
            information[a, b] = information[b, a] = -change / 0.02
    covariance = np.linalg.inv(information)
    deviations = np.sqrt(covariance.diagonal())
    assert (abs(covariance @ slope) < 0.3 * deviations).all()  # the prior is weak
    relative = (refined.log_rate_covariance_ - covariance[:-1, :-1]) / np.outer(deviations, deviations)[:-1, :-1]
    assert abs(relative).max() < 0.12


def test_refined_draws_are_joint(checkpoint: Checkpoint) -> None:
    refined = MarkovJumpEstimator(checkpoint=checkpoint, refine=True).fit(simulated(RATES, 60, np.linspace(0, 10, 12)))
    draws = refined.sample_rates(20_000, random_state=0)[:, OFF]
    complete = np.log(draws[(draws > 0).all(1)])
    np.testing.assert_allclose(complete.mean(0), np.log(refined.rate_matrix_[OFF]), atol=0.03)
    correlation = np.corrcoef(complete.T)
    deviations = np.sqrt(refined.log_rate_covariance_.diagonal())
    np.testing.assert_allclose(correlation, refined.log_rate_covariance_ / np.outer(deviations, deviations), atol=0.05)
    assert abs(correlation - np.eye(6)).max() > 0.2
    assert (abs((draws > 0).mean(0) - THERE) < 0.02).all()
    law = refined.rate_distribution_
    np.testing.assert_allclose(law.scales[..., 0].numpy()[OFF], deviations)


def test_fitting_again_without_refining_forgets_it(checkpoint: Checkpoint) -> None:
    estimator = MarkovJumpEstimator(checkpoint=checkpoint, refine=True).fit(PATHS)
    estimator.set_params(refine=False).fit(PATHS)
    assert not hasattr(estimator, "log_rate_covariance_")
    assert not hasattr(estimator, "label_noise_")


# --- pictures -----------------------------------------------------------------------------------------------


def test_graph_shows_rates_and_intervals(fitted: MarkovJumpEstimator) -> None:
    axis = fitted.plot(level=0.8)
    assert len(axis.patches) == 6
    texts = [text.get_text() for text in axis.texts]
    low, high = fitted.rate_interval(0.8)[:, 0, 1]
    assert f"{fitted.rate_matrix_[0, 1]:.2g}\n({low:.2g}, {high:.2g})" in texts
    assert {"0", "1", "2"} < set(texts)
    assert "80%" in axis.get_title()
    assert fitted.plot(ax=axis) is axis


def test_graph_leaves_out_unlikely_jumps(fitted: MarkovJumpEstimator) -> None:
    posterior = fitted._found
    posterior.edge_probability[0, 2] = 0.2
    axis = fitted.plot()
    assert len(axis.patches) == 5
    assert "1 unlikely jump" in axis.get_title()


def test_predictions_over_what_was_observed(checkpoint: Checkpoint) -> None:
    times, states = simulated(RATES, 300, np.linspace(0, 3, 31))
    fitted = MarkovJumpEstimator(checkpoint=checkpoint, refine=True).fit((times, states))
    axis = fitted.plot_predictions(n_draws=200)
    lines = {line.get_label(): line for line in axis.get_lines()}
    line = lines["state 1"]
    at = np.asarray(line.get_xdata())
    np.testing.assert_allclose(line.get_ydata(), fitted.predict_proba(at)[:, 1])
    dots = axis.get_lines()[1]
    np.testing.assert_allclose(dots.get_xdata(), times, atol=1e-9)
    np.testing.assert_allclose(dots.get_ydata(), (states == 0).mean(0))
    rates, initial = fitted._found.draw(200, np.random.RandomState(0))
    ends = np.quantile(
        [law @ expm(one * at[100]) for law, one in zip(initial, rates, strict=True)], [0.05, 0.95], axis=0
    )
    band = np.asarray(axis.collections[0].get_paths()[0].vertices)
    np.testing.assert_allclose(np.sort(band[np.isclose(band[:, 0], at[100]), 1]), ends[:, 0], atol=0.02)


def test_pictures_need_matplotlib(fitted: MarkovJumpEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (fitted.plot, fitted.plot_predictions):
        with pytest.raises(ImportError, match="pip install matplotlib"):
            draw()


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "There are no paths"),
        ((np.empty((0, 4)), np.empty((0, 4))), "There are no paths"),
        ([([0, 1], [0, 1]), ([], [])], "Path 1 is empty: leave it out"),
        (([0, 1], [[0, 1], [-1, NAN]]), "Path 1 is empty"),
        ([([0, 1, 2], [0, 1])], r"Path 0 needs as many times as states.* \(3,\) and \(2,\)"),
        ([([0, 1], [0, 1]), ([0, 2, 1], [0, 1, 0])], "times of path 1 go backwards, from 2 to 1: sort them"),
        ([([0, 1, 1], [0, 1, 0])], "Path 0 has more than one state at time 1"),
        ([([0, NAN], [0, 1])], "Path 0 has a time that is not a finite number"),
        ([([0, np.inf], [0, 1])], "Path 0 has a time that is not a finite number"),
        ([([0, 1], [0, 1.5])], r"Path 0 has a state 1.5\. States are whole numbers"),
        ([([0, 1], [0, -2])], "Path 0 has a state -2"),
        ([([0, 1], [0, np.inf])], "Path 0 has a state inf"),
        ([([0, 1], ["open", "shut"])], "states of path 0 must be numbers"),
        ([(["0", "1"], [0, 1])], "times of path 0 must be numbers"),
        ([([0, 1], [0, None])], "states of path 0 must be numbers"),
        ([([0, 1], [True, False])], "states of path 0 must be numbers, not bool"),
        ([([0, 1], [0, 1j])], "must be numbers"),
        ([([0, 1], [[0, 1], [0]])], "states of path 0 are not an array of numbers"),
        ([([[0, 1]], [[0, 1]])], "in a list each"),
        ([[0, 1, 0]], r"Path 0 is not a pair \(times, states\)"),
        ([0, 1, 0], "Path 0 is not a pair"),
        (["ab"], "Path 0 is not a pair"),
        ("paths", "one .times, states. per path"),
        ({"times": [0, 1]}, "one .times, states. per path"),
        (3, "one .times, states. per path"),
        ((np.zeros(3), np.zeros((2, 4))), r"shape \(3,\) do not fit states of shape \(2, 4\)"),
        ((np.zeros((1, 2, 2)), np.zeros((1, 2, 2))), "do not fit"),
        ([([0, 1], [0, 0])], "Only state 0 was observed.* n_states=2"),
        ([([0, 1], [0, 6])], r"There are 7 states and this network takes at most 6: merge .* number them"),
    ],
)
def test_bad_paths(checkpoint: Checkpoint, paths: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarkovJumpEstimator(checkpoint=checkpoint).fit(paths)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_states": 2}, ValueError, "Path 0 has a state 2, and n_states=2 allows 0 to 1"),
        ({"n_states": 7}, ValueError, "There are 7 states and this network takes at most 6"),
        ({"n_states": 1}, ValueError, "n_states must be a whole number from 2 on"),
        ({"n_states": 3.0}, ValueError, "n_states must be a whole number from 2 on"),
        ({"n_states": True}, ValueError, "n_states must be a whole number from 2 on"),
        ({"device": "gpu"}, ValueError, "device='gpu' cannot be used here"),
        ({"checkpoint": "markov-jmp"}, CheckpointError, "no checkpoint and no file named 'markov-jmp'"),
        ({"checkpoint": None}, TypeError, "list_checkpoints"),
    ],
)
def test_bad_settings(checkpoint: Checkpoint, settings: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        MarkovJumpEstimator(**{"checkpoint": checkpoint, **settings}).fit(PATHS)


def test_networks_of_another_kind_are_refused(checkpoint_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a PFN, does not read rates of jump processes off paths"):
        MarkovJumpEstimator(checkpoint=checkpoint_path).fit(PATHS)


@pytest.mark.parametrize("level", [0, 1, -0.1, 90, NAN, "90%", [0.5]])
def test_bad_levels(fitted: MarkovJumpEstimator, level: Any) -> None:
    for ask in (fitted.rate_interval, fitted.plot, fitted.plot_predictions):
        with pytest.raises(ValueError, match="level must be the probability of an interval"):
            ask(level=level)
    with pytest.raises(ValueError, match="level must be"):
        fitted.quantity_interval("relaxation_times", level)


def test_bad_quantities(fitted: MarkovJumpEstimator) -> None:
    with pytest.raises(ValueError, match="Unknown quantity 'relaxation': did you mean 'relaxation_times'"):
        fitted.quantity_interval("relaxation")
    for wrong in (lambda rates: rates.mean(0), lambda rates: 3.0):
        with pytest.raises(ValueError, match="must answer 1000 rate matrices by an array"):
            fitted.quantity_interval(wrong)


@pytest.mark.parametrize("times", [-1, [0, NAN], np.inf, [], [[1, 2]]])
def test_bad_times(fitted: MarkovJumpEstimator, times: Any) -> None:
    with pytest.raises(ValueError, match="numbers from 0 on"):
        fitted.predict_proba(times)
    with pytest.raises(ValueError, match="numbers from 0 on"):
        fitted.sample_paths(2, times)


def test_simulated_times_increase(fitted: MarkovJumpEstimator) -> None:
    for times in ([1, 1], [2, 1]):
        with pytest.raises(ValueError, match="times must increase"):
            fitted.sample_paths(2, times)


@pytest.mark.parametrize("start", [3, -1, 1.0, True, "open", [0.5, 0.5], [0.5, 0.4, 0.2], [1.5, -0.5, 0], [NAN, 0, 1]])
def test_bad_starts(fitted: MarkovJumpEstimator, start: Any) -> None:
    with pytest.raises(ValueError, match="start must be a state from 0 to 2 or 3 probabilities"):
        fitted.predict_proba(1, start)


@pytest.mark.parametrize("n", [0, -1, 2.5, "3"])
def test_bad_numbers_of_draws(fitted: MarkovJumpEstimator, n: Any) -> None:
    for ask in (fitted.sample_rates, lambda n: fitted.sample_paths(n, [1])):
        with pytest.raises(ValueError, match="n must be a positive whole number"):
            ask(n)


def test_bad_scores(fitted: MarkovJumpEstimator) -> None:
    with pytest.raises(ValueError, match="Path 0 has a state 3, and n_states=3 allows 0 to 2"):
        fitted.score([([0, 1], [0, 3])])
    bad: list[Any] = [-0.1, 1, NAN, "none", None]
    for noise in bad:
        with pytest.raises(ValueError, match="label_noise must be a probability"):
            fitted.score(PATHS, label_noise=noise)


# --- scikit-learn's manners and pickles ---------------------------------------------------------------------


def test_parameters(checkpoint: Checkpoint) -> None:
    estimator = MarkovJumpEstimator(4, checkpoint, refine=True, device="cpu")
    assert estimator.get_params() == {"n_states": 4, "checkpoint": checkpoint, "refine": True, "device": "cpu"}
    assert clone(estimator).refine is True
    assert MarkovJumpEstimator().checkpoint == "markov-jump"
    assert repr(MarkovJumpEstimator()) == "MarkovJumpEstimator()"


def test_nothing_is_answered_before_fitting(checkpoint: Checkpoint) -> None:
    estimator = MarkovJumpEstimator(checkpoint=checkpoint)
    for ask in (
        estimator.rate_interval,
        lambda: estimator.quantity_interval("relaxation_times"),
        estimator.sample_rates,
        lambda: estimator.predict_proba(1),
        lambda: estimator.sample_paths(1, [1]),
        lambda: estimator.score(PATHS),
        estimator.plot,
        estimator.plot_predictions,
    ):
        with pytest.raises(NotFittedError):
            ask()


def test_a_refused_fit_changes_nothing(fitted: MarkovJumpEstimator) -> None:
    expected = fitted.rate_matrix_
    with pytest.raises(ValueError, match="go backwards"):
        fitted.fit([([1, 0], [0, 1])])
    np.testing.assert_array_equal(fitted.rate_matrix_, expected)


@pytest.mark.parametrize("refine", [False, True])
def test_pickles_hold_the_answers_and_not_the_network(path: Path, refine: bool) -> None:
    fitted = MarkovJumpEstimator(checkpoint=path, refine=refine).fit(PATHS)
    content = pickle.dumps(fitted)
    assert len(content) < 10_000 < path.stat().st_size
    path.unlink()
    for restored in (pickle.loads(content), copy.deepcopy(fitted)):
        np.testing.assert_array_equal(restored.rate_interval(), fitted.rate_interval())
        np.testing.assert_array_equal(restored.sample_rates(3, 0), fitted.sample_rates(3, 0))
        assert restored.score(PATHS) == fitted.score(PATHS)
        restored.plot_predictions()


def test_moving_keeps_the_answers(fitted: MarkovJumpEstimator) -> None:
    expected = fitted.rate_matrix_
    assert fitted.to("cpu") is fitted
    np.testing.assert_array_equal(fitted.rate_matrix_, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_answers_as_the_cpu_does(checkpoint: Checkpoint) -> None:
    for refine in (False, True):
        on_gpu = MarkovJumpEstimator(checkpoint=checkpoint, refine=refine, device="cuda").fit(PATHS)
        same(on_gpu, MarkovJumpEstimator(checkpoint=checkpoint, refine=refine, device="cpu").fit(PATHS))
