"""LearningCurveExtrapolator on a network whose answers are known by hand: a random walk with a drift."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from numpy import ndarray
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from priorfit import CurveNormalizer, LearningCurveExtrapolator, checkpoints
from priorfit.checkpoints import Checkpoint, CheckpointError
from priorfit.distributions import BarDistribution
from priorfit.models import Network, networks
from tests.toy import ToyPrior

START, DRIFT, SPREAD, HORIZON = 0.25, 0.002, 0.01, 100
CURVES = [[0.1, 0.3, 0.4], [0.2, 0.5], [], [0.3, 0.5, 0.55, 0.6, 0.7]]
LAST_STEPS, LAST_VALUES = np.array([3, 2, 0, 5]), np.array([0.4, 0.5, START, 0.7])
NAN = np.nan


@networks.register("walk")
class Walk(Network):
    """Predicts the last visible value plus a drift, with a scale that grows as the root of the time since then.

    On borders -2, …, 2 with equal masses, the quartiles are loc - scale, loc and loc + scale.
    """

    def __init__(self, n_buckets: int = 4, size: int = 1) -> None:
        super().__init__()
        self.horizon = float(HORIZON)
        self.logits = nn.Parameter(torch.zeros(n_buckets))
        self.ballast = nn.Parameter(torch.zeros(size))  # weight that a pickle should not carry
        self.calls: list[tuple[int, ...]] = []

    def compute(self, *observed: Tensor) -> tuple[Tensor, Tensor]:
        steps, values, query_steps, visible = observed
        assert all(part.dtype == torch.float32 for part in (steps, values, query_steps))
        assert all(part.isfinite().all() for part in observed)
        assert visible.dtype == torch.int64
        assert visible.shape == query_steps.shape
        rises = steps.diff(dim=1)
        assert (rises[torch.arange(rises.shape[1], device=steps.device) < visible[:, :1] - 1] > 0).all()
        self.calls.append((*steps.shape, query_steps.shape[1]))
        first = torch.tensor([[0.0, START]], device=steps.device).expand(len(steps), -1)
        last_step, last_value = (
            torch.cat([column[:, None], part], 1).gather(1, visible)
            for column, part in zip(first.T, (steps, values), strict=True)
        )
        elapsed = query_steps - last_step
        return last_value + DRIFT * elapsed, SPREAD * elapsed.sqrt()

    def distribution(self, output: tuple[Tensor, Tensor]) -> BarDistribution:
        loc, scale = output
        n_buckets = len(self.logits)
        borders = torch.linspace(-2, 2, n_buckets + 1, device=loc.device)
        return BarDistribution(self.logits.expand(*loc.shape, -1), borders, loc, scale)


def standard_deviation() -> float:
    """Of the walk's distribution with four buckets, in units of its scale, from its definition."""
    tail = 1 / stats.norm.ppf(0.75)
    outer = 1 + 2 * tail * math.sqrt(2 / math.pi) + tail**2  # E (1 + tail |Z|)²
    return math.sqrt((1 / 3 + outer) / 2)


