"""The scripts that score PFNRegressor on real tables: right numbers, and messages in place of traces."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Normal

from scripts import compare_real_data, predict_diabetes


def run(main: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    main()


def test_scores_of_known_predictions() -> None:
    truth = np.array([1.0, -1.0, 2.0, 0.0])
    law = Normal(torch.zeros(4, dtype=torch.float64), 1.0)
    scores = predict_diabetes.evaluate_regressor(lambda x, y, queries: law, truth, truth, truth, truth)
    assert scores["RMSE"] == pytest.approx(math.sqrt(6 / 4))
    assert scores["log score"] == pytest.approx(-0.5 * math.log(2 * math.pi) - 6 / 8)
    assert scores["90 % coverage"] == 0.75
    assert scores["seconds"] >= 0


def test_the_gaussian_process_predicts_noisy_targets() -> None:
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(120, 2)) * [1, 100]
    y = 10 * np.sin(6 * x[:, 0]) + generator.normal(size=120)
    law = predict_diabetes.predict_gp(x[:80], y[:80], x[80:])
    assert np.abs(law.mean.numpy() - y[80:]).mean() < 1.2
    assert 0.8 < law.stddev.mean() < 1.5  # the noise is part of it


def test_diabetes(checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with pytest.warns(UserWarning, match="trained on at most 300"):
        run(predict_diabetes.main, monkeypatch, checkpoint_path)
    network, process = capsys.readouterr().out.splitlines()
    assert network.startswith("PFNRegressor ")
    assert "log score" in network
    assert 50 < float(process.split()[3]) < 60  # least squares: 58.5


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """60 rows: a useful column, a useless one, a constant one, and one of text."""
    generator = np.random.default_rng(0)
    useful, useless, noise = generator.normal(size=(3, 60))
    columns = {
        "useful": useful,
        "useless": useless,
        "constant": 1.0,
        "text": "a",
        "target": 3 * useful + 0.1 * noise,
    }
    frame = pd.DataFrame(columns)
    frame.loc[0, "useless"] = np.nan
    frame.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_tables_lose_text_gaps_and_useless_columns(table: Path) -> None:
    x, y = compare_real_data.load_table(str(table))
    assert x.shape == (59, 3)
    split = compare_real_data.split_table(x, y, n_train=40, n_features=1, seed=0)
    x_train, x_test, y_train, y_test = split
    assert x_train.shape == (40, 1)
    np.testing.assert_allclose(3 * x_train[:, 0], y_train, atol=0.5)
    np.testing.assert_allclose(3 * x_test[:, 0], y_test, atol=0.5)
    x_train, *_ = compare_real_data.split_table(x, y, n_train=400, n_features=10, seed=0)
    assert x_train.shape == (47, 2)


def test_comparison(
    table: Path, checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run(compare_real_data.main, monkeypatch, table, "--checkpoint", checkpoint_path, "--splits", 2)
    header, rule, network, process = capsys.readouterr().out.splitlines()
    assert network.startswith("| table (47 × 2) | PFNRegressor | ")
    assert process.startswith("| table (47 × 2) | Gaussian process | ")
    assert header.count("|") == rule.count("|") == network.count("|")
    assert network.count("±") == 4


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), ("a,b\n1,2\n", "column 'target'")])
def test_unusable_tables(
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    if content:
        (tmp_path / "table.csv").write_text(content)
    with pytest.raises(SystemExit):
        run(compare_real_data.main, monkeypatch, tmp_path / "table.csv")
    assert message in capsys.readouterr().err


def test_unknown_checkpoints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run(predict_diabetes.main, monkeypatch, "gp-regresion")
    assert "no checkpoint and no file named 'gp-regresion'" in capsys.readouterr().err
