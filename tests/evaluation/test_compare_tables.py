"""`scripts/compare_tables.py` and its parts: right splits and scores, stored results, messages in place of traces."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris
from sklearn.metrics import roc_auc_score
from torch.distributions import Normal

from priorfit import checkpoints
from priorfit.models import TablePFN
from priorfit.priors import SCM
from scripts import compare_tables, table_results
from scripts.real_tables import RealTable, capped, random_splits, read_manifest, read_table, stored_splits
from scripts.table_baselines import CLASSIFIERS, REGRESSORS, installed
from scripts.table_report import mean_ranks, means_and_ranks
from scripts.table_results import Method, Results, ScoreFile, score_split
from scripts.table_scores import MEASURES, class_scores, number_scores, one_vs_one_auc


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Irises with a gap and a column of texts, 120 patients, and splits of the irises."""
    path = tmp_path_factory.mktemp("tables")
    data: Any = load_iris(as_frame=True)
    flowers = data.frame.assign(colour=np.where(np.arange(150) % 3, "blue", "1"))
    flowers["target"] = np.array(["setosa", "versicolor", "virginica"])[flowers["target"]]
    flowers.iloc[0, 1], flowers.loc[7, "colour"] = np.nan, np.nan
    flowers.to_csv(path / "iris.csv", index=False)
    data = load_diabetes(as_frame=True)
    data.frame[:120].to_csv(path / "patients.csv", index=False)
    entries = [
        {"name": "iris", "file": "iris.csv", "task": "classification", "categorical": ["colour"], "suites": ["plants"]},
        {"name": "patients", "file": "patients.csv", "task": "regression"},
    ]
    (path / "manifest.json").write_text(json.dumps({"datasets": entries}))
    rows = np.arange(150)
    np.savez(path / "splits.npz", **{"iris|0|train": rows[::2], "iris|0|test": rows[1::2]})
    return path