@pytest.fixture
def checkpoint() -> Checkpoint:
    metadata = {"provenance": {"created": "now"}, "prior": {"name": "toy", "arguments": {}}}
    return Checkpoint(Walk().eval(), metadata)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a network with 100 kB of weights."""
    return checkpoints.save(tmp_path / "walk.safetensors", Walk(size=25_000), ToyPrior())


@pytest.fixture
def fitted(checkpoint: Checkpoint) -> LearningCurveExtrapolator:
    return LearningCurveExtrapolator(checkpoint).fit(CURVES)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


def locations(steps: Any) -> tuple[ndarray, ndarray]:
    """Locations and scales for CURVES, (4, m)."""
    elapsed = np.broadcast_to(np.asarray(steps, float), (4, np.shape(steps)[-1])) - LAST_STEPS[:, None]
    return LAST_VALUES[:, None] + DRIFT * elapsed, SPREAD * np.sqrt(elapsed)


# --- what is predicted --------------------------------------------------------------------------------------


def test_statistics_are_the_networks_own(fitted: LearningCurveExtrapolator) -> None:
    steps = [6, 10, 40.5, 100]
    loc, scale = locations(steps)
    expected = {"median": loc, "mean": loc, "std": standard_deviation() * scale, "mode": loc - scale / 2}
    for output, answers in expected.items():
        predicted = fitted.predict(steps, output)
        np.testing.assert_allclose(predicted, answers, rtol=1e-5, atol=1e-7)
        assert predicted.dtype == np.float64
    np.testing.assert_array_equal(fitted.predict(steps), fitted.predict(steps, "median"))


def test_quantiles(fitted: LearningCurveExtrapolator) -> None:
    steps = [6, 80]
    loc, scale = locations(steps)
    answers = fitted.quantiles(steps, [0.75, 0.125, 0.25])
    np.testing.assert_allclose(answers, np.stack([loc + scale, loc - 2 * scale, loc - scale], -1), rtol=1e-5)
    np.testing.assert_array_equal(fitted.predict(steps, "quantiles", quantiles=[0.75, 0.125, 0.25]), answers)
    assert fitted.quantiles(steps).shape == fitted.predict(steps, "quantiles").shape == (4, 2, 9)
    np.testing.assert_allclose(fitted.quantiles(steps)[..., 4], fitted.predict(steps))


def test_distributions(fitted: LearningCurveExtrapolator) -> None:
    loc, scale = (torch.from_numpy(part) for part in locations([6, 80]))
    law = fitted.predict_distribution([6, 80])
    assert law.batch_shape == (4, 2)
    assert law.logits.dtype == torch.float64
    assert law.logits.device.type == "cpu"
    torch.testing.assert_close(law.cdf(loc + scale), torch.full_like(loc, 0.75), atol=1e-4, rtol=0)
    best = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    law.expected_improvement(best).sum().backward()
    assert best.grad is not None
    assert best.grad < 0


def test_probabilities(fitted: LearningCurveExtrapolator) -> None:
    loc, scale = locations([10])
    for ask in (fitted.probability_above, fitted.probability_better):
        np.testing.assert_allclose(ask((loc + scale)[:, 0], [10]), np.full((4, 1), 0.25), atol=1e-4)
        np.testing.assert_allclose(ask((loc - 2 * scale)[:, 0], 10), np.full(4, 0.875), atol=1e-4)
        assert ask(0.5, [6, 7, 8]).shape == (4, 3)
        assert ask(-np.inf, 6).tolist() == [1] * 4
        assert ask(np.inf, 6).tolist() == [0] * 4


def test_a_single_step_has_no_axis(fitted: LearningCurveExtrapolator) -> None:
    assert fitted.predict(50).shape == fitted.predict_distribution(50).batch_shape == (4,)
    assert fitted.quantiles(50, [0.1, 0.9]).shape == (4, 2)
    assert fitted.sample(50, 3).shape == (3, 4)
    for ask in (fitted.predict, lambda steps: fitted.predict_distribution(steps).median.numpy()):
        np.testing.assert_array_equal(ask(50), ask([50])[:, 0])
        np.testing.assert_array_equal(ask(50), ask(np.full((4, 1), 50))[:, 0])


def test_curves_may_be_asked_for_steps_of_their_own(fitted: LearningCurveExtrapolator) -> None:
    steps = np.array([[4, 5], [3, 9], [1, 1], [6, 100]])
    np.testing.assert_allclose(fitted.predict(steps), locations(steps)[0], rtol=1e-5)


def test_an_empty_prefix_is_the_prior(checkpoint: Checkpoint) -> None:
    for nothing in ([[]], np.full((1, 4), NAN), np.empty((1, 0))):
        extrapolator = LearningCurveExtrapolator(checkpoint).fit(nothing)
        assert extrapolator.last_steps_.tolist() == [0]
        np.testing.assert_allclose(extrapolator.predict([1, 30]), [[START + DRIFT, START + 30 * DRIFT]], rtol=1e-5)
        assert extrapolator.sample([1, 2], 5).shape == (5, 1, 2)


def test_fitted_attributes(fitted: LearningCurveExtrapolator, checkpoint: Checkpoint) -> None:
    assert fitted.n_curves_ == 4
    assert fitted.last_steps_.tolist() == LAST_STEPS.tolist()
    assert fitted.horizon_ == HORIZON
    assert fitted.metadata_ is checkpoint.metadata


# --- what is observed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curves", "steps"),
    [
        pytest.param(np.array([[0.1, NAN, 0.4], [0.2, 0.5, NAN]]), None, id="array"),
        pytest.param([[0.1, NAN, 0.4], [0.2, 0.5]], None, id="ragged"),
        pytest.param([[0.1, None, 0.4], (0.2, 0.5, None)], None, id="None"),
        pytest.param([np.array([0.1, NAN, 0.4]), torch.tensor([0.2, 0.5], dtype=torch.float64)], None, id="mixed"),
        pytest.param(torch.tensor([[0.1, NAN, 0.4], [0.2, 0.5, NAN]], dtype=torch.float64), None, id="tensor"),
        pytest.param(pd.DataFrame([[0.1, NAN, 0.4], [0.2, 0.5, NAN]]), None, id="data frame"),
        pytest.param(np.array([np.array([0.1, NAN, 0.4]), np.array([0.2, 0.5])], dtype=object), None, id="objects"),
        pytest.param([[0.1, 0.4], [0.2, 0.5]], [[1, 3], [1, 2]], id="steps"),
        pytest.param([[0.4, 0.1], [0.5, 0.2]], [[3, 1], [2, 1]], id="unordered steps"),
        pytest.param([[0.4, 0.1], [0.2, 0.5]], np.array([[3, 1], [1, 2]]), id="an array of steps"),
        pytest.param([[0.4, NAN, 0.1], [NAN, 0.5, 0.2]], [3, 2, 1], id="steps for all"),
        pytest.param([[0.4, 0.1, NAN], [0.2, 0.5]], [[3, 1, NAN], [1, 2]], id="steps and padding"),
    ],
)
def test_the_same_curves_in_many_forms(checkpoint: Checkpoint, curves: Any, steps: Any) -> None:
    extrapolator = LearningCurveExtrapolator(checkpoint).fit(curves, steps)
    assert extrapolator.last_steps_.tolist() == [3, 2]
    assert extrapolator._prefixes.steps.tolist() == [[1, 3], [1, 2]]
    assert extrapolator._prefixes.values.tolist() == [[0.1, 0.4], [0.2, 0.5]]
    np.testing.assert_allclose(extrapolator.predict(4), [0.4 + DRIFT, 0.5 + 2 * DRIFT], rtol=1e-6)


def test_the_users_arrays_stay_as_they_are(checkpoint: Checkpoint) -> None:
    curves, steps = np.array([[0.4, NAN, 0.1]]), np.array([[3.0, 2.0, 1.0]])
    LearningCurveExtrapolator(checkpoint).fit(curves, steps).sample([4, 5], 2)
    np.testing.assert_array_equal(curves, [[0.4, NAN, 0.1]])
    np.testing.assert_array_equal(steps, [[3, 2, 1]])


def test_irregular_steps(checkpoint: Checkpoint) -> None:
    extrapolator = LearningCurveExtrapolator(checkpoint).fit([[0.2, 0.3, 0.6]], [[1.5, 7, 20.25]])
    np.testing.assert_allclose(extrapolator.predict([20.5, 36.25]), [[0.6005, 0.632]], rtol=1e-6)


def test_noise_beyond_the_unit_interval_is_part_of_the_prior(checkpoint: Checkpoint) -> None:
    assert LearningCurveExtrapolator(checkpoint).fit([[-0.2, 0.9, 1.3]]).predict(4) == pytest.approx(1.3 + DRIFT)


# --- batches ------------------------------------------------------------------------------------------------


def test_all_curves_go_through_the_network_at_once(fitted: LearningCurveExtrapolator, checkpoint: Checkpoint) -> None:
    calls = checkpoint.network.calls
    fitted.predict([10, 20, 30])
    assert calls == [(4, 5, 3)]
    calls.clear()
    fitted.set_params(batch_size=3).predict([10, 20])
    assert calls == [(3, 3, 2), (1, 5, 2)]  # no wider than the longest prefix of each
    calls.clear()
    fitted.set_params(batch_size=256).sample([10, 20], 7)
    assert calls == [(28, 5, 1), (28, 6, 1)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 1000])
def test_answers_do_not_depend_on_the_batch(fitted: LearningCurveExtrapolator, batch_size: int) -> None:
    steps = [6, 50, 90]
    expected = fitted.predict(steps, "quantiles"), fitted.sample(steps, 5, random_state=0)
    other = clone(fitted).set_params(batch_size=batch_size).fit(CURVES)
    np.testing.assert_allclose(other.predict(steps, "quantiles"), expected[0], rtol=1e-5)
    np.testing.assert_allclose(other.sample(steps, 5, random_state=0), expected[1], rtol=1e-5)
    for index, curve in enumerate(CURVES):
        alone = clone(fitted).fit([curve])
        np.testing.assert_allclose(alone.predict(steps, "quantiles")[0], expected[0][index], rtol=1e-5)


def test_many_queries_are_put_together_in_order(checkpoint: Checkpoint) -> None:
    values = np.random.default_rng(0).uniform(size=(700, 2))
    extrapolator = LearningCurveExtrapolator(checkpoint, batch_size=300).fit(values)
    steps = np.arange(3, 8)
    expected = values[:, 1:] + DRIFT * (steps - 2)
    np.testing.assert_allclose(extrapolator.predict(steps), expected, rtol=1e-5)
    np.testing.assert_allclose(extrapolator.predict_distribution(steps).mean, expected, rtol=1e-5)
    above = extrapolator.probability_above(values[:, 1] + DRIFT, 3)
    np.testing.assert_allclose(above, 0.5, atol=1e-4)


# --- losses -------------------------------------------------------------------------------------------------


LOSS = CurveNormalizer.loss(2.3)


@pytest.fixture
def losses(checkpoint: Checkpoint) -> LearningCurveExtrapolator:
    return LearningCurveExtrapolator(checkpoint, normalizer=LOSS).fit([[2.3, 1.5, 1.2], [2.2, 2.0]])


def inside(steps: Any) -> tuple[ndarray, ndarray]:
    """Locations and scales for `losses`, in the network's units, (2, m)."""
    elapsed = np.asarray(steps, float) - [[3], [2]]
    return LOSS.transform([[1.2], [2.0]]) + DRIFT * elapsed, SPREAD * np.sqrt(elapsed)


