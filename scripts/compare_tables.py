"""Compares networks for tables with usual methods on real tables, over repeated splits.

    python -m scripts.compare_tables tables --checkpoint tabular-classifier tabular-regressor
    python -m scripts.compare_tables tables --splits tables/splits.npz --baselines "random forest" CatBoost
    python -m scripts.compare_tables tables --tasks regression --checkpoint runs/own/checkpoint.safetensors

The folder holds CSV files and `manifest.json`; `scripts/real_tables.py` says what stands there. Without --splits, each
split trains on half of the rows of each class, or nine tenths of the rows for regression; on at most --max-rows.

Writes report.md, splits.csv (every score) and scores.jsonl into --output. What scores.jsonl holds is not computed
again, as long as file, split, seed, network and library stay the same; --fresh computes all of it again. Takes a second
or two per table and split, most of it for Gaussian processes and CatBoost.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from priorfit.evaluation.writers import write_text
from priorfit.registry import closest
from scripts.real_tables import (
    CLASSIFICATION,
    REGRESSION,
    TASKS,
    RealTable,
    Split,
    capped,
    random_splits,
    stored_splits,
)
from scripts.table_baselines import CLASSIFIERS, LIBRARIES, REGRESSORS, installed
from scripts.table_command import choose_tables, networks, run_command, score_file, shared_parser
from scripts.table_report import every_split, report
from scripts.table_results import Method, run

BASELINES = {CLASSIFICATION: CLASSIFIERS, REGRESSION: REGRESSORS}
NAMES = list(dict.fromkeys(name for family in BASELINES.values() for name in family))
INTRODUCTION = """\
ROC AUC is one-vs-one for more than two classes; log loss in nats, of probabilities clipped at 1e-6. RMSE and log score
(mean log density, in nats, more is better) are of targets in units of the training targets' standard deviation. Scores
are means over a table's splits, then over tables; ranks, 1 for the best, are means over tables, among the methods that
have a score on each of them. Seconds: to fit and predict."""


def baselines(chosen: Sequence[str] | None) -> Iterator[Method]:
    """The baselines with these names, by default all that are installed.

    Raises:
        ValueError: an unknown name, or a library that is not installed.
    """
    for name in chosen or ():
        if name not in NAMES:
            raise ValueError(f"There is no baseline '{name}': {closest(name, NAMES)}")
        if not installed(name):
            raise ValueError(f"{name} is not installed: pip install {LIBRARIES[name]}")
    for task, family in BASELINES.items():
        for name, predict in family.items():
            if name in chosen if chosen is not None else installed(name):
                library = LIBRARIES.get(name, "scikit-learn")
                identity = {"baseline": name, "task": task, library: version(library)}
                yield Method(name, task, predict, identity)


def choose_splits(options: argparse.Namespace, tables: Sequence[RealTable]) -> dict[str, list[Split]]:
    """Each table's splits.

    Raises:
        OSError: no such file.
        ValueError: tables without splits, or that cannot be split.
    """
    if options.splits:
        splits = stored_splits(options.splits, tables, options.n_splits)
    else:
        splits = {table.name: random_splits(table, options.n_splits, options.seed) for table in tables}
    return {table.name: capped(table, splits[table.name], options.max_rows, options.seed) for table in tables}


def compare(options: argparse.Namespace) -> str:
    """The whole comparison; writes all files and returns the report."""
    methods = [*networks(options), *baselines(options.baselines)]
    if not methods:
        raise ValueError("There is nothing to compare: give --checkpoint, or --baselines.")
    tables = choose_tables(options)
    splits = choose_splits(options, tables)
    results = run(methods, tables, splits, score_file(options), options.seed)
    kind = f"Splits of {options.splits}" if options.splits else f"Random splits with seed {options.seed}"
    text = report(
        tables,
        results,
        f"{INTRODUCTION}\n\n{kind}, at most {options.n_splits} per table and {options.max_rows} training rows.",
    )
    write_text(options.output / "splits.csv", every_split(results))
    write_text(options.output / "report.md", text)
    return text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = shared_parser(__doc__, "runs/tables")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--baselines", nargs="*", help=f"of {', '.join(NAMES)}; all that are installed by default")
    parser.add_argument("--splits", type=Path, help="stored splits, .npz")
    parser.add_argument("--max-rows", type=int, default=1000, help="for training; more are left out at random")
    parser.set_defaults(n_splits=5)
    return parser


def main() -> None:
    run_command(parser(), compare)


if __name__ == "__main__":
    main()
