"""`evaluate.py` on a network for learning curves: an oracle instead of a posterior, and a figure of curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from torch.distributions import Normal

from priorfit import checkpoints
from priorfit.evaluation.curve_figure import curve_figure
from priorfit.evaluation.main import evaluate
from priorfit.evaluation.report import Report, evaluate_checkpoint
from priorfit.evaluation.writers import conclusion, notes
from priorfit.models import CurvePFN
from priorfit.priors import GaussianProcess, LearningCurve
from priorfit.training.main import prepare
from tests.evaluation.exact import Exact, gentle, in_memory


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prior = LearningCurve(length=20)
    network = CurvePFN(length=20, n_basis=6, n_levels=8, n_buckets=64, width=16, n_layers=1)
    prepare(network, prior, 0, 500)
    return checkpoints.save(tmp_path_factory.mktemp("run") / "checkpoint.safetensors", network, prior)


@pytest.fixture(scope="module")
def report(path: Path) -> Report:
    return evaluate_checkpoint(path, tasks=60, queries=20, device="cpu", progress=False)


def test_cutoffs_are_the_priors_own(report: Report) -> None:
    assert [row.n_context for row in report.rows] == [2, 4, 8, 16]
    assert [one.log_prob.shape for one in report.scores] == [(60, 18), (60, 16), (60, 12), (60, 4)]


def test_reference_is_the_law_that_knows_curve_and_noise(report: Report) -> None:
    assert report.reference == "oracle"
    for row in report.rows:
        assert row.reference_nll is not None
        assert row.gap is not None
        assert row.gap.mean == pytest.approx(row.nll.mean - row.reference_nll.mean)
        assert 0 < row.gap.mean < 3
    expected = -(torch.tensor(4.0) - Normal(0.0, 1.0).entropy())  # E[-log sigma] = 4
    pooled = sum(row.reference_nll.mean for row in report.rows if row.reference_nll) / len(report.rows)
    assert pooled == pytest.approx(expected.item(), abs=0.3)


def test_report_says_that_the_oracle_is_out_of_reach(report: Report) -> None:
    text = " ".join(notes(report))
    assert "oracle" in text
    assert "0 for a perfect network" not in text
    assert "oracle reference" in conclusion(report)


def test_command_writes_figures_and_report(path: Path, tmp_path: Path) -> None:
    overrides = [f"checkpoint={path}", "tasks=6", "device=cpu", f"output={tmp_path}"]
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        evaluate(compose("evaluate", overrides))
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["reference"] == "oracle"
    assert {"gap.png", "posterior.png", "pit.png"} <= set(document["figures"])
    assert all((tmp_path / name).stat().st_size > 10_000 for name in document["figures"])
    assert "an oracle that knows" in (tmp_path / "report.md").read_text()


def test_other_priors_are_not_asked_for_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Gaussian process at ten thousand points would take gigabytes."""
    prior, asked = gentle(sizes={"points": 9, "features": 2}), []
    report = evaluate_checkpoint(in_memory(Exact(prior.arguments), prior), tasks=2, device="cpu", progress=False)
    original = GaussianProcess.with_context

    def recorded(self: GaussianProcess, n_context: int, n_query: int) -> GaussianProcess:
        asked.append(n_query)
        return original(self, n_context, n_query)

    monkeypatch.setattr(GaussianProcess, "with_context", recorded)
    assert curve_figure(report) is None
    assert asked == [1]