def test_losses_fall(losses: LearningCurveExtrapolator) -> None:
    loc, scale = inside([4, 50])
    median = losses.predict([4, 50])
    np.testing.assert_allclose(median, LOSS.inverse_transform(loc), rtol=1e-5)
    assert (np.diff(median) < 0).all()
    low, middle, high = np.moveaxis(losses.quantiles([4, 50], [0.25, 0.5, 0.75]), -1, 0)
    np.testing.assert_allclose(low, LOSS.inverse_transform(loc + scale), rtol=1e-5)
    np.testing.assert_allclose(high, LOSS.inverse_transform(loc - scale), rtol=1e-5)
    np.testing.assert_allclose(middle, median, rtol=1e-9)
    assert (np.diff(losses.predict([4, 50], "quantiles")) > 0).all()


def test_distributions_of_losses_are_in_the_networks_units(losses: LearningCurveExtrapolator) -> None:
    np.testing.assert_allclose(losses.predict_distribution([4, 50]).mean, inside([4, 50])[0], rtol=1e-5)


def test_probabilities_of_losses(losses: LearningCurveExtrapolator) -> None:
    loc, scale = inside([50])
    quartile = LOSS.inverse_transform(loc + scale)[:, 0]  # better than the median
    np.testing.assert_allclose(losses.probability_better(quartile, 50), 0.25, atol=1e-4)
    np.testing.assert_allclose(losses.probability_above(quartile, 50), 0.75, atol=1e-4)


