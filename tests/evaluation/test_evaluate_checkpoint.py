"""Networks that are right, or wrong by a known amount, get the scores that theory gives them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from priorfit.checkpoints import Checkpoint
from priorfit.evaluation import Report, evaluate_checkpoint
from priorfit.evaluation.calibration_writers import calibration_notes, verdict
from priorfit.evaluation.settings import Settings, changed_prior, merge
from priorfit.evaluation.writers import conclusion, flat_counts, markdown, table
from priorfit.models import PFN
from priorfit.priors import SCM, Mixture, StudentTProcess
from tests.evaluation.exact import DensityOnly, Even, Exact, WithoutReference, gentle, in_memory

LEVELS = (0.5, 0.8, 0.9, 0.95)


def quietly(checkpoint: Checkpoint, **options: Any) -> Report:
    return evaluate_checkpoint(checkpoint, progress=False, device="cpu", **options)


def measure(shift: float = 0.0, widening: float = 1.0, **options: Any) -> Report:
    prior = gentle()
    checkpoint = in_memory(Exact(prior.arguments, shift, widening), prior)
    return quietly(checkpoint, **{"context_sizes": [0, 5, 20], "tasks": 400, **options})


def test_the_exact_posterior_has_no_gap_nominal_coverage_and_the_tabulated_nll() -> None:
    report = measure()
    for row, tabulated in zip(report.rows, (0.615, 0.527, 0.410), strict=True):
        assert row.gap is not None
        assert row.gap.mean == row.gap.standard_error == row.median_gap == 0
        assert row.reference_nll == row.nll
        assert abs(row.nll.mean - tabulated) < 4 * row.nll.standard_error + 0.001
        for level, found in zip(LEVELS, row.coverage or [], strict=True):
            assert abs(found.mean - level) < 4 * found.standard_error


@pytest.mark.parametrize(("shift", "widening"), [(0.5, 1.0), (0.0, 2.0), (0.0, 0.5)])
def test_a_network_that_is_wrong_by_a_known_amount_has_that_gap_and_coverage(shift: float, widening: float) -> None:
    divergence = math.log(widening) + (1 + shift**2) / (2 * widening**2) - 0.5
    for row in measure(shift, widening).rows:
        assert row.gap is not None
        assert abs(row.gap.mean - divergence) < 4 * row.gap.standard_error
        assert 0 < row.gap.standard_error < 0.2
        for level, found in zip(LEVELS, row.coverage or [], strict=True):
            edge = widening * norm.ppf((1 + level) / 2)
            expected = norm.cdf(edge + shift) - norm.cdf(shift - edge)
            assert abs(found.mean - expected) < 4 * found.standard_error + 1e-3


def test_tasks_are_fixed_by_the_seed_and_do_not_depend_on_the_network() -> None:
    first, again, other = measure(tasks=20), measure(shift=1.0, tasks=20), measure(tasks=20, seed=1)
    for one, same, different in zip(first.scores, again.scores, other.scores, strict=True):
        assert np.array_equal(one.reference, same.reference)
        assert not np.array_equal(one.reference, different.reference)
    assert [len(one.log_prob) for one in measure(tasks=23, batch_size=10).scores] == [23, 23, 23]


def test_an_importance_sampled_reference_is_reported_with_its_effective_sample_size() -> None:
    prior = gentle(noise={"law": "uniform", "low": 0.099, "high": 0.101}, importance_draws=40)
    checkpoint = in_memory(Exact(gentle().arguments), prior)
    report = quietly(checkpoint, context_sizes=[3], tasks=40)
    (row,) = report.rows
    assert row.gap is not None
    assert row.gap.mean == pytest.approx(0, abs=1e-3)  # the noise is as good as known
    assert row.effective_sample_size == pytest.approx(40, abs=0.1)
    assert "importance sampling" in conclusion(report)
    assert "ESS" in table(report)


def test_without_reference_and_cdf_their_columns_are_absent() -> None:
    prior = WithoutReference(**gentle().arguments)
    report = quietly(in_memory(DensityOnly(), prior), context_sizes=[2], tasks=10)
    header, _, row = table(report).splitlines()
    assert header.split("|")[1:-1] == [header.split("|")[1], header.split("|")[2]]
    assert "NLL" in header
    assert row.count("±") == 1
    assert "Largest NLL" in conclusion(report)
    assert json.loads(json.dumps(report.document()))["sizes"][0]["gap"] is None


def test_a_heavy_tailed_prior_can_be_measured() -> None:
    prior = StudentTProcess({"points": 20})
    report = quietly(in_memory(Exact(gentle().arguments), prior), context_sizes=[4], tasks=20)
    assert report.rows[0].gap is not None
    assert report.rows[0].gap.mean > 0


def test_sizes_that_differ_between_batches_make_batches_the_independent_units() -> None:
    prior = gentle(sizes={"points": 20, "features": [1, 3]})
    report = quietly(
        in_memory(Exact(gentle().arguments), prior),
        context_sizes=[4],
        tasks=35,
        batch_size=10,
    )
    assert report.scores[0].unit.tolist() == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 5
    assert measure(tasks=5).scores[0].unit.tolist() == [0, 1, 2, 3, 4]


def test_changes_reach_the_prior_and_the_report() -> None:
    report = measure(prior={"sizes": {"features": 5}}, context_sizes=[1], tasks=10)
    assert measure(prior={"noise": 0.2}, context_sizes=[1], tasks=10).rows[0].gap != report.rows[0].gap
    assert report.prior.arguments["sizes"] == {"points": 60, "features": 5}
    assert '`{"sizes": {"features": 5}}`' in markdown(report, [])
    checkpoint = in_memory(PFN(width=16, n_layers=1, n_heads=1, n_buckets=32), gentle())
    with pytest.raises(ValueError, match="takes 1 to 1 features, not 5"):
        quietly(checkpoint, prior={"sizes": {"features": 5}}, tasks=10)
    with pytest.raises(ValueError, match="did you mean 'noise'"):
        changed_prior(checkpoint, {"nois": 1.0})


def test_parts_of_a_mixture_are_measured_on_their_own() -> None:
    """Each part has the rows that its prior alone would have, and its own kind of reference."""
    given = {"sizes": {"points": 60}, "lengthscale": 0.1, "output_scale": 0.1, "noise": 0.1}
    parts = {
        "narrow": {"prior": "gaussian_process", "weight": 3.0, **given},
        "blind": {"prior": "without_reference", **given, "noise": 0.5},
    }
    network, options = Exact(gentle().arguments), {"context_sizes": [0, 5], "tasks": 40, "batch_size": 10}
    report = quietly(in_memory(network, Mixture(parts)), **options)
    alone = quietly(in_memory(network, gentle()), **options)
    assert report.parts["narrow"].rows == alone.rows
    assert [part.reference for part in report.parts.values()] == ["exact", None]
    assert report.reference is None
    assert report.rows[0].tasks == 40
    assert report.scores[0].unit.tolist() == [batch for batch in range(4) for _ in range(10)]
    document = json.loads(json.dumps(report.document()))
    assert document["parts"]["narrow"]["sizes"] == alone.document()["sizes"]
    assert document["parts"]["blind"]["prior"]["arguments"]["noise"] == 0.5
    assert alone.document()["parts"] == {}
    lines = table(report).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["all", "all", "narrow", "narrow", "blind", "blind"]
    assert "Reference (narrow): the prior's own posterior (exact)" in markdown(report, [])
    assert "part" not in table(alone).splitlines()[0]
    assert f"of {len(report.rows) * 3} tests" in verdict(report)  # not of the parts: there a right network would fail
    assert "calibrated on each part" in " ".join(calibration_notes(report))
    counted = [row.calibration.transform.values for _, row in report.named_rows()]  # type: ignore[union-attr]
    assert counted == [4, 4, 40, 40, 40, 40]  # tasks of one batch share the part


def test_classes_have_an_accuracy_and_the_draws_of_tables_are_counted() -> None:
    table_prior = {"sizes": {"points": 60, "features": 2}, "noise": 0.5}
    prior = SCM(**table_prior, target={"kind": "classes", "number": 4, "balanced": 1.0})
    report = quietly(in_memory(Even(), prior), context_sizes=[20], tasks=300, queries=20)
    (row,) = report.rows
    assert row.nll.mean == pytest.approx(math.log(4), abs=1e-6)
    assert row.accuracy is not None
    assert abs(row.accuracy.mean - 0.25) < 4 * row.accuracy.standard_error
    assert row.coverage is None
    assert row.draws["drawn"] == 300
    assert row.draws["missing class"] > 0
    text = markdown(report, [])
    assert "accuracy" in table(report)
    assert f"drawn 300, not finite 0, constant target {row.draws['constant target']}, " in text
    assert json.loads(json.dumps(report.document()))["sizes"][0]["draws"] == row.draws
    assert "accuracy" not in table(measure(tasks=5))


def test_counts_of_parts_are_summed_by_name_and_reason() -> None:
    counts = {"a": {"drawn": 3, "missing class": 1}, "b": {"c": {"drawn": 2}}}
    assert flat_counts(counts) == {"a: drawn": 3, "a: missing class": 1, "b: c: drawn": 2}


@pytest.mark.parametrize(
    ("changes", "merged"),
    [
        ({"a": 2}, {"a": 2, "law": {"law": "gamma", "rate": 1}}),
        ({"law": {"rate": 3}}, {"a": 1, "law": {"law": "gamma", "rate": 3}}),
        ({"law": {"low": 3}}, {"a": 1, "law": {"law": "gamma", "rate": 1, "low": 3}}),
        ({"law": {"law": "normal", "loc": 0}}, {"a": 1, "law": {"law": "normal", "loc": 0}}),
        ({"law": 0.5, "b": {"c": 1}}, {"a": 1, "law": 0.5, "b": {"c": 1}}),
    ],
)
def test_changes_are_merged_key_by_key_but_laws_are_replaced(changes: dict, merged: dict) -> None:
    old = {"a": 1, "law": {"law": "gamma", "rate": 1}}
    assert merge(old, changes) == merged
    assert old == {"a": 1, "law": {"law": "gamma", "rate": 1}}


def test_default_context_sizes_stay_inside_the_prior() -> None:
    assert gentle().context_sizes() == [0, 1, 2, 5, 10, 20, 50]
    assert gentle(sizes={"points": [30, 101]}).context_sizes() == [0, 1, 2, 5, 10, 20, 50, 100]
    assert gentle(sizes={"points": 100}).with_context(7, 3).context_sizes() == [7]
    sampled = gentle(sizes={"points": 1000}, noise={"law": "uniform", "low": 0.1, "high": 0.2})
    assert sampled.context_sizes()[-1] == 50


@pytest.mark.parametrize(
    "wrong", [{"tasks": 1}, {"queries": 0}, {"levels": [1.0]}, {"context_sizes": [-1]}, {"context_sizes": []}]
)
def test_impossible_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


def test_log_densities_that_are_not_finite_are_refused() -> None:
    prior = gentle()
    checkpoint = in_memory(Exact(prior.arguments, shift=1e200), prior)
    with pytest.raises(ValueError, match="32 of 32 log densities at context size 2"):
        quietly(checkpoint, context_sizes=[2], tasks=2)
