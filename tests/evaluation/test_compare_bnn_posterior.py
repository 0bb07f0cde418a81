"""`scripts/compare_bnn_posterior.py` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from priorfit import checkpoints
from priorfit.models import Network, networks
from priorfit.priors import BNN, LinearBNN, Prior, Table, Task
from scripts import compare_bnn_posterior
from tests.evaluation.exact import DensityOnly

SHORT = ["--tasks", "4", "--queries", "3", "--batch-size", "2", "--chains", "2", "--draws", "400", "--leapfrogs", "8"]


@networks.register("exact_classes")
class ExactClasses(Network):
    """The posterior of a linear network's classes."""

    def __init__(self) -> None:
        super().__init__()

    def compute(self, *observed: Tensor) -> Tensor:
        prior = LinearBNN({"points": 30, "features": 1}, hidden=2)
        task = Task(Table(*observed), torch.zeros(observed[2].shape[:2]).long())
        return prior.posterior(task).probs

    def distribution(self, output: Tensor) -> Categorical:
        return Categorical(output)


def rows(
    network: Network,
    prior: Prior,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *options: str,
) -> list[dict[str, str]]:
    """Runs the script; returns its table, which is also written to a file, as named cells."""
    path = checkpoints.save(folder / "own.safetensors", network, prior)
    given = [str(path), *SHORT, "--cache", str(folder / "cache"), "--output", str(folder / "t.md"), *options]
    monkeypatch.setattr("sys.argv", ["compare_bnn_posterior.py", *given])
    compare_bnn_posterior.main()
    written = (folder / "t.md").read_text()
    assert written in capsys.readouterr().out
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.splitlines() if line.startswith("|")]
    return [dict(zip(table[0], cells, strict=True)) for cells in table[2:]]


def number(cell: str) -> float:
    return float(cell.split()[0])


def test_the_exact_posterior_and_hmc_agree_and_sampled_labels_are_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = LinearBNN({"points": 30, "features": 1}, hidden=2)
    options = ["--context-sizes", "5", "12", "--warmup", "200"]
    first = rows(ExactClasses(), prior, tmp_path, monkeypatch, capsys, *options)
    assert [row["n"] for row in first] == ["5", "12"]
    for row in first:
        assert row["network"] == row["importance sampling"]
        assert abs(number(row["network - HMC"])) < 0.03
        assert number(row["network - HMC"]) == pytest.approx(number(row["network"]) - number(row["HMC"]), abs=0.0021)
        assert number(row["R-hat"]) < 1.2
        assert number(row["16 labels"]) != number(row["HMC"])
    assert len(list((tmp_path / "cache").glob("bnn-hmc-*.h5"))) == 2
    again = rows(ExactClasses(), prior, tmp_path, monkeypatch, capsys, *options)
    assert again == first


def test_numbers_at_an_architecture_that_is_fixed_for_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = BNN({"points": 20, "features": 1})
    fixed = {"depth": 1, "width": 2, "activations": "tanh", "weight_scale": 1.0, "sparsity": 0.0, "unit_noise": None}
    options = ["--context-sizes", "4", "--warmup", "50"]
    changes = ["--prior", json.dumps({**fixed, "noise": 0.5, "standardized": False})]
    (row,) = rows(DensityOnly(), prior, tmp_path, monkeypatch, capsys, *options, *changes)
    assert "16 labels" not in row
    assert number(row["oracle"]) < number(row["HMC"]) + 0.5
    assert number(row["HMC"]) < number(row["network"])
    with pytest.raises(SystemExit):
        rows(DensityOnly(), prior, tmp_path, monkeypatch, capsys, *options)
    assert "depth must be a number" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "message"), [("{depth: 2}", "--prior: not JSON"), ("[2]", "must be a JSON object")])
def test_changes_that_are_no_json_object(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare_bnn_posterior.parser().parse_args(["own", "--prior", text])
    assert message in capsys.readouterr().err
