"""What a network loses under a shift of its prior is what theory says, stands in the report, and changes no verdict."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import norm
from torch import Tensor

from priorfit.evaluation import Report, evaluate_checkpoint
from priorfit.evaluation.calibration_writers import verdict
from priorfit.evaluation.html_report import html
from priorfit.evaluation.settings import Settings
from priorfit.evaluation.shift_figure import shift_figure
from priorfit.evaluation.shift_writers import shift_cells, shift_conclusion, shift_notes
from priorfit.evaluation.shifts import BEYOND, UNSHIFTED, few_tasks, measure_shifts
from priorfit.evaluation.writers import markdown
from priorfit.models import networks
from priorfit.priors import GaussianProcess, Mixture, priors
from tests.evaluation.exact import DensityOnly, Exact, WithoutReference, gentle, in_memory

GIVEN = {"prior": "gaussian_process", **gentle().arguments}
NOISE = "noise variance × 4"  # 0.1 + 0.4 in place of 0.1 + 0.1 where nothing is observed


def measure(network: Any = None, prior: Any = None, **options: Any) -> Report:
    prior = prior or gentle()
    network = network or Exact(gentle().arguments)
    options = {"context_sizes": [0, 1, 5, 20], "tasks": 60, "shifts": True, "queries": 4, **options}
    return evaluate_checkpoint(in_memory(network, prior), progress=False, device="cpu", **options)


@pytest.fixture(scope="module")
def report() -> Report:
    return measure(Exact(gentle().arguments, widening=1.2))


@pytest.mark.parametrize(("shift", "widening"), [(0.0, 1.0), (0.5, 1.3)])
def test_a_normal_law_of_the_wrong_variance_loses_what_theory_says(shift: float, widening: float) -> None:
    network = Exact(gentle().arguments, shift, widening)
    found = measure(network, context_sizes=[0], tasks=600, shift_tasks=600, queries=1).shifts
    (one,) = found[NOISE].sizes
    variance = 0.2 * widening**2  # the network's, where 0.5 is right
    gap = (math.log(variance / 0.5) + (0.5 + 0.2 * shift**2) / variance - 1) / 2
    assert one.row.gap is not None
    assert abs(one.row.gap.mean - gap) < 4 * one.row.gap.standard_error
    assert one.unaware is not None
    assert abs(one.unaware.mean - (math.log(0.4) + 1.5) / 2) < 4 * one.unaware.standard_error
    assert one.row.coverage is not None
    low, high = ((shift * 0.2**0.5 + sign * norm.ppf(0.95) * variance**0.5) / 0.5**0.5 for sign in (-1, 1))
    assert abs(one.row.coverage[0].mean - (norm.cdf(high) - norm.cdf(low))) < 4 * one.row.coverage[0].standard_error


def test_exact_inference_under_the_prior_itself_has_the_gap_of_its_posterior() -> None:
    found = measure().shifts
    assert next(iter(found)) == UNSHIFTED
    for name, shift in found.items():
        assert [one.row.n_context for one in shift.sizes] == ([120] if name == BEYOND else [1, 5, 20])
        for one in shift.sizes:
            if name not in (UNSHIFTED, BEYOND):
                assert one.unaware == one.row.gap
                assert one.growth == one.row.gap.mean  # type: ignore[union-attr]
    assert all(one.row.gap.mean == 0 for name in (UNSHIFTED, BEYOND) for one in found[name].sizes)  # type: ignore[union-attr]
    assert found[NOISE].sizes[-1].row.gap.mean > 0.1  # type: ignore[union-attr]


def test_rows_without_a_shift_are_those_of_the_report_and_larger_contexts_stand_beside_the_largest(
    report: Report,
) -> None:
    for one in report.shifts[UNSHIFTED].sizes:
        (row,) = [row for row in report.rows if row.n_context == one.row.n_context]
        assert (one.row.nll, one.row.gap) == (row.nll, row.gap)
        assert one.row.tasks == 60
    (beyond,) = report.shifts[BEYOND].sizes
    assert beyond.unshifted.n_context == 20
    assert beyond.unaware is None


def test_shifts_are_no_part_of_verdicts_and_rows(report: Report) -> None:
    without = measure(Exact(gentle().arguments, widening=1.2), shifts=False)
    assert without.shifts == {}
    assert without.rows == report.rows
    assert verdict(without) == verdict(report)
    assert shift_cells(without) is None
    assert shift_conclusion(without) == ""
    assert "Shifts of the prior" not in markdown(without, [])


def test_the_report_shows_every_shift_beside_its_null_value(report: Report, tmp_path: Path) -> None:
    found = shift_cells(report)
    assert found is not None
    header, rows = found
    assert header == ["shift", "n", "NLL", "reference NLL", "gap", "gap, unshifted", "gap, exact", "90 %"]
    assert len(rows) == 3 * 6 + 1
    largest = max(one.row.gap.mean for shift in report.shifts.values() for one in shift.sizes)  # type: ignore[union-attr]
    conclusion = shift_conclusion(report)
    assert f"gap {largest:.4f} ± " in conclusion
    assert " in place of 0.0" in conclusion
    figure = shift_figure(report)
    assert figure is not None
    figure.savefig(tmp_path / "shifts.png")
    figures = ["shifts.png"]
    for text in (markdown(report, figures), html(report, tmp_path, figures)):
        assert conclusion in text
        assert "Shifts of the prior" in text
        assert NOISE in text
    document = json.loads(json.dumps(report.document(), allow_nan=False))["shifts"]
    assert document[NOISE]["sizes"][0]["gap"]["mean"] == report.shifts[NOISE].sizes[0].row.gap.mean  # type: ignore[union-attr]
    assert document[NOISE]["prior"]["arguments"]["noise"] == pytest.approx(0.4)
    assert document[UNSHIFTED]["sizes"][0]["unaware_gap"] is None
    assert len(json.dumps(document)) < 20_000


def test_a_shift_that_the_network_refuses_is_listed_with_the_reason() -> None:
    @networks.register("few_rows")
    class FewRows(Exact):
        def check(self, *observed: Tensor) -> None:
            if observed[1].shape[1] > 50:
                raise ValueError("This network takes at most 50 rows.")

    report = measure(FewRows(gentle().arguments))
    assert report.shifts[BEYOND].sizes == []
    assert report.shifts[NOISE].refused == ""
    assert f"{BEYOND}, as it was refused. This network takes at most 50 rows." in " ".join(shift_notes(report))
    assert report.document()["shifts"][BEYOND]["refused"] == "This network takes at most 50 rows."


def test_the_share_of_tasks_that_look_unlike_the_prior_is_counted() -> None:
    class Check:
        def score(self, network: object, observed: Any) -> Tensor:
            return observed[1][:, 0].abs()

    prior, settings = gentle(), Settings(context_sizes=[1], tasks=400, shift_tasks=400, queries=1, device="cpu")
    scores = measure(**{"context_sizes": [1], "tasks": 400, "queries": 1, "shifts": False}).scores
    found = measure_shifts(Exact(prior.arguments), prior, scores, settings, Check(), False)  # type: ignore[arg-type]
    for name, variance in ((UNSHIFTED, 0.2), (NOISE, 0.5)):
        flagged = found[name].sizes[0].flagged
        assert flagged is not None
        assert abs(flagged.mean - 2 * norm.cdf(-1 / variance**0.5)) < 4 * flagged.standard_error
        assert flagged.standard_error == pytest.approx((flagged.mean * (1 - flagged.mean) / 400) ** 0.5, rel=0.01)


def test_without_a_reference_coverage_says_how_far_it_goes() -> None:
    prior = WithoutReference(**gentle().arguments)
    report = measure(Exact(gentle().arguments), prior, tasks=200)
    assert all(one.growth is None for shift in report.shifts.values() for one in shift.sizes)
    assert "Farthest from 90 % coverage under shifts" in shift_conclusion(report)
    assert NOISE in shift_conclusion(report)


def test_without_quantiles_either_there_is_neither_conclusion_nor_figure() -> None:
    report = measure(DensityOnly(), WithoutReference(**gentle().arguments), tasks=10)
    assert shift_conclusion(report) == ""
    assert shift_cells(report) is not None
    assert shift_figure(report) is None


def test_a_sampled_reference_of_the_prior_itself_is_shown_where_it_can_be_trusted() -> None:
    drawn = {"law": "uniform", "low": 0.099, "high": 0.101}
    for draws, known in ((200, True), (20, False)):  # fewer than 30 effective ones are not trusted
        prior = gentle(noise=drawn, importance_draws=draws)
        shifts = measure(prior=prior, context_sizes=[5], tasks=20).shifts
        assert (shifts[NOISE].sizes[0].unaware is not None) == known
        assert BEYOND not in shifts


def test_mixtures_are_shifted_as_a_whole() -> None:
    report = measure(prior=Mixture({"a": GIVEN, "b": GIVEN}), context_sizes=[5], tasks=40)
    (one,) = report.shifts[NOISE].sizes
    assert one.row.tasks == 40
    assert all(part.shifts == {} for part in report.parts.values())


def test_shifts_have_fewer_tasks_and_enough_independent_ones(report: Report) -> None:
    (mixed,) = measure(prior=Mixture({"a": GIVEN, "b": GIVEN}), context_sizes=[5], tasks=40, shifts=False).scores
    alike, grouped = (few_tasks(Settings(tasks=2000, shift_tasks=200), scores) for scores in (report.scores, [mixed]))
    assert (alike.tasks, alike.batch_size) == (200, 50)
    assert (grouped.tasks, grouped.batch_size) == (200, 10)
    assert few_tasks(Settings(tasks=6), [mixed]).tasks == 6
    with pytest.raises(ValueError, match="shift_tasks"):
        Settings(shift_tasks=1)


def test_a_prior_without_shifts_has_no_section() -> None:
    @priors.register("unshifted")
    class Unshifted(GaussianProcess):
        def shifts(self) -> dict:
            return {}

        def larger_contexts(self) -> list[int]:
            return []

    report = measure(prior=Unshifted(**gentle().arguments), tasks=4)
    assert not report.shifts
    assert shift_cells(report) is None
    assert "Shifts of the prior" not in markdown(report, [])