@pytest.mark.parametrize(
    ("normalizer", "threshold", "above"),
    [
        (LOSS, 0.0, 1),
        (LOSS, -1.0, 1),
        (LOSS, np.inf, 0),
        (CurveNormalizer(), 1.0, 0),
        (CurveNormalizer(), 1.5, 0),
        (CurveNormalizer(), -0.5, 1),
    ],
)
def test_no_value_is_beyond_hard_bounds(
    checkpoint: Checkpoint, normalizer: CurveNormalizer, threshold: float, above: float
) -> None:
    extrapolator = LearningCurveExtrapolator(checkpoint, normalizer=normalizer).fit([[0.4, 0.5]])
    assert extrapolator.probability_above(threshold, 3) == pytest.approx(above, abs=1e-3)
    better = 1 - above if normalizer.minimize else above
    assert extrapolator.probability_better(threshold, 3) == pytest.approx(better, abs=1e-3)


def test_nothing_is_better_than_perfect(checkpoint: Checkpoint) -> None:
    for normalizer, perfect in ((LOSS, 0.0), (CurveNormalizer(), 1.0), (CurveNormalizer(minimize=True), 0.0)):
        extrapolator = LearningCurveExtrapolator(checkpoint, normalizer=normalizer).fit([[perfect]])
        assert extrapolator.probability_better(perfect, [2, 90]).tolist() == [[0, 0]]
        assert extrapolator.predict(90) == pytest.approx(perfect, abs=1e-12)


@pytest.mark.parametrize("output", ["mean", "mode", "std"])
def test_means_do_not_pass_through_a_normalizer(losses: LearningCurveExtrapolator, output: str) -> None:
    with pytest.raises(ValueError, match=f"The {output} does not pass .* 'median'"):
        losses.predict(50, output)


