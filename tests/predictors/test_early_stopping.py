"""The stopping rule: probabilities by hand, whose best counts, what the network is shown, and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from priorfit.checkpoints import Checkpoint, CheckpointError
from priorfit.predictors.curve_normalizer import CurveNormalizer
from priorfit.predictors.early_stopping import EarlyStopper, StopDecision
from tests.predictors.trend_network import SCALE, trend

ERRORS = CurveNormalizer(minimize=True)


def seen(checkpoint: Checkpoint) -> tuple[torch.Tensor, ...]:
    """The arguments of the network's only call."""
    (arguments,) = checkpoint.network.calls  # type: ignore[misc]
    return arguments


@pytest.mark.parametrize(
    ("slope", "curve", "probability", "step"),
    [
        (0.0, [0.4, 0.5], 1 / 2, 3),  # the value to beat is the median of every later step
        (0.0, [0.54, 0.5], 0.3, 3),  # u = .4
        (0.0, [0.6, 0.5], 1 / 8, 3),  # u = 1
        (0.0, [0.5, 0.4, 0.46], 0.3, 4),
        (0.01, [0.6, 0.5], 1 / 2, 12),  # ten steps of .01 make up for it
        (-0.01, [0.4, 0.5], 0.45, 3),  # and it only gets worse: u = .1 at the next step
    ],
)
def test_the_probability_of_a_new_best_by_hand(slope: float, curve: list[float], probability: float, step: int) -> None:
    decision = EarlyStopper(12, trend(slope)).decide(curve)
    assert decision.probability == pytest.approx(probability, abs=1e-5)
    assert (decision.stop, decision.step, decision.best) == (False, step, max(curve))


def test_a_run_is_stopped_where_the_probability_is_at_most_delta() -> None:
    for delta, stop in [(0.12, False), (0.13, True)]:
        decision = EarlyStopper(12, trend(), delta=delta).decide([0.6, 0.5])
        assert decision.probability == pytest.approx(1 / 8, abs=1e-5)
        assert decision.stop is stop
        assert bool(decision) is stop


def test_a_training_loop() -> None:
    stopper, history = EarlyStopper(10, trend()), []
    for value in [0.2, 0.5, 0.55, 0.5, 0.3, 0.6, 0.7]:
        history.append(value)
        if stopper.decide(history):
            break
    assert history[-1] == 0.3  # .55 is 2.5 units of z above it, .5 was half a unit below


@pytest.mark.parametrize(("given", "best"), [(None, 0.54), (0.3, 0.54), (0.6, 0.6)])
def test_the_best_of_earlier_runs_counts_where_it_is_better(given: float | None, best: float) -> None:
    decision = EarlyStopper(12, trend()).decide([0.54, 0.5], given)
    assert decision.best == best
    assert decision.probability == pytest.approx({0.54: 0.3, 0.6: 1 / 8}[best], abs=1e-5)


@pytest.mark.parametrize("normalizer", [ERRORS, CurveNormalizer.loss(2.0), CurveNormalizer(upper=100)])
def test_other_metrics_through_a_normalizer(normalizer: CurveNormalizer) -> None:
    curve = normalizer.inverse_transform([0.54, 0.5])
    stopper = EarlyStopper(12, trend(), normalizer=normalizer)
    for given, best, probability in [(None, 0.54, 0.3), (0.3, 0.54, 0.3), (0.6, 0.6, 1 / 8)]:
        value = None if given is None else float(normalizer.inverse_transform(given))
        decision = stopper.decide(curve, value)
        assert decision.probability == pytest.approx(probability, abs=1e-5)
        assert decision.best == pytest.approx(float(normalizer.inverse_transform(best)))


@pytest.mark.parametrize("normalizer", [None, ERRORS])
def test_reach_is_the_best_value_at_which_the_decision_turns(normalizer: CurveNormalizer | None) -> None:
    stopper = EarlyStopper(12, trend(0.01), normalizer=normalizer, delta=0.3)
    curves = np.array([[0.3, 0.4], [0.45, 0.5]])
    expected = curves[:, 1] + 10 * 0.01 + 0.4 * SCALE  # P(z > .4) = .3
    if normalizer is not None:
        curves, expected = normalizer.inverse_transform(curves), normalizer.inverse_transform(expected)
    reach = stopper.reach(curves)
    np.testing.assert_allclose(reach, expected, rtol=1e-5)
    better = 1e-4 if normalizer is None else -1e-4
    for curve, value in zip(curves, reach, strict=True):
        assert stopper.decide(curve, value + better)
        assert not stopper.decide(curve, value - better)


