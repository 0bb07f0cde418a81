"""Scores of methods on splits of tables, written as they are computed: an interrupted comparison goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from scripts.real_tables import CLASSIFICATION, RealTable, Split
from scripts.table_scores import class_scores, number_scores

Place = tuple[str, str, int]  # method, table, number of the split
Scores = dict[str, Any]  # numbers by name, and lists of numbers
Score = Callable[..., Scores]  # of a method, a table, a split and a seed


@dataclass(frozen=True)
class Method:
    """A way to predict tables.

    Attributes:
        name: in reports.
        task: what it is for.
        predict: see `scripts.table_baselines`.
        identity: all that its predictions depend on beside data and seed, as JSON holds it.
    """

    name: str
    task: str
    predict: Callable[..., Any]
    identity: Mapping[str, Any]


@dataclass
class Results:
    """What was found.

    Attributes:
        scores: by method, table and number of the split.
        failures: messages by method and table; such a pair has no scores.
    """

    scores: dict[Place, Scores] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)


class ScoreFile:
    """A file of JSON lines, each with the key of what was computed, and its scores; later lines win."""

    def __init__(self, path: Path) -> None:
        self.path, self.known = path, {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
                self.known[entry["key"]] = entry["scores"]
            except (json.JSONDecodeError, KeyError, TypeError):  # the last line of an interrupted run
                continue

    def add(self, key: str, place: Place, scores: Scores) -> None:
        """Appends scores; `place` is for people who read the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps({'key': key, 'place': place, 'scores': scores})}\n")
        self.known[key] = scores


def run(
    methods: Sequence[Method],
    tables: Sequence[RealTable],
    splits: Mapping[str, Sequence[Split]],
    file: ScoreFile,
    seed: int,
    score: Score | None = None,
) -> Results:
    """Scores of every method on every split of the tables of its task; computes what the file lacks.

    What goes wrong with a method on a table leaves that pair out.

    Args:
        methods, tables: what is compared, and on what.
        splits: by a table's name.
        file: what was computed before.
        seed: of the first split; the next one has the next seed.
        score: what is found on a split; by default `score_split`.
    """
    pairs = [(method, table) for table in tables for method in methods if method.task == table.task]
    results, score = Results(), score or score_split
    with tqdm(total=sum(len(splits[table.name]) for _, table in pairs), unit="split") as bar:
        for method, table in pairs:
            bar.set_description(f"{method.name}, {table.name}")
            found = {}
            try:
                for index, split in enumerate(splits[table.name]):
                    place = method.name, table.name, index
                    found[place] = _look_up(method, table, split, place, file, seed + index, score)
                    bar.update()
                results.scores.update(found)
            except Exception as error:  # whatever a library raises
                results.failures[method.name, table.name] = f"{type(error).__name__}: {error}"
                bar.update(len(splits[table.name]) - len(found))
    return results


def _look_up(
    method: Method, table: RealTable, split: Split, place: Place, file: ScoreFile, seed: int, score: Score
) -> Scores:
    """The scores of one split, from the file or, where it lacks them, computed and added to it."""
    rows = hashlib.sha256(b"|".join(part.astype(np.int64).tobytes() for part in split)).hexdigest()
    parts = json.dumps([method.identity, table.digest, rows, seed], sort_keys=True)
    key = hashlib.sha256(parts.encode()).hexdigest()[:24]
    if key not in file.known:
        file.add(key, place, score(method, table, split, seed))
    return file.known[key]


def score_split(method: Method, table: RealTable, split: Split, seed: int) -> Scores:
    """The scores of one split, and the seconds to fit and predict."""
    x, y, truth = table.x.iloc[split.train], table.y[split.train], table.y[split.test]
    classes = None
    if table.task == CLASSIFICATION:
        classes, y = np.unique(y, return_inverse=True)
    predicted, seconds = timed(method, x, y, table.x.iloc[split.test], seed)
    if classes is None:
        return {**number_scores(predicted, truth, float(y.std())), "seconds": seconds}
    every = np.unique(table.y)
    probability = np.zeros((len(truth), len(every)))  # (m, C), zero for classes that are not in the training rows
    probability[:, np.searchsorted(every, classes)] = predicted
    return {**class_scores(probability, np.searchsorted(every, truth)), "seconds": seconds}


def timed(method: Method, *data: Any) -> tuple[Any, float]:
    """A method's predictions, and the seconds that they took."""
    started = perf_counter()
    predicted = method.predict(*data)
    return predicted, perf_counter() - started
