"""`scripts/compare_bnn.py`: balanced draws, the calibration error, and the whole comparison."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_iris
from torchmetrics.functional.classification import binary_calibration_error

from priorfit import checkpoints
from priorfit.models import TablePFN
from priorfit.priors import SCM
from scripts import compare_bnn, few_rows_baselines
from scripts.compare_bnn import binary, calibration_error, draws, score
from scripts.few_rows_baselines import BASELINES, default, searched
from scripts.real_tables import RealTable, Split
from scripts.table_baselines import classifier, installed
from scripts.table_results import Method


def table(y: list[str], **columns: Any) -> RealTable:
    frame = pd.DataFrame({"a": np.arange(float(len(y))), **columns})
    return RealTable("table", "classification", frame, np.array(y), (), "digest")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables")
    for name, load in {"cancer": load_breast_cancer, "iris": load_iris}.items():
        data: Any = load(as_frame=True)
        data.frame.to_csv(path / f"{name}.csv", index=False)
    tables = ["cancer", "iris"]
    entries = [{"name": name, "file": f"{name}.csv", "task": "classification"} for name in tables]
    (path / "manifest.json").write_text(json.dumps(entries))
    return path


def test_two_largest_classes_are_kept() -> None:
    whole = table(["rare"] * 50 + ["many"] * 90 + ["few"] * 60)
    kept = binary(whole)
    assert kept is not None
    assert kept.x["a"].tolist() == list(range(50, 200))
    assert kept.y.tolist() == ["1"] * 90 + ["0"] * 60  # in the order of their names
    assert kept.digest != whole.digest


@pytest.mark.parametrize(
    "unfit",
    [
        table(["a"] * 60 + ["b"] * 49),
        table(["a"] * 120),
        table(["a", "b"] * 60, gaps=np.where(np.arange(120) == 7, np.nan, 0.0)),
        table(["a", "b"] * 60, kind=pd.Categorical(["x"] * 120)),
        table(["a", "b"] * 60, **{f"c{i}": np.zeros(120) for i in range(100)}),
    ],
    ids=["few rows", "one class", "gaps", "categories", "columns"],
)
def test_tables_that_do_not_fit(unfit: RealTable) -> None:
    assert binary(unfit) is None


def test_draws_are_balanced_and_depend_on_the_seed() -> None:
    whole = table(["0"] * 80 + ["1"] * 300)
    first, again, other = (draws(whole, 5, seed) for seed in (0, 0, 1))
    for split, same in zip(first, again, strict=True):
        rows = np.concatenate(split)
        assert (len(split.train), len(split.test), len(set(rows))) == (30, 70, 100)
        assert (whole.y[rows] == "0").sum() == 50
        np.testing.assert_array_equal(split.train, same.train)
    assert len({tuple(split.train) for split in [*first, *other]}) == 10


def test_calibration_error_is_torchmetrics() -> None:
    generator = np.random.default_rng(0)
    probability = np.concatenate([generator.uniform(size=500), [0.0, 1.0]])
    truth = (generator.uniform(size=502) < probability**2).astype(int)
    for bins in (10, 100):
        expected = binary_calibration_error(torch.from_numpy(probability), torch.from_numpy(truth), bins)
        assert calibration_error(probability, truth, bins) == pytest.approx(float(expected), abs=1e-6)
    assert calibration_error(np.full(4, 0.75), np.array([1, 1, 1, 0])) == 0


def test_columns_are_standardised_by_the_training_rows() -> None:
    seen = []

    def predict(x: pd.DataFrame, y: np.ndarray, queries: pd.DataFrame, seed: int) -> np.ndarray:
        seen.extend([x["a"].tolist(), y.tolist(), queries["a"].tolist()])
        return np.array([[0.4, 0.6], [0.9, 0.1]])

    whole = table(["0", "1", "1", "0"], a=[1.0, 3.0, 2.0, 5.0])
    found = score(Method("m", "classification", predict, {}), whole, Split(np.array([0, 1]), np.array([2, 3])), 0)
    assert seen == [[-1.0, 1.0], [0, 1], [0.0, 3.0]]
    assert (found["probability"], found["truth"], found["ROC AUC"]) == ([0.6, 0.1], [1, 0], 1.0)


@pytest.mark.parametrize("name", ["logistic regression", "Gaussian process", "nearest neighbours"])
@pytest.mark.parametrize("make", [default, searched])
def test_baselines_learn_thirty_rows(name: str, make: Any) -> None:
    assert installed(name)
    generator = np.random.default_rng(0)
    x = pd.DataFrame(generator.normal(size=(100, 2)), columns=["a", "b"])
    y = (x["a"] > 0).to_numpy(int)
    probability = classifier(make(BASELINES[name]))(x[:30], y[:30], x[30:], 0)[:, 1]
    assert ((probability > 0.5) == y[30:]).mean() > 0.85


def test_comparison(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(few_rows_baselines, "BASELINES", {"logistic regression": BASELINES["logistic regression"]})
    monkeypatch.setattr(sys, "argv", ["script", str(folder), "--n-splits", "3", "--output", str(tmp_path)])
    compare_bnn.main()
    text = capsys.readouterr().out
    assert "2 tables, 3 draws of 100 rows each, seed 0; baselines are at their defaults" in text
    assert f"| logistic regression |{420:12} |" in text
    area = float(next(line for line in text.splitlines() if line.startswith("| logistic")).split("|")[3])
    assert 0.97 < area < 1
    assert (tmp_path / "report.md").read_text() == text[1:-1]


def test_networks_of_numbers_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    small = {"width": 8, "n_cell_layers": 1, "n_row_layers": 1, "n_heads": 2, "n_steps": 2}
    path = checkpoints.save(tmp_path / "numbers.safetensors", TablePFN(0, 64, **small), SCM({"points": 40}))
    monkeypatch.setattr(sys, "argv", ["script", str(folder), "--checkpoint", str(path), "--output", str(tmp_path)])
    with pytest.raises(SystemExit):
        compare_bnn.main()
    assert "does not predict tables for classification: leave it out" in capsys.readouterr().err


def test_no_table_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "t.csv").write_text("a,target\n1,x\n2,y\n")
    (tmp_path / "manifest.json").write_text('[{"name": "t", "file": "t.csv", "task": "classification"}]')
    monkeypatch.setattr(sys, "argv", ["script", str(tmp_path)])
    with pytest.raises(SystemExit):
        compare_bnn.main()
    assert "No table fits" in capsys.readouterr().err
