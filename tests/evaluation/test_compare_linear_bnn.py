"""`scripts/compare_linear_bnn.py` from end to end, with a network that knows nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from priorfit import checkpoints
from priorfit.models import Network, networks
from priorfit.priors import GaussianProcess, LinearBNN, Prior
from scripts import compare_linear_bnn
from tests.evaluation.markdown import tables

pytestmark = pytest.mark.jax


@networks.register("coin")
class Coin(Network):
    """Both classes are equally likely."""

    def __init__(self) -> None:
        super().__init__()

    def compute(self, *observed: Tensor) -> Tensor:
        return torch.zeros(*observed[2].shape[:2], 2)

    def distribution(self, output: Tensor) -> Categorical:
        return Categorical(logits=output)


def run(prior: Prior, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, str]]]:
    path = checkpoints.save(folder / "own.safetensors", Coin(), prior)
    options = "--context-sizes 2 20 --tasks 6 --queries 40 --batch-size 3 --nuts 100 --svi 8 --importance-draws 1000"
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
    monkeypatch.setattr("sys.argv", ["compare_linear_bnn.py", *given])
    compare_linear_bnn.main()
    return tables((folder / "t.md").read_text())


def number(cell: str) -> float:
    return float(cell.split()[0])


def test_every_method_is_scored_in_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = LinearBNN({"points": 30, "features": 3}, hidden=5)
    sizes, methods = run(prior, tmp_path, monkeypatch)
    assert [row["n"] for row in sizes] == ["2", "20"]
    for row in sizes:
        assert row["network"] == "0.693 ± 0.000"
        assert number(row["network - exact"]) == pytest.approx(0.693 - number(row["exact"]), abs=0.001)
    by_name = {(row["method"], row["draws"]): row for row in methods}
    assert list(by_name) == [("network", ""), ("exact", "8"), ("exact", "100"), ("NUTS", "100"), ("SVI", "8")]
    exact, nuts, svi = (by_name[key] for key in (("exact", "100"), ("NUTS", "100"), ("SVI", "8")))
    assert exact["method - exact"] == "0.000 ± 0.000"
    assert abs(number(nuts["method - exact"])) < 0.03
    assert number(svi["method - exact"]) > 0.1  # eight steps of a thousandth
    assert number(by_name["exact", "8"]["NLL, published scoring"]) > number(exact["NLL, published scoring"])
    assert number(exact["NLL, published scoring"]) > number(exact["NLL"])
    assert run(prior, tmp_path, monkeypatch)[0] == sizes


def test_other_priors_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(GaussianProcess({"points": 30}), tmp_path, monkeypatch)
    assert "'linear_bnn', not of 'gaussian_process'" in capsys.readouterr().err