@pytest.fixture
def tables(folder: Path) -> list[RealTable]:
    return [read_table(folder, entry) for entry in read_manifest(folder)]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network for tables; untrained, it averages Gaussian processes."""
    small = {"max_features": 16, "width": 8, "n_cell_layers": 1, "n_row_layers": 1, "n_heads": 2, "n_steps": 2}
    path = tmp_path_factory.mktemp("network") / "own.safetensors"
    return checkpoints.save(path, TablePFN(3, 64, **small), SCM({"points": 200}))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    compare_tables.main()


def test_tables_are_read_as_the_manifest_says(tables: list[RealTable]) -> None:
    iris, patients = tables
    assert iris.x.dtypes.astype(str).tolist() == ["float64"] * 4 + ["category"]
    assert iris.x["colour"].cat.categories.tolist() == ["1", "blue"]
    assert iris.x.isna().to_numpy().sum() == 2
    assert iris.y[[0, 60, 149]].tolist() == ["setosa", "versicolor", "virginica"]
    assert patients.x.shape == (120, 10)
    assert patients.y.dtype == float
    assert (iris.groups, patients.groups) == (("plants",), ())


def test_splits_keep_class_frequencies_and_depend_on_the_seed(tables: list[RealTable]) -> None:
    iris, patients = tables
    first, again, other = (random_splits(iris, 3, seed) for seed in (0, 0, 1))
    for (train, test), same, different in zip(first, again, other, strict=True):
        assert sorted([*train, *test]) == list(range(150))
        assert np.unique(iris.y[train], return_counts=True)[1].tolist() == [25, 25, 25]
        np.testing.assert_array_equal(train, same.train)
        assert (train != different.train).any()
    assert (first[0].train != first[1].train).any()
    train, test = random_splits(patients, 1, 0)[0]
    assert (len(train), len(test)) == (108, 12)


def test_training_rows_are_capped_in_proportion_to_classes() -> None:
    y = np.repeat(["a", "b", "c"], [1800, 900, 300])
    table = RealTable("large", "classification", pd.DataFrame({"a": np.zeros(3000)}), y, (), "")
    whole = random_splits(table, 2, 0)
    for (train, test), before in zip(capped(table, whole, 1000, 0), whole, strict=True):
        assert np.unique(table.y[train], return_counts=True)[1].tolist() == [600, 300, 100]
        assert set(train) <= set(before.train)
        np.testing.assert_array_equal(test, before.test)
    numbers = table._replace(task="regression", y=np.arange(3000.0))
    (train, test), *_ = capped(numbers, random_splits(numbers, 1, 0), 1000, 0)
    assert (len(set(train)), len(test)) == (1000, 300)


def test_area_under_the_curve_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    for n_classes in (2, 4):
        probability = generator.dirichlet(np.ones(n_classes), size=60)
        truth = generator.integers(n_classes, size=60)
        scores = probability if n_classes > 2 else probability[:, 1]
        expected = roc_auc_score(truth, scores, multi_class="ovo")
        assert one_vs_one_auc(probability, truth) == pytest.approx(expected)
    seen = truth < 2  # of four classes two occur: only their pair counts, in both directions
    pair = [roc_auc_score(truth[seen] == one, probability[seen, one]) for one in (0, 1)]
    assert one_vs_one_auc(probability[seen], truth[seen]) == pytest.approx(np.mean(pair))
    assert math.isnan(one_vs_one_auc(probability[:5], np.zeros(5, int)))


def test_scores_of_known_predictions() -> None:
    probability = np.array([[0.8, 0.2], [0.5, 0.5], [1.0, 0.0]])
    scores = class_scores(probability, np.array([0, 1, 1]))
    assert scores["accuracy"] == pytest.approx(1 / 3)
    assert scores["log loss"] == pytest.approx(-(math.log(0.8) + math.log(0.5) + math.log(1e-6)) / 3)
    assert scores["ROC AUC"] == 0.5
    law = Normal(torch.zeros(2, dtype=torch.float64), 3.0)
    scores = number_scores(law, np.array([3.0, -6.0]), unit=2.0)
    assert scores["RMSE"] == pytest.approx(math.sqrt((9 + 36) / 2) / 2)
    assert scores["log score"] == pytest.approx(Normal(0.0, 1.5).log_prob(torch.tensor([1.5, -3.0])).mean().item())


def test_classes_are_matched_by_name(tables: list[RealTable]) -> None:
    iris = tables[0]
    some = np.flatnonzero(iris.y != "setosa")  # the first class is not in the training rows
    predict = lambda x, y, queries, seed: np.tile([0.25, 0.75], (len(queries), 1))  # noqa: E731
    method = Method("constant", "classification", predict, {})
    found = score_split(method, iris, table_results.Split(some, np.array([50, 100, 101, 0])), 0)
    assert found["accuracy"] == 0.5  # virginica twice
    assert found["log loss"] == pytest.approx(-(math.log(0.25) + 2 * math.log(0.75) + math.log(1e-6)) / 4)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if installed(name)])
def test_classifiers_learn_irises(name: str, tables: list[RealTable]) -> None:
    found = score_split(
        Method(name, "classification", CLASSIFIERS[name], {}), tables[0], random_splits(tables[0], 1, 0)[0], 0
    )
    assert found["ROC AUC"] > 0.95
    assert found["accuracy"] > 0.85
    assert found["log loss"] < 1.0  # a constant guess: 1.1


@pytest.mark.parametrize("name", [name for name in REGRESSORS if installed(name)])
def test_regressors_know_how_wide_errors_are(name: str) -> None:
    generator = np.random.default_rng(0)
    x = pd.DataFrame(generator.normal(size=(200, 3)), columns=list("abc"))
    x["kind"] = pd.Categorical(np.where(np.arange(200) % 2, "odd", "even"))
    y = 20 + 10 * x["a"].to_numpy() + 5 * (x["kind"] == "odd").to_numpy() + 2 * generator.normal(size=200)
    law = REGRESSORS[name](x[:150], y[:150], x[150:], 0)
    errors = law.mean.numpy() - y[150:]
    assert np.sqrt(np.square(errors).mean()) < 4
    assert 0.6 < np.abs(errors / law.stddev.numpy()).mean() / math.sqrt(2 / math.pi) < 2.5


def test_ranks_and_means() -> None:
    frame, y = pd.DataFrame({"a": [0.0]}), np.zeros(1)
    tables = [RealTable(name, "regression", frame, y, (), "") for name in ("one", "two")]
    values = {"best": (0.1, 0.2), "tied": (0.3, 0.4), "level": (0.3, 0.4), "absent": (0.05,)}
    results = Results()
    for method, errors in values.items():
        for table, error in zip(tables, errors, strict=False):
            for split, shift in enumerate((-0.01, 0.01)):
                found = {"RMSE": error + shift, "log score": -error, "seconds": 1.0}
                results.scores[method, table.name, split] = found
    rows = [line.split("|")[1:-1] for line in means_and_ranks(MEASURES["regression"], tables, results).splitlines()[2:]]
    found = {row[0].strip(): [cell.strip() for cell in row[1:4]] for row in rows}
    assert found["best"] == ["2", "0.1500", "1.00"]
    assert found["tied"] == found["level"] == ["2", "0.3500", "2.50"]
    assert found["absent"] == ["1", "0.0500", ""]
    better = {"low": np.array([1.0]), "high": np.array([2.0])}
    assert mean_ranks(MEASURES["regression"][1], better) == {"high": 1.0, "low": 2.0}


def test_comparison_stores_what_it_finds(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = [folder, "--n-splits", 2, "--output", tmp_path, "--baselines", "logistic regression", "Bayesian ridge"]
    run(monkeypatch, *options)
    report = capsys.readouterr().out
    assert "## Classification: all tables (1 table)" in report
    assert "| logistic regression |      1 |" in report
    assert "## Regression, every table: log score" in report
    assert (tmp_path / "report.md").read_text() == report[1:-1]
    frame = pd.read_csv(tmp_path / "splits.csv")
    assert frame[["method", "split"]].to_numpy().tolist() == [
        ["logistic regression", 0],
        ["logistic regression", 1],
        ["Bayesian ridge", 0],
        ["Bayesian ridge", 1],
    ]
    assert frame["ROC AUC"].iloc[:2].min() > 0.95

    computed: list[str] = []

    def count(method: Method, *others: Any) -> dict[str, float]:
        computed.append(method.name)
        return score_split(method, *others)

    monkeypatch.setattr(table_results, "score_split", count)
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write('\n{"key": "interrup')
    run(monkeypatch, *options)
    assert computed == []
    run(monkeypatch, *options[:-1], "random forest", "--splits", folder / "splits.npz", "--tables", "iris")
    assert computed == ["logistic regression", "random forest"]  # one stored split; nothing of Bayesian ridge
    run(monkeypatch, *options, "--seed", 7)
    assert len(computed) == 6
    run(monkeypatch, *options)
    assert len(computed) == 6
    run(monkeypatch, *options, "--fresh")
    assert len(computed) == 10


def test_networks_take_the_tables_that_they_are_for(
    folder: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [folder, "--n-splits", 1, "--output", tmp_path, "--baselines", "--n-estimators", 1, 2]
    run(monkeypatch, *options, "--checkpoint", network)
    frame = pd.read_csv(tmp_path / "splits.csv")
    assert frame["table"].tolist() == ["iris"] * 2 + ["patients"] * 2
    assert frame["method"].tolist() == ["own, 1 members", "own, 2 members"] * 2
    assert frame["ROC AUC"].iloc[:2].min() > 0.95
    assert frame["RMSE"].iloc[2:].max() < 1.2
    assert "Left out" not in (tmp_path / "report.md").read_text()


def test_a_method_that_fails_is_left_out(tables: list[RealTable], tmp_path: Path) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no | idea")

    methods = [
        Method("broken", "regression", fail, {"name": "broken"}),
        Method("Bayesian ridge", "regression", REGRESSORS["Bayesian ridge"], {"name": "ridge"}),
    ]
    splits = {"patients": random_splits(tables[1], 2, 0)}
    results = table_results.run(methods, tables, splits, ScoreFile(tmp_path / "scores.jsonl"), 0)
    assert results.failures == {("broken", "patients"): "RuntimeError: no | idea"}
    assert {method for method, *_ in results.scores} == {"Bayesian ridge"}
    text = compare_tables.report(tables, results, "")
    assert "RuntimeError: no / idea" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tables", "irs"], "There is no table 'irs': did you mean 'iris'?"),
        (["--baselines", "forest"], "There is no baseline 'forest'"),
        (["--baselines"], "nothing to compare"),
        (["--n-splits", 0], "--n-splits must be at least 1"),
        (["--groups", "animals"], "No table of the manifest fits"),
        (["--checkpoint", "gp-regresion"], "no checkpoint and no file named 'gp-regresion'"),
        (["--checkpoint", "learning-curve"], "'learning-curve' does not predict tables"),
        (["--manifest", "missing.json"], "No such file"),
        (["--splits", "{folder}/splits.npz"], "has no splits of table 'patients'"),
    ],
)
def test_impossible_options(
    arguments: list[Any],
    message: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    arguments = [str(argument).format(folder=folder) for argument in arguments]
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, "--output", tmp_path, *arguments)
    assert message in capsys.readouterr().err


GOOD = {"name": "t", "file": "t.csv", "task": "regression"}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"tables": []}, "must hold a list"),
        ([{"name": "t", "file": "t.csv"}], "needs a name, a file, and a task"),
        ([{**GOOD, "task": "ranking"}], "needs a name, a file, and a task"),
        ([GOOD, GOOD], "lists a name twice: t"),
    ],
)
def test_unusable_manifests(entries: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ("a,b\n1,2\n", {}, "needs a column 'target'"),
        ("target\n1\n", {}, "and others to predict it from"),
        ("a,target\n1,\n", {}, "rows without a target"),
        ("a,target\nx,1\n", {}, "Column 'a' of .* holds text; list it as categorical"),
        ("a,target\n1,x\n", {}, "Column 'target' of .* holds text"),
        ("a,target\n1,2\n", {"categorical": ["b"]}, "has no columns b"),
    ],
)
def test_unusable_tables(content: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path, {**GOOD, **changes})


def test_unusable_splits(tables: list[RealTable], tmp_path: Path) -> None:
    iris = tables[0]._replace(y=np.array(["alone", *tables[0].y[1:]]))
    with pytest.raises(ValueError, match="Table 'iris' cannot be split; merge or drop rare classes"):
        random_splits(iris, 1, 0)
    np.savez(tmp_path / "splits.npz", **{"iris|0|train": [0, 150], "iris|0|test": [1]})
    with pytest.raises(ValueError, match="has rows that table 'iris', with 150 of them, lacks"):
        stored_splits(tmp_path / "splits.npz", [iris], 1)
