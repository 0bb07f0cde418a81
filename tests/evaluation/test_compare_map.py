"""`scripts/compare_map.py` from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from priorfit import checkpoints
from priorfit.models import PFN
from priorfit.priors import GaussianProcess
from scripts import compare_map
from tests.evaluation.markdown import tables

pytestmark = pytest.mark.jax


def run(
    prior: GaussianProcess,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: str,
) -> list[list[dict[str, str]]]:
    """Runs the script; returns its tables, which are also written to a file, as named cells."""
    path = checkpoints.save(folder / "own.safetensors", PFN(2, n_buckets=16, width=16, n_layers=1, n_heads=1), prior)
    given = [
        str(path),
        *options.split(),
        "--timed",
        "1",
        "--cache",
        str(folder / "cache"),
        "--output",
        str(folder / "t.md"),
    ]
    monkeypatch.setattr("sys.argv", ["compare_map.py", *given])
    compare_map.main()
    written = (folder / "t.md").read_text()
    assert written in capsys.readouterr().out
    return tables(written)


def test_all_methods_are_compared_on_the_same_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = GaussianProcess({"points": 20, "features": [1, 2]})  # nothing to fit: full Bayes is the MAP's predictive
    nll, times = run(prior, tmp_path, monkeypatch, capsys, "--features 1 2 --context-sizes 0 4 --tasks 6")
    assert [(row["d"], row["n"]) for row in nll] == [("1", "0"), ("1", "4"), ("2", "0"), ("2", "4")]
    for row in nll:
        assert row["full Bayes"] == row["MAP"] == row["oracle"]
        assert row["MAP - full Bayes"].lstrip("-") == "0.000 ± 0.000"
        own, bayes, gap = (float(row[name].split()[0]) for name in ("network", "full Bayes", "network - full Bayes"))
        assert gap == pytest.approx(own - bayes, abs=0.002)
    assert float(times[0]["network, ms"]) > 0


def test_nuts_is_full_bayes_and_the_published_setting_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = GaussianProcess({"points": 20, "features": [1, 2]}, **compare_map.PUBLISHED_LAWS)
    options = "--features 1 --context-sizes 3 --tasks 4 --batch-size 2 --nuts-tasks 2 --draws 100"
    first = run(prior, tmp_path, monkeypatch, capsys, options)
    (nll,), (published,), (nuts,), (times,) = first
    assert float(nll["ESS"]) > 100
    assert published["full Bayes"] == "0.925"
    assert abs(float(nuts["NUTS - full Bayes"].split()[0])) < 0.15
    assert nuts["divergent"] == "0.0 %"
    assert times["NUTS / network"].endswith("×")
    assert run(prior, tmp_path, monkeypatch, capsys, options)[2] == first[2]  # from the cache
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_nuts_on_more_tasks_than_there_are_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = GaussianProcess({"points": 20, "features": [1, 2]}, **compare_map.PUBLISHED_LAWS)
    with pytest.raises(SystemExit):
        run(prior, tmp_path, monkeypatch, capsys, "--features 1 --context-sizes 3 --tasks 2 --batch-size 2")
    assert "--nuts-tasks must be no more than these" in capsys.readouterr().err


def test_an_unknown_checkpoint_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["compare_map.py", "none.safetensors"])
    with pytest.raises(SystemExit) as stop:
        compare_map.main()
    assert stop.value.code == 1
    assert "there is no such file" in capsys.readouterr().err
