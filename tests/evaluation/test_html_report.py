"""The HTML report holds everything and asks for nothing from elsewhere."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from priorfit import checkpoints
from priorfit.evaluation.calibration_writers import calibration_cells, calibration_notes, verdict
from priorfit.evaluation.figures import write_figures
from priorfit.evaluation.guides import GUIDES
from priorfit.evaluation.html_report import html
from priorfit.evaluation.main import evaluate
from priorfit.evaluation.report import Report, evaluate_checkpoint
from priorfit.evaluation.writers import markdown
from priorfit.priors import SCM, Mixture
from tests.evaluation.exact import Even, Exact, gentle, in_memory

VOID = {"meta", "img"}


class Checker(HTMLParser):
    """Every element that is opened is closed; remembers what is linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report() -> Report:
    checkpoint = in_memory(Exact(gentle().arguments, widening=0.7), gentle())
    return evaluate_checkpoint(checkpoint, context_sizes=[0, 5], tasks=300, device="cpu", progress=False)


def test_the_document_is_whole_and_asks_for_nothing(report: Report, tmp_path: Path) -> None:
    figures = write_figures(report, tmp_path)
    text = html(report, tmp_path, figures)
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    assert len(checker.links) == len(figures) == 7
    for link, name in zip(checker.links, figures, strict=True):
        head, data = link.split(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data) == (tmp_path / name).read_bytes()
        assert GUIDES[name][0] in text
    assert not re.search(r"https?://|url\(|@import|<script|<link", text)
    assert "evidence of miscalibration" in text
    assert "300 tasks" in text
    assert "100 draws" in text
    assert "seed 0" in text


def test_every_number_of_calibration_stands_beside_its_null_value(report: Report) -> None:
    found = calibration_cells(report)
    assert found is not None
    header, rows = found
    own = report.rows[0].calibration
    cells = dict(zip(header, rows[0], strict=True))
    assert cells["N"] == "300"
    assert own.tarp.p_value < 1e-4
    assert cells["p: TARP"] == "< 0.0001"
    assert cells["error, central"] == f"{own.central.error:.3f} ({own.central.expected_error:.3f})"
    assert cells["R²"] == f"{own.r_squared:.3f} ({own.expected_r_squared:.3f})"
    assert {"excess (0)", "z (0)", "z² (1)", "CRPS"} <= set(header)
    assert "ECE" not in header
    assert "null values" in " ".join(calibration_notes(report))
    smallest = min(p for row in report.rows for p in row.calibration.p_values().values())
    assert "evidence of miscalibration (smallest p of 6 tests" in verdict(report)
    assert f"{6 * smallest:.2g})." in verdict(report)


def test_classes_have_a_reliability_figure(tmp_path: Path) -> None:
    prior = SCM(
        sizes={"points": 60, "features": 2}, noise=0.5, target={"kind": "classes", "number": 4, "balanced": 1.0}
    )
    report = evaluate_checkpoint(in_memory(Even(), prior), context_sizes=[20], tasks=60, device="cpu", progress=False)
    assert write_figures(report, tmp_path) == ["gap.png", "pit.png", "reliability.png"]
    found = calibration_cells(report)
    assert found is not None
    assert "ECE" in found[0]


def test_one_batch_of_sizes_of_its_own_has_no_errors_and_the_report_says_why() -> None:
    parts = {
        "only": {"prior": "scm", "sizes": {"points": 60, "features": 2}, "target": {"kind": "classes", "number": 4}}
    }
    report = evaluate_checkpoint(in_memory(Even(), Mixture(parts)), context_sizes=[20], tasks=20, progress=False)
    text = markdown(report, [])
    assert "nan" not in text
    assert "± ?" in text
    assert "more than 50 tasks" in text


@pytest.mark.parametrize(
    ("option", "expected"), [(None, (2000, 16, 100)), ("quick", (2000, 16, 100)), ("full", (8000, 16, 400))]
)
def test_the_measurement_has_sizes_by_name_and_each_can_be_changed(option: str | None, expected: tuple) -> None:
    chosen = [f"evaluation={option}"] if option else []
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        config, changed = (compose("evaluate", [*chosen, *more]) for more in ([], ["tasks=7", "draws=9"]))
    assert (config.tasks, config.queries, config.draws) == expected
    assert (changed.tasks, changed.queries, changed.draws) == (7, expected[1], 9)


def test_the_command_writes_it(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path / "own.safetensors", Exact(gentle().arguments), gentle(), description="<b> & more")
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        evaluate(
            compose(
                "evaluate", [f"checkpoint={path}", "tasks=6", "context_sizes=[3]", "device=cpu", f"output={tmp_path}"]
            )
        )
    assert "&lt;b&gt; &amp; more" in (tmp_path / "report.html").read_text()
    row = json.loads((tmp_path / "report.json").read_text())["sizes"][0]
    assert row["calibration"]["tarp"]["values"] == 6