def test_many_runs_in_one_pass() -> None:
    curves = [[0.1, 0.2, 0.3, 0.25], [0.7, 0.6], [], [0.5], [0.3] * 12, [0.2, 0.4, math.inf], [0.9, 0.2, 0.6]]
    single = [EarlyStopper(12, trend(0.01)).decide(curve, 0.5) for curve in curves]
    checkpoint = trend(0.01)
    together = EarlyStopper(12, checkpoint).decide_many(curves, 0.5)
    for one, other in zip(single, together, strict=True):
        assert (one.stop, one.step, one.best) == (other.stop, other.step, other.best)
        assert one.probability == pytest.approx(other.probability, nan_ok=True)
    _, _, query_steps, visible = seen(checkpoint)  # of the three that the network is asked about
    assert visible[:, 0].tolist() == [4, 2, 3]
    assert query_steps[1].tolist() == list(range(3, 13))
    assert query_steps[0].tolist() == [*range(5, 13), 12, 12]


def test_padding_at_the_end_of_rows() -> None:
    rows = np.array([[0.3, 0.2, 0.1], [0.5, 0.4, np.nan], [np.nan] * 3])
    stopper = EarlyStopper(12, trend())
    assert stopper.decide_many(rows)[:2] == [stopper.decide([0.3, 0.2, 0.1]), stopper.decide([0.5, 0.4])]
    assert not stopper.decide_many(rows)[2]
    np.testing.assert_allclose(stopper.reach(rows[:2]), np.append(stopper.reach(rows[:1]), stopper.reach([[0.5, 0.4]])))


def test_values_that_were_not_measured_are_left_out() -> None:
    checkpoint = trend()
    decision = EarlyStopper(12, checkpoint).decide([np.nan, 0.3, np.nan, 0.4])
    steps, _, query_steps, _ = seen(checkpoint)
    assert steps[0].tolist() == [2, 4]
    assert query_steps[0].tolist() == list(range(5, 13))
    assert (decision.best, decision.step) == (0.4, 5)


def test_long_runs_are_thinned() -> None:
    checkpoint = trend(horizon=100)
    curve = np.linspace(0.1, 0.2, 80)
    curve[6] = 0.21  # not shown, but the value to beat
    decision = EarlyStopper(250, checkpoint).decide(curve)
    steps, values, query_steps, _ = seen(checkpoint)
    assert steps[0].tolist() == list(range(1, 27))
    np.testing.assert_allclose(values[0], curve[2::3], rtol=1e-6)
    assert query_steps[0].tolist() == list(range(27, 85))
    assert (decision.best, decision.step) == (0.21, 81)
    assert EarlyStopper(250, trend(slope=0.001)).decide(curve).step == 250  # not 3 * 84
    assert math.isnan(EarlyStopper(250, trend()).decide(curve[:5]).probability)  # one value shown
    assert EarlyStopper(250, trend()).decide(curve[:6]).probability > 0
    assert EarlyStopper(250, trend()).decide([0.1] * 249).step == 250


@pytest.mark.parametrize(
    ("curve", "stop", "best"),
    [
        ([], False, math.nan),
        ([0.5], False, 0.5),
        ([0.5, 0.4, math.nan], True, 0.5),
        ([0.5, 0.4, -math.inf], True, 0.5),
        ([math.nan], True, math.nan),
        ([0.1] * 4, True, 0.1),
        ([0.1] * 5, True, 0.1),
    ],
    ids=["empty", "too short", "NaN", "infinite", "NaN at once", "complete", "overdue"],
)
def test_what_needs_no_prediction(curve: list[float], stop: bool, best: float) -> None:
    checkpoint = trend()
    decision = EarlyStopper(4, checkpoint).decide(curve)
    np.testing.assert_equal(vars(decision), vars(StopDecision(stop, math.nan, None, best)))
    assert not checkpoint.network.calls


def test_min_steps() -> None:
    for min_steps, stop in [(1, True), (3, True), (4, False)]:
        assert EarlyStopper(12, trend(), min_steps=min_steps).decide([0.9, 0.2, 0.1]).stop is stop


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": 0}, "max_steps must be a positive whole number"),
        ({"max_steps": 10.5}, "max_steps must be a positive whole number"),
        ({"min_steps": 0}, "min_steps must be a positive whole number"),
        ({"delta": 0.0}, "delta must be a probability between 0 and 1"),
        ({"delta": 5}, "delta must be a probability between 0 and 1"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyStopper(**{"max_steps": 10, "checkpoint": trend(), **settings})


def test_impossible_values() -> None:
    stopper = EarlyStopper(10, trend())
    with pytest.raises(ValueError, match="best must be a finite number, or None"):
        stopper.decide([0.1, 0.2], math.nan)
    with pytest.raises(ValueError, match="there is decide_many"):
        stopper.decide([[0.1, 0.2], [0.3, 0.4]])
    with pytest.raises(ValueError, match="has no later steps"):
        stopper.reach([[0.1] * 10])
    with pytest.raises(ValueError, match="infinite value"):
        stopper.decide([0.1, math.inf, 0.2])
    with pytest.raises(ValueError, match="bounds"):
        EarlyStopper(10, trend(), normalizer=ERRORS).decide([0.1, 1.2])


def test_checkpoints_of_other_networks(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="does not extrapolate learning curves"):
        EarlyStopper(10, checkpoint)
    with pytest.raises(CheckpointError, match="no checkpoint and no file named"):
        EarlyStopper(10, "leaning-curve")
