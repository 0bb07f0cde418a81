"""Which of the observed numbers were measured, by kind of task."""

from __future__ import annotations

import pytest
import torch

from priorfit.priors import (
    SCM,
    GaussianProcess,
    LearningCurve,
    LinearBNN,
    MarkovJump,
    Mixture,
    Prior,
    RangeBearing,
    Task,
    TwoLevelSystem,
)
from priorfit.sources import Source

SIZES = {"points": 12, "context": 6}


def drawn(prior: Prior) -> Task:
    return prior.sample(3, generator=torch.Generator().manual_seed(0))


def test_all_targets_of_a_context_are_measured() -> None:
    prior = GaussianProcess(SIZES)
    assert prior.measurements(drawn(prior).observed).tolist() == [[True] * 6] * 3


@pytest.mark.parametrize(("target", "expected"), [({"kind": "number"}, True), ({"kind": "classes"}, False)])
def test_classes_are_not_measured(target: dict[str, str], expected: bool) -> None:
    arguments = {"sizes": {"points": 40, "context": 30}, "target": target}
    for prior in (SCM(**arguments), Mixture({"only": {"prior": "scm", **arguments}})):
        assert prior.measurements(drawn(prior).observed).unique().tolist() == [expected]


def test_classes_of_the_linear_network_are_not_measured() -> None:
    prior = LinearBNN(SIZES)
    assert not prior.measurements(drawn(prior).observed).any()


def test_values_of_a_curve_count_up_to_the_longest_prefix() -> None:
    prior = LearningCurve(length=20)
    observed = drawn(prior).observed
    found, last = prior.measurements(observed), int(observed.visible.max())
    assert found.shape == observed.values.shape
    assert found.sum(1).tolist() == [last] * 3
    assert found[:, :last].all()


def test_rows_are_measured_in_the_fields_of_their_own_source() -> None:
    prior = RangeBearing(rows=2, empty=0.0)
    observed = drawn(prior).observed  # a range, then a bearing
    assert prior.measurements(observed)[0].tolist() == [[True, False, False, False], [False, True, False, False]]


def test_settings_and_counted_outcomes_are_not_measured() -> None:
    prior = TwoLevelSystem()
    assert not prior.measurements(drawn(prior).observed).any()


def test_states_are_not_measured() -> None:
    prior = MarkovJump()
    with pytest.raises(ValueError, match="observe no real numbers that were measured"):
        prior.measurements(drawn(prior).observed)


@pytest.mark.parametrize("count", [-1, 3])
def test_no_more_numbers_than_there_are_can_be_not_measured(count: int) -> None:
    with pytest.raises(ValueError, match="0 to 2 numbers"):
        Source("place", 2, not_measured=count)
