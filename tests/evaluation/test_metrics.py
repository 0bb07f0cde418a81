"""Estimates, coverage and effective sample size against values known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from priorfit.evaluation.metrics import Estimate, Row, coverage, estimate, summarize
from priorfit.evaluation.scoring import Scores, effective_sample_size

RNG = np.random.default_rng(0)


def test_the_standard_error_of_independent_tasks_is_the_usual_one() -> None:
    values = RNG.normal(size=(50, 3))
    found = estimate(values, np.arange(50))
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.mean(1).std(ddof=1) / math.sqrt(50))


def test_queries_of_a_task_do_not_count_as_independent() -> None:
    values = np.repeat(RNG.normal(size=(200, 1)), 16, axis=1)
    assert estimate(values, np.arange(200)).standard_error == pytest.approx(1 / math.sqrt(200), rel=0.15)


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_the_standard_error_is_the_spread_over_repetitions(shared: float) -> None:
    """Tasks in units of 5, with and without something in common, and one unit that is smaller."""
    unit = np.arange(98) // 5
    tasks = RNG.normal(size=(2000, 98)) + shared * RNG.normal(size=(2000, 20))[:, unit]
    found = [estimate(row[:, None], unit) for row in tasks]
    spread = np.std([one.mean for one in found])
    assert np.sqrt(np.mean([one.standard_error**2 for one in found])) == pytest.approx(spread, rel=0.05)


def test_one_unit_has_no_standard_error() -> None:
    assert math.isnan(estimate(RNG.normal(size=(4, 2)), np.zeros(4)).standard_error)


def test_coverage_counts_central_intervals() -> None:
    pit = np.array([[0.04, 0.5], [0.06, 0.9], [0.94, 0.2], [0.96, 0.3]])
    found = coverage(pit, [0.5, 0.9], np.arange(4))
    assert [one.mean for one in found] == [2 / 8, 6 / 8]  # 0.2, 0.9, … lie outside [0.25, 0.75]
    assert found[1].standard_error == pytest.approx(np.std([0.5, 1, 1, 0.5], ddof=1) / 2)


def test_uniform_pit_has_nominal_coverage() -> None:
    levels = [0.5, 0.8, 0.95]
    for level, found in zip(levels, coverage(RNG.uniform(size=(4000, 4)), levels, np.arange(4000)), strict=True):
        assert abs(found.mean - level) < 4 * found.standard_error


@pytest.mark.parametrize(("weights", "size"), [([0.25] * 4, 4), ([0.5, 0.5, 0, 0], 2), ([1, 0, 0, 0], 1)])
def test_effective_sample_size(weights: list[float], size: float) -> None:
    probs = torch.tensor(weights, dtype=torch.float64).expand(3, 5, 4)
    mixture = MixtureSameFamily(Categorical(probs), Normal(torch.zeros(3, 5, 4), 1.0))
    assert effective_sample_size(mixture).tolist() == pytest.approx([size] * 3)


def test_a_summary_pairs_network_and_reference() -> None:
    log_prob = RNG.normal(size=(6, 2))
    gap = np.array([0.0, 0, 0, 0.3, 0.6, 3])
    row = summarize(Scores(5, log_prob, log_prob + gap[:, None], None, None, None, np.arange(6), {}), [0.9])
    assert row.gap is not None
    assert row.gap.mean == pytest.approx(0.65)
    assert row.gap.standard_error == pytest.approx(gap.std(ddof=1) / math.sqrt(6))
    assert row.median_gap == pytest.approx(0.15)
    assert row.nll.mean == pytest.approx(-log_prob.mean())
    assert row.coverage is None
    assert row.trusted


@pytest.mark.parametrize(("size", "trusted"), [(None, True), (200.0, True), (3.0, False)])
def test_a_reference_of_few_draws_is_not_trusted(size: float | None, trusted: bool) -> None:
    one = Estimate(0.1, 0.01)
    assert Row(5, 10, one, one, one, 0.1, None, None, size, {}).trusted is trusted