def test_draws_of_losses(losses: LearningCurveExtrapolator) -> None:
    draws = losses.sample([4, 50], 400, random_state=0)
    low, high = np.moveaxis(losses.quantiles(4, [0.25, 0.75]), -1, 0)
    np.testing.assert_allclose(((low < draws[..., 0]) & (draws[..., 0] < high)).mean(0), 0.5, atol=0.1)


def test_padding_is_not_mistaken_for_values(checkpoint: Checkpoint) -> None:
    normalizer = CurveNormalizer(lower=50, upper=100)  # 0 would be out of bounds
    extrapolator = LearningCurveExtrapolator(checkpoint, normalizer=normalizer).fit([[60, 70, 80], [75]])
    expected = normalizer.inverse_transform(normalizer.transform([80, 75]) + DRIFT * np.array([7, 9]))
    np.testing.assert_allclose(extrapolator.predict(10), expected, rtol=1e-6)


def test_settings_that_change_after_fitting_wait_for_the_next_fit(losses: LearningCurveExtrapolator) -> None:
    expected = losses.predict(50)
    np.testing.assert_array_equal(losses.set_params(normalizer=None).predict(50), expected)


# --- futures ------------------------------------------------------------------------------------------------


def test_futures_are_walks(fitted: LearningCurveExtrapolator) -> None:
    steps = np.array([6, 7, 16, 32])
    draws = fitted.sample(steps, 3000, random_state=0)
    assert draws.shape == (3000, 4, 4)
    elapsed = np.diff(np.tile(steps, (4, 1)), prepend=LAST_STEPS[:, None])  # (4, 4)
    rises = np.diff(draws, axis=-1, prepend=np.broadcast_to(LAST_VALUES[:, None], (3000, 4, 1)))
    z = (rises - DRIFT * elapsed) / (SPREAD * np.sqrt(elapsed) * standard_deviation())
    assert np.abs(z.mean(0)).max() < 5 / math.sqrt(3000)
    np.testing.assert_allclose(z.std(0), 1, atol=0.1)
    correlation = np.corrcoef(z.reshape(3000, -1).T)
    assert np.abs(correlation - np.eye(16)).max() < 5 / math.sqrt(3000)  # rises are independent, values are not


def test_one_step_ahead_futures_follow_the_distribution(fitted: LearningCurveExtrapolator) -> None:
    draws = fitted.sample(6, 2000, random_state=1)
    levels = fitted.predict_distribution(6).cdf(torch.from_numpy(draws)).numpy()
    assert stats.kstest(levels.ravel(), "uniform").pvalue > 1e-3


def test_futures_at_steps_of_each_curves_own(fitted: LearningCurveExtrapolator) -> None:
    steps = np.array([[4, 5], [3, 9], [1, 2], [6, 100]])
    draws = fitted.sample(steps, 2000, random_state=2)
    np.testing.assert_allclose(draws.mean(0), locations(steps)[0], atol=6 * SPREAD * math.sqrt(95 / 2000) * 1.7)


def test_futures_come_from_their_own_random_state(fitted: LearningCurveExtrapolator) -> None:
    first = fitted.sample([6, 8], 3, random_state=5)
    np.testing.assert_array_equal(first, fitted.sample([6, 8], 3, random_state=np.random.RandomState(5)))
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    assert not np.array_equal(fitted.sample([6, 8], 3), fitted.sample([6, 8], 3))
    assert np.array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])


# --- figures ------------------------------------------------------------------------------------------------


def test_a_figure_of_one_curve(fitted: LearningCurveExtrapolator) -> None:
    axis = fitted.plot(1, levels=(0.9, 0.5))
    median, observed = axis.get_lines()
    later = np.arange(3, HORIZON + 1)
    np.testing.assert_array_equal(median.get_xdata(), later)
    np.testing.assert_allclose(median.get_ydata(), 0.5 + DRIFT * (later - 2), rtol=1e-5)
    np.testing.assert_array_equal(observed.get_xydata(), [[1, 0.2], [2, 0.5]])
    inner, outer = axis.collections
    loc, scale = locations([HORIZON])
    ends = inner.get_paths()[0].vertices
    ends = ends[ends[:, 0] == HORIZON, 1]
    np.testing.assert_allclose([ends.min(), ends.max()], [(loc - scale)[1, 0], (loc + scale)[1, 0]], rtol=1e-5)
    assert outer.get_paths()[0].vertices[:, 1].max() > ends.max()
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["median, 50% and 90% bands", "observed"]


