"""Compares networks with usual classifiers on tables of 30 rows, as Müller et al. 2022 did (section 6).

    python -m scripts.compare_bnn tables --checkpoint tabular-classifier
    python -m scripts.compare_bnn tables --checkpoint runs/bnn/checkpoint.safetensors --search

From every classification table without gaps and categories, of at most 100 columns, the two largest classes are kept.
20 times 50 rows of each are drawn; 30 of these 100 rows are for training, which also standardise the columns, and 70
for testing. ROC AUC is the mean over draws and tables; the expected calibration error is over all predictions at once,
in 100 bins. With --search baselines choose from a small grid by the ROC AUC of 5-fold cross-validation.

The folder is as for `scripts/compare_tables.py`. Writes report.md and scores.jsonl into --output; what the latter holds
is not computed again. About 15 seconds per table, nearly all of it for CatBoost; with --search a few minutes.

Letters: n training rows, m test rows, F columns.
"""

from __future__ import annotations

import argparse
import hashlib

import numpy as np
import pandas as pd
from numpy import ndarray
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from priorfit.evaluation.writers import markdown_table, write_text
from scripts.few_rows_baselines import FOLDS, baselines
from scripts.real_tables import CLASSIFICATION, RealTable, Split
from scripts.table_command import choose_tables, networks, run_command, score_file, shared_parser
from scripts.table_report import by_table, failures, means_and_ranks
from scripts.table_results import Method, Results, Scores, run, timed
from scripts.table_scores import Measure

PER_CLASS, TRAIN, MOST_COLUMNS, BINS = 50, 30, 100, 100
AREA = Measure("ROC AUC", 1)


def binary(table: RealTable) -> RealTable | None:
    """The rows of the two largest classes, "0" and "1"; None where the table does not fit."""
    names, counts = np.unique(table.y, return_counts=True)
    largest = np.sort(np.argsort(-counts, kind="stable")[:2])
    numbers = len(table.x.select_dtypes("number").columns) == table.x.shape[1] <= MOST_COLUMNS
    if not numbers or table.x.isna().to_numpy().any() or len(names) < 2 or counts[largest].min() < PER_CLASS:
        return None
    rows = np.isin(table.y, names[largest])
    y = (table.y[rows] == names[largest[1]]).astype(int).astype(str)
    digest = hashlib.sha256(f"binary {table.digest}".encode()).hexdigest()
    return table._replace(x=table.x[rows].reset_index(drop=True), y=y, digest=digest)


def draws(table: RealTable, n_draws: int, seed: int) -> list[Split]:
    """Balanced draws of 100 rows, the first 30 of which, with both classes among them, are for training."""
    splits = []
    for k in range(n_draws):
        generator = np.random.default_rng((seed, k))
        parts = [generator.choice(np.flatnonzero(table.y == name), PER_CLASS, replace=False) for name in ("0", "1")]
        rows = generator.permutation(np.concatenate(parts))
        while len(set(table.y[rows[:TRAIN]])) < 2:
            rows = generator.permutation(rows)
        splits.append(Split(rows[:TRAIN], rows[TRAIN:]))
    return splits


def score(method: Method, table: RealTable, split: Split, seed: int) -> Scores:
    """The area under the curve, and the predictions themselves."""
    scaler = StandardScaler().set_output(transform="pandas").fit(table.x.iloc[split.train])
    x, queries = (pd.DataFrame(scaler.transform(table.x.iloc[rows])) for rows in split)
    predicted, seconds = timed(method, x, table.y[split.train].astype(int), queries, seed)
    truth, probability = table.y[split.test].astype(int), predicted[:, 1]
    found = {"probability": probability.tolist(), "truth": truth.tolist()}
    return {AREA.key: float(roc_auc_score(truth, probability)), "seconds": seconds, **found}


def calibration_error(probability: ndarray, truth: ndarray, bins: int = BINS) -> float:
    """Mean distance between predicted and found frequency of class 1 in equal bins of the former.

    Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning", as it is usual for two
    classes: bins are weighted by the predictions in them.

    Args:
        probability: of class 1, (m,).
        truth: 0 or 1, (m,).
        bins: how many equal parts of [0, 1].
    """
    index = np.minimum((probability * bins).astype(int), bins - 1)
    excess = np.bincount(index, probability - truth, minlength=bins)
    return float(np.abs(excess).sum() / len(truth))


def calibration(results: Results) -> str:
    """One row per method."""
    pooled: dict[str, list[Scores]] = {}
    for (method, *_), found in results.scores.items():
        pooled.setdefault(method, []).append(found)
    rows = []
    for method, parts in pooled.items():
        probability, truth = (np.concatenate([part[key] for part in parts]) for key in ("probability", "truth"))
        rows.append([method, str(len(truth)), f"{calibration_error(probability, truth):.4f}"])
    return markdown_table(("method", "predictions", "calibration error"), rows)


def compare(options: argparse.Namespace) -> str:
    """The whole comparison; writes all files and returns the report.

    Raises:
        CheckpointError: no such checkpoint, or not one that classifies tables.
        OSError: no such file.
        ValueError: impossible options, or no table that fits.
    """
    methods = [*networks(options), *baselines(options.search)]
    candidates = {table.name: binary(table) for table in choose_tables(options)}
    tables = [table for table in candidates.values() if table is not None]
    if not tables:
        raise ValueError(
            f"No table fits: at most {MOST_COLUMNS} columns of numbers without gaps, two classes of {PER_CLASS} rows."
        )
    splits = {table.name: draws(table, options.n_splits, options.seed) for table in tables}
    results = run(methods, tables, splits, score_file(options), options.seed, score)
    left_out = [name for name, table in candidates.items() if table is None]
    chosen = f"chosen from a grid by {FOLDS}-fold cross-validation" if options.search else "at their defaults"
    parts = [
        f"# Comparison on {TRAIN} training rows",
        f"{len(tables)} tables, {options.n_splits} draws of {2 * PER_CLASS} rows each, seed {options.seed}; baselines "
        f"are {chosen}. Tables that do not fit: {', '.join(left_out) or 'none'}.",
        means_and_ranks([AREA], tables, results),
        calibration(results),
        by_table(AREA, tables, results),
        *failures(results),
    ]
    text = "\n\n".join(parts) + "\n"
    write_text(options.output / "report.md", text)
    return text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = shared_parser(__doc__, "runs/few-rows")
    parser.add_argument("--search", action="store_true", help="let baselines choose from a grid")
    parser.set_defaults(n_splits=20, tasks=(CLASSIFICATION,))
    return parser


def main() -> None:
    run_command(parser(), compare)


if __name__ == "__main__":
    main()
