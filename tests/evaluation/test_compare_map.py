"""`scripts/compare_map.py` from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from priorfit import checkpoints
from priorfit.models import PFN
from priorfit.priors import GaussianProcess
from scripts import compare_map


def test_all_methods_are_compared_on_the_same_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = GaussianProcess({"points": 20, "features": [1, 2]})  # nothing to fit: full Bayes is the MAP's predictive
    network = PFN(2, n_buckets=16, width=16, n_layers=1, n_heads=1)
    path = checkpoints.save(tmp_path / "own.safetensors", network, prior)
    options = [
        "--features",
        "1",
        "2",
        "--context-sizes",
        "0",
        "4",
        "--tasks",
        "6",
        "--output",
        str(tmp_path / "t.md"),
    ]
    monkeypatch.setattr("sys.argv", ["compare_map.py", str(path), *options])
    compare_map.main()
    written = (tmp_path / "t.md").read_text()
    assert written in capsys.readouterr().out
    table = [line for line in written.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:]]
    assert [row[:2] for row in rows] == [["1", "0"], ["1", "4"], ["2", "0"], ["2", "4"]]
    for _, _, own, bayes, fitted, gap, *_, difference, median in rows:
        assert bayes == fitted
        assert difference.lstrip("-") == "0.000 ± 0.000"
        assert median.lstrip("-") == "0.000"
        own_nll, bayes_nll, mean_gap = (float(cell.split()[0]) for cell in (own, bayes, gap))
        assert mean_gap == pytest.approx(own_nll - bayes_nll, abs=0.002)


def test_an_unknown_checkpoint_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["compare_map.py", "none.safetensors"])
    with pytest.raises(SystemExit) as stop:
        compare_map.main()
    assert stop.value.code == 1
    assert "there is no such file" in capsys.readouterr().err