def test_a_figure_of_several_curves_on_given_axes(losses: LearningCurveExtrapolator) -> None:
    given = pyplot.figure().subplots()
    assert losses.plot([0, 1], ax=given, levels=(0.8,), last_step=40) is given
    first, observed, second, _ = given.get_lines()
    np.testing.assert_allclose(observed.get_ydata(), [2.3, 1.5, 1.2])
    assert first.get_xdata()[-1] == second.get_xdata()[-1] == 40
    assert first.get_color() != second.get_color()
    assert [text.get_text() for text in given.get_legend().get_texts()] == ["curve 0", "curve 1"]


def test_a_figure_of_a_finished_curve_and_of_an_empty_one(checkpoint: Checkpoint) -> None:
    extrapolator = LearningCurveExtrapolator(checkpoint).fit([np.linspace(0.1, 0.8, HORIZON), []])
    assert [len(line.get_xdata()) for line in extrapolator.plot([0, 1]).get_lines()] == [0, HORIZON, HORIZON, 0]


def test_infinite_ends_of_bands_are_drawn_at_the_edge(checkpoint: Checkpoint) -> None:
    extrapolator = LearningCurveExtrapolator(checkpoint, normalizer=LOSS).fit([[5, 7, 9]])
    assert np.isinf(extrapolator.quantiles([20], [0.95])).all()
    (band,) = extrapolator.plot(levels=(0.9,)).collections
    vertices = band.get_paths()[0].vertices
    assert np.isfinite(vertices).all()
    assert set(vertices[:, 0]) == set(range(4, HORIZON + 1))


def test_a_figure_of_no_such_curve(fitted: LearningCurveExtrapolator) -> None:
    with pytest.raises(IndexError, match="4"):
        fitted.plot(4)


def test_figures_need_matplotlib(fitted: LearningCurveExtrapolator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        fitted.plot()


# --- limits -------------------------------------------------------------------------------------------------


def test_steps_beyond_the_horizon_are_refused_unless_asked_for(checkpoint: Checkpoint) -> None:
    curves = [np.full(HORIZON + 1, 0.5)]
    extrapolator = LearningCurveExtrapolator(checkpoint)
    message = r"up to step 101 .* up to 100: .* value number 2 .*curves\[:, 1::2\].* ignore_horizon=True"
    with pytest.raises(ValueError, match=message):
        extrapolator.fit(curves)
    with pytest.warns(UserWarning, match="up to step 101 and this network was trained on steps up to 100") as caught:
        extrapolator.set_params(ignore_horizon=True).fit(curves)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="ask for step 250 .* is not known") as caught:
        assert extrapolator.predict(250).shape == (1,)
    assert caught[0].filename == __file__


def test_questions_beyond_the_horizon_are_refused(fitted: LearningCurveExtrapolator) -> None:
    fitted.predict(HORIZON)
    for ask in (fitted.predict, fitted.predict_distribution, fitted.quantiles, fitted.sample):
        with pytest.raises(ValueError, match=r"steps ask for step 201 .* divide the steps asked for by 3"):
            ask([50, 201])


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curves", "steps", "message"),
    [
        ([], None, r"no curves.*\[\[\]\]"),
        (np.empty((0, 5)), None, "no curves"),
        ([0.1, 0.2, 0.3], None, r"A single curve goes into a list of its own: \[curve\]"),
        (np.array([0.1, 0.2]), None, "A single curve goes into"),
        (np.zeros((2, 3, 4)), None, r"must be an array \(n_curves, n_steps\)"),
        ([[0.1, "high"]], None, "could not convert string to float"),
        ([[0.1], [0.2, np.inf]], None, "Curve 1 has an infinite value.*NaN"),
        ([[0.1, -np.inf]], None, "Curve 0 has an infinite value"),
        ([[0.1, 0.2]], [[1, 1]], "Curve 0 has more than one value at step 1"),
        ([[0.1], [0.3, 0.1, 0.2]], [[1], [2, 5, 2]], "Curve 1 has more than one value at step 2"),
        ([[0.1, 0.2]], [[0, 1]], "steps of curve 0 must be finite numbers from 1 on"),
        ([[0.1, 0.2]], [[0.5, 1]], "from 1 on"),
        ([[0.1, 0.2]], [[1, NAN]], "must be finite"),
        ([[0.1, 0.2]], [[1, np.inf]], "must be finite"),
        ([[0.1, 0.2]], [[1, 2, 3]], "Curve 0 has 2 values and 3 steps"),
        ([[0.1, 0.2], [0.1]], [1, 2], "Curve 1 has 1 values and 2 steps"),
        ([[0.1, 0.2], [0.1]], [[1, 2]], "2 curves and steps for 1"),
        ([[0.1, 0.2], [0.1]], [[1, 2], [1], [1]], "2 curves and steps for 3"),
        ([[0.1, 0.2]], [[[1, 2]]], "steps must be an array"),
        (
            [[10.0, 45.0, 80.0]],
            None,
            r"values such as 10, .*CurveNormalizer.loss\(initial\) .* CurveNormalizer\(upper",
        ),
        ([[0.5, -3.0]], None, "values such as -3"),
    ],
)
def test_bad_curves(checkpoint: Checkpoint, curves: Any, steps: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearningCurveExtrapolator(checkpoint).fit(curves, steps)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "no steps"),
        ([0, 6], "from 1 on"),
        ([6, NAN], "finite"),
        (np.inf, "finite"),
        ("soon", "could not convert"),
        (None, "finite"),
        ([[6, 7], [6]], r"a number or a list of numbers for all curves, or an array \(n_curves, n_steps\) for 4"),
        (np.full((3, 2), 50), "for 4 curves"),
        (np.full((1, 4, 2), 50), "for 4 curves"),
        (5, r"Curve 3 was observed up to step 5 and is asked for step 5 \(curves concerned: 3\)"),
        ([2, 50], r"Curve 0 was observed up to step 3 and is asked for step 2 \(curves concerned: 0, 1, 3\)"),
    ],
)
def test_bad_steps(fitted: LearningCurveExtrapolator, steps: Any, message: str) -> None:
    for ask in (fitted.predict, fitted.quantiles, fitted.predict_distribution, fitted.sample):
        with pytest.raises(ValueError, match=message):
            ask(steps)
    with pytest.raises(ValueError, match=message):
        fitted.probability_above(0.5, steps)


