"""`scripts/compare_jump.py` from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from priorfit import checkpoints
from priorfit.evaluation.jump_mcmc import Chain
from priorfit.models import networks
from priorfit.priors import MarkovJump
from scripts import compare_jump
from scripts.jump_methods import from_draws
from tests.cases import assert_uniform

SMALL = (
    "--states 2 --noise 0.1 --paths 5 --tasks 2 --calibration-tasks 3 --bayes-paths 2 --ratchet-paths 20 --repeats 2"
)
SYSTEMS = "--system-paths 20 --potentials 0 2 --folding-paths 20"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["compare_jump.py", *arguments])
    compare_jump.main()


def test_all_methods_are_compared_on_the_same_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = networks.build("jump_network", {"max_states": 6, "width": 16, "n_layers": 1, "hidden": 16})
    path = checkpoints.save(tmp_path / "own.safetensors", network, MarkovJump())
    monkeypatch.setattr(compare_jump, "Chain", lambda: Chain(walkers=12, burn_in=5, steps=20, thin=10))
    files = ["--output", str(tmp_path / "t.md"), "--cache", str(tmp_path / "cache")]
    run(monkeypatch, str(path), *SMALL.split(), *SYSTEMS.split(), *files)
    written = (tmp_path / "t.md").read_text()
    assert written in capsys.readouterr().out
    assert written.count("\n## ") == 7
    assert "nan" not in written.split("## Folding")[1]
    errors, *_ = [line for line in written.splitlines() if line.startswith("|      2 |   10% |     5 |")]
    cells = [float(cell.split()[0]) for cell in errors.split("|")[4:-1]]
    assert len(cells) == 5  # prior mean, two fits, the network, and refined
    assert all(np.isfinite(cells))
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_levels_of_draws_are_uniform_also_where_draws_are_equal() -> None:
    random = np.random.default_rng(0)
    rates = random.uniform(size=(4000, 3, 3)) * (random.uniform(size=(4000, 3, 3)) < 0.6)
    answer = from_draws(rates, 1.0)
    assert_uniform(compare_jump.levels_of([answer] * 500, rates[:500]))
    np.testing.assert_allclose(answer.rates, rates.mean(0))


def test_an_unknown_checkpoint_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "none.safetensors")
    assert stop.value.code == 1
    assert "there is no such file" in capsys.readouterr().err
