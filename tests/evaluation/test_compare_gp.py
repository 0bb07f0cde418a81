"""`scripts/compare_gp.py` from end to end, with a network that is exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from priorfit import checkpoints
from priorfit.priors import GaussianProcess
from scripts import compare_gp
from tests.evaluation.exact import Exact, gentle
from tests.evaluation.markdown import tables


def run(prior: GaussianProcess, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    path = checkpoints.save(folder / "own.safetensors", Exact(prior.arguments), prior)
    given = [str(path), "--tasks", "100", "--timed", "1", "--output", str(folder / "t.md"), *options]
    monkeypatch.setattr("sys.argv", ["compare_gp.py", *given])
    compare_gp.main()


def test_exact_networks_have_no_gap_and_the_published_exact_nll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(gentle(), tmp_path, monkeypatch, "--context-sizes", "0", "4", "10")
    (rows,) = tables((tmp_path / "t.md").read_text())
    assert (tmp_path / "t.md").read_text() in capsys.readouterr().out
    assert [row["published setting, exact"] for row in rows] == ["0.615", "", "0.472"]
    for row in rows:
        gap, error = map(float, row["network - exact"].split(" ± "))
        assert abs(gap) <= 1e-4
        assert error <= 1e-4
        if row["published setting, exact"]:
            value, error = map(float, row["exact"].split(" ± "))
            assert abs(value - float(row["published setting, exact"])) < 4 * error
    assert [row["MLE fit, ms"] == "" for row in rows] == [True, False, False]
    assert all(row["exact / network"].endswith("×") for row in rows)


def test_other_settings_have_no_published_numbers() -> None:
    assert compare_gp.published(gentle(noise=0.2)) == {}
    assert compare_gp.published(gentle(kernel="matern52")) == {}
    assert compare_gp.published(gentle(sizes={"points": 10, "features": [1, 2]})) == {}


def test_drawn_hyperparameters_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(gentle(kernel=["rbf", "matern52"]), tmp_path, monkeypatch)
    assert "use scripts.compare_map" in capsys.readouterr().err