def test_long_lists_of_curves_are_cut_in_messages(checkpoint: Checkpoint) -> None:
    extrapolator = LearningCurveExtrapolator(checkpoint).fit(np.full((9, 4), 0.5))
    with pytest.raises(ValueError, match=r"concerned: 0, 1, 2, 3, 4 and 4 more"):
        extrapolator.predict(4)


@pytest.mark.parametrize("steps", [[7, 6], [6, 6], [[6, 7]] * 3 + [[7, 7]]])
def test_futures_are_drawn_from_left_to_right(fitted: LearningCurveExtrapolator, steps: Any) -> None:
    fitted.predict(steps)
    with pytest.raises(ValueError, match="steps must increase"):
        fitted.sample(steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_type": "medain"}, "did you mean 'median'"),
        ({"output_type": "quantiles", "quantiles": [0.5, 1.0]}, "above 0 and below 1"),
        ({"output_type": "quantiles", "quantiles": 0.5}, "must be a list"),
        ({"quantiles": [0.5]}, "need output_type='quantiles'"),
    ],
)
def test_bad_outputs(
    fitted: LearningCurveExtrapolator, losses: LearningCurveExtrapolator, arguments: Any, message: str
) -> None:
    for extrapolator in (fitted, losses):
        with pytest.raises(ValueError, match=message):
            extrapolator.predict(50, **arguments)


@pytest.mark.parametrize("threshold", [NAN, [0.5, 0.6], [[0.5]] * 4])
def test_bad_thresholds(fitted: LearningCurveExtrapolator, threshold: Any) -> None:
    with pytest.raises(ValueError, match="one for each of 4 curves"):
        fitted.probability_above(threshold, 50)


