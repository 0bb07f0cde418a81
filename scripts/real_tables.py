"""Real tables in a folder of CSV files, as a manifest lists them, and their splits into training and test rows.

The manifest is JSON: a list (or `{"datasets": [...]}`) of

    {"name": "iris", "file": "iris.csv", "task": "classification", "categorical": ["colour"], "suites": ["small"]}

with `task` "classification" or "regression"; `categorical` and `suites`, the groups that a table belongs to, may be
left out. A file's column `target` is predicted from all others; empty fields are missing values.

Letters: n rows, F columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray
from sklearn.model_selection import train_test_split

CLASSIFICATION, REGRESSION = TASKS = ("classification", "regression")
TEST_SHARE = {CLASSIFICATION: 0.5, REGRESSION: 0.1}


class RealTable(NamedTuple):
    """One table."""

    name: str
    task: str  # one of TASKS
    x: pd.DataFrame  # (n, F), float64 columns with NaN where a value is missing, and columns of type "category"
    y: ndarray  # (n,), classes as strings, or float64
    groups: tuple[str, ...]
    digest: str  # of all of this


class Split(NamedTuple):
    """Row numbers."""

    train: ndarray
    test: ndarray


def read_manifest(folder: Path, name: str = "manifest.json") -> list[dict[str, Any]]:
    """The entries of the manifest `name` in a folder.

    Raises:
        OSError: no such file.
        ValueError: it is no JSON, or an entry lacks a name, a file or a known task, or repeats a name.
    """
    path = folder / name
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"'{path}' is no JSON: {error}.") from error
    entries = document.get("datasets") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"'{path}' must hold a list of tables, or one under the key 'datasets'.")
    for entry in entries:
        if not {"name", "file"} <= set(entry) or entry.get("task") not in TASKS:
            raise ValueError(f"A table in '{path}' needs a name, a file, and a task of {', '.join(TASKS)}: {entry}.")
    names = [entry["name"] for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError(f"'{path}' lists a name twice: {', '.join(n for n in set(names) if names.count(n) > 1)}.")
    return entries


def read_table(folder: Path, entry: Mapping[str, Any]) -> RealTable:
    """The table of one entry of a manifest.

    Raises:
        OSError: no such file.
        ValueError: no column `target`, or none beside it; a missing target; text in a column that is not categorical.
    """
    path, categorical = folder / entry["file"], list(entry.get("categorical", ()))
    text = [*categorical, *(["target"] if entry["task"] == CLASSIFICATION else [])]
    content = path.read_bytes()
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, str))
    if "target" not in frame or len(frame.columns) < 2:
        raise ValueError(f"'{path}' needs a column 'target', and others to predict it from.")
    if frame["target"].isna().to_numpy().any():
        raise ValueError(f"'{path}' has rows without a target: drop them.")
    if unknown := set(categorical) - set(frame):
        raise ValueError(f"'{path}' has no columns {', '.join(sorted(unknown))}, which the manifest calls categorical.")
    for column in frame.columns.difference(text):
        try:
            frame[column] = frame[column].astype(float)
        except ValueError as error:
            raise ValueError(f"Column '{column}' of '{path}' holds text; list it as categorical. {error}") from error
    y = frame.pop("target").to_numpy(str if entry["task"] == CLASSIFICATION else float)
    kinds = dict.fromkeys(categorical, "category")
    digest = hashlib.sha256(content + json.dumps([entry["task"], categorical]).encode()).hexdigest()
    return RealTable(entry["name"], entry["task"], frame.astype(kinds), y, tuple(entry.get("suites", ())), digest)


def random_splits(table: RealTable, n_splits: int, seed: int) -> list[Split]:
    """Splits that depend on the seed alone: half of each class, or nine tenths of the rows, for training.

    Raises:
        ValueError: a class with one row, or fewer than two rows.
    """
    rows, splits = np.arange(len(table.y)), []
    for k in range(n_splits):
        options: Any = {"test_size": TEST_SHARE[table.task], "random_state": _mixed(seed, k)}
        try:
            splits.append(Split(*map(np.asarray, train_test_split(rows, stratify=_strata(table, rows), **options))))
        except ValueError as error:
            message = f"Table '{table.name}' cannot be split; merge or drop rare classes. {error}"
            raise ValueError(message) from error
    return splits


def capped(table: RealTable, splits: Sequence[Split], most: int, seed: int) -> list[Split]:
    """The same splits with at most so many of the training rows, drawn at random in proportion to the classes."""
    found = []
    for k, (train, test) in enumerate(splits):
        strata = _strata(table, train)
        if len(train) > most and strata is not None:
            train, _ = train_test_split(train, train_size=most, stratify=strata, random_state=_mixed(seed, k))
        elif len(train) > most:
            train = np.random.default_rng(seed + k).choice(train, most, replace=False)
        found.append(Split(np.asarray(train), test))
    return found


def _strata(table: RealTable, rows: ndarray) -> ndarray | None:
    """The classes of these rows; None for regression."""
    return table.y[rows] if table.task == CLASSIFICATION else None


def _mixed(seed: int, k: int) -> int:
    """A seed for split number k."""
    return int(np.random.SeedSequence((seed, k)).generate_state(1)[0])


def stored_splits(path: Path, tables: Sequence[RealTable], n_splits: int) -> dict[str, list[Split]]:
    """The first splits of each table in an .npz file with the arrays "name|k|train" and "name|k|test", k = 0, 1, …

    Raises:
        OSError: no such file.
        ValueError: a table has none there, or rows that it does not have.
    """
    found = {}
    with np.load(path) as file:
        for table in tables:
            names = [(f"{table.name}|{k}|train", f"{table.name}|{k}|test") for k in range(n_splits)]
            splits = [Split(file[train], file[test]) for train, test in names if train in file and test in file]
            if not splits:
                raise ValueError(f"'{path}' has no splits of table '{table.name}': there is no '{names[0][0]}'.")
            if max(int(part.max()) for split in splits for part in split) >= len(table.y):
                raise ValueError(f"'{path}' has rows that table '{table.name}', with {len(table.y)} of them, lacks.")
            found[table.name] = splits
    return found