@pytest.mark.parametrize("n", [0, -1, 2.5, "3"])
def test_bad_numbers_of_draws(fitted: LearningCurveExtrapolator, n: Any) -> None:
    with pytest.raises(ValueError, match="n must be a positive whole number"):
        fitted.sample(50, n)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"device": "gpu"}, ValueError, "device='gpu' cannot be used here"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive whole number"),
        ({"normalizer": "loss"}, TypeError, r"CurveNormalizer.loss\(initial\), or None .* not 'loss'"),
        ({"checkpoint": "lerning-curve"}, CheckpointError, "no checkpoint and no file named 'lerning-curve'"),
        ({"checkpoint": None}, TypeError, "list_checkpoints"),
    ],
)
def test_bad_settings(checkpoint: Checkpoint, settings: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        LearningCurveExtrapolator(**{"checkpoint": checkpoint, **settings}).fit(CURVES)


def test_networks_of_another_kind_are_refused(checkpoint_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a PFN, does not extrapolate learning curves"):
        LearningCurveExtrapolator(checkpoint_path).fit(CURVES)


# --- scikit-learn's manners and pickles ---------------------------------------------------------------------


def test_parameters(checkpoint: Checkpoint) -> None:
    extrapolator = LearningCurveExtrapolator(checkpoint, normalizer=LOSS, batch_size=7)
    assert extrapolator.get_params() == {
        "checkpoint": checkpoint,
        "normalizer": LOSS,
        "device": "cpu",
        "batch_size": 7,
        "ignore_horizon": False,
    }
    assert clone(extrapolator).normalizer == LOSS
    assert "batch_size=7" in repr(extrapolator)
    assert LearningCurveExtrapolator().checkpoint == "learning-curve"
    assert repr(LearningCurveExtrapolator()) == "LearningCurveExtrapolator()"


def test_nothing_is_predicted_before_fitting(checkpoint: Checkpoint) -> None:
    extrapolator = LearningCurveExtrapolator(checkpoint)
    for ask in (
        extrapolator.predict,
        extrapolator.quantiles,
        extrapolator.predict_distribution,
        extrapolator.sample,
        lambda steps: extrapolator.probability_above(0.5, steps),
        lambda steps: extrapolator.probability_better(0.5, steps),
        lambda steps: extrapolator.plot(),
    ):
        with pytest.raises(NotFittedError):
            ask(50)


def test_a_refused_fit_changes_nothing(fitted: LearningCurveExtrapolator) -> None:
    expected = fitted.predict(50)
    with pytest.raises(ValueError, match="infinite"):
        fitted.fit([[0.1, np.inf]])
    np.testing.assert_array_equal(fitted.predict(50), expected)


def test_pickles_hold_the_curves_and_not_the_network(path: Path) -> None:
    fitted = LearningCurveExtrapolator(path, normalizer=LOSS).fit([[2.3, 1.7]])
    content = pickle.dumps(fitted)
    assert len(content) < 10_000 < path.stat().st_size
    for restored in (pickle.loads(content), copy.deepcopy(fitted)):
        np.testing.assert_array_equal(restored.predict([3, 9]), fitted.predict([3, 9]))
        np.testing.assert_array_equal(restored.sample(9, 2, random_state=0), fitted.sample(9, 2, random_state=0))


def test_pickles_of_a_loaded_checkpoint_need_no_file(fitted: LearningCurveExtrapolator) -> None:
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(50), fitted.predict(50))


def test_pickles_from_a_machine_with_a_gpu_work_without(fitted: LearningCurveExtrapolator) -> None:
    restored = pickle.loads(pickle.dumps(fitted.set_params(device="cuda:99")))
    np.testing.assert_array_equal(restored.predict(50), fitted.predict(50))


def test_moving_keeps_the_answers(fitted: LearningCurveExtrapolator) -> None:
    expected = fitted.predict([6, 50])
    assert fitted.to("cpu") is fitted
    np.testing.assert_array_equal(fitted.predict([6, 50]), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_answers_as_the_cpu_does(checkpoint: Checkpoint, fitted: LearningCurveExtrapolator) -> None:
    on_gpu = LearningCurveExtrapolator(checkpoint, device="auto").fit(CURVES)
    assert next(checkpoint.network.parameters()).device.type == "cpu"
    np.testing.assert_allclose(on_gpu.quantiles([6, 50]), fitted.quantiles([6, 50]), rtol=1e-5)
    draws = fitted.sample([6, 50], 5, random_state=0)
    np.testing.assert_allclose(on_gpu.sample([6, 50], 5, random_state=0), draws, rtol=1e-5)
    assert b"cuda" not in pickle.dumps(on_gpu)


def test_another_checkpoint_in_the_place_of_the_one_that_was_fitted_warns(path: Path, checkpoint: Checkpoint) -> None:
    fitted = LearningCurveExtrapolator(path).fit(CURVES)
    checkpoints.save(path, checkpoint.network, ToyPrior(), provenance={"note": "another"})
    with pytest.warns(UserWarning, match="no longer the one") as caught:
        copy.deepcopy(fitted).predict(50)
    assert caught[0].filename == __file__


def test_a_network_with_a_fine_head_keeps_its_precision(checkpoint: Checkpoint) -> None:
    fine = replace(checkpoint, network=Walk(n_buckets=1000).eval())
    extrapolator = LearningCurveExtrapolator(fine).fit([[0.5]])
    np.testing.assert_allclose(extrapolator.quantiles(2, [0.1, 0.5, 0.9]), [[0.486, 0.502, 0.518]], rtol=1e-4)
