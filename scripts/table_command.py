"""What comparisons on real tables share: networks as methods, tables by name, options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from numpy import ndarray
from threadpoolctl import threadpool_limits

import priorfit
from priorfit.checkpoints import CheckpointError
from priorfit.evaluation.main import checkpoint_name
from priorfit.predictors.loading import predicts_classes, predicts_numbers
from priorfit.registry import closest
from scripts.real_tables import CLASSIFICATION, REGRESSION, RealTable, read_manifest, read_table
from scripts.table_results import Method, ScoreFile

ESTIMATORS = {CLASSIFICATION: "PFNClassifier", REGRESSION: "PFNRegressor"}


def networks(options: argparse.Namespace) -> Iterator[Method]:
    """The estimators of the checkpoints that the options name, with each number of members, for the tasks asked for.

    Raises:
        CheckpointError: no such checkpoint, or one that does not predict tables of these tasks.
    """
    names, members = options.checkpoint, options.n_estimators
    short = [checkpoint_name(name) for name in names]
    for name, title in zip(names, short if len(set(short)) == len(names) else names, strict=True):
        checkpoint = priorfit.load(name)
        tasks = [task for task in options.tasks if _serves(checkpoint.network, task)]
        if not tasks:
            raise CheckpointError(
                f"'{name}' does not predict tables for {' or '.join(options.tasks)}: leave it out, or choose another "
                "from priorfit.list_checkpoints()."
            )
        for count in members:
            settings = {"n_estimators": count, "device": options.device}
            identity = {"weights": checkpoint.metadata["weights_sha256"], "priorfit": version("priorfit"), **settings}
            full_title = title if len(members) == 1 else f"{title}, {count} members"
            for task in tasks:
                predict = estimate(task, checkpoint=checkpoint, **settings)
                yield Method(full_title, task, predict, {"network": task, **identity})


def _serves(network: Any, task: str) -> bool:
    """Whether a network predicts tables of this task."""
    predicts = predicts_classes if task == CLASSIFICATION else predicts_numbers
    return hasattr(network, "encode") and hasattr(network, "max_features") and predicts(network)


def estimate(task: str, **settings: Any) -> Callable[..., Any]:
    """The estimator of a task with these settings, as a method."""
    estimator = getattr(priorfit, ESTIMATORS[task])

    def predict(x: pd.DataFrame, y: ndarray, queries: pd.DataFrame, seed: int) -> Any:
        fitted = estimator(random_state=seed, **settings).fit(x, y)
        return fitted.predict_proba(queries) if task == CLASSIFICATION else fitted.predict_distribution(queries)

    return predict


def choose_tables(options: argparse.Namespace) -> list[RealTable]:
    """The tables that the options name.

    Raises:
        OSError: no such file.
        ValueError: a table that cannot be used, or none that fits.
    """
    entries = read_manifest(options.folder, options.manifest)
    names = [entry["name"] for entry in entries]
    for name in options.tables or ():
        if name not in names:
            raise ValueError(f"There is no table '{name}': {closest(name, names)}")
    groups = set(options.groups or ())
    chosen = [
        entry
        for entry in entries
        if entry["name"] in (options.tables or names)
        and entry["task"] in options.tasks
        and (not groups or groups & set(entry.get("suites", ())))
    ]
    if not chosen:
        raise ValueError("No table of the manifest fits --tables, --tasks and --groups.")
    return [read_table(options.folder, entry) for entry in chosen]


def score_file(options: argparse.Namespace) -> ScoreFile:
    """What was computed before, which --fresh deletes."""
    path = options.output / "scores.jsonl"
    if options.fresh:
        path.unlink(missing_ok=True)
    return ScoreFile(path)


def shared_parser(description: str | None, output: str) -> argparse.ArgumentParser:
    """A command line with the options that all comparisons have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds the tables and their manifest")
    parser.add_argument("--manifest", default="manifest.json", help="its name in the folder")
    parser.add_argument("--tables", nargs="+", help="names; all by default")
    parser.add_argument("--groups", nargs="+", help="only tables of these groups (`suites` in the manifest)")
    parser.add_argument("--checkpoint", nargs="+", default=[], help="names or files")
    parser.add_argument("--n-estimators", type=int, nargs="+", default=[1], help="ensemble members of a network")
    parser.add_argument("--device", default="cpu", help="where networks run")
    parser.add_argument("--n-splits", type=int, help="per table")
    parser.add_argument("--seed", type=int, default=0, help="of splits and methods")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--fresh", action="store_true", help="delete the scores that were stored before")
    parser.add_argument("--output", type=Path, default=Path(output), help="folder for the results")
    return parser


def run_command(parser: argparse.ArgumentParser, compare: Callable[[argparse.Namespace], str]) -> None:
    """Runs a comparison as the command line asks, and prints its report."""
    options = parser.parse_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        if options.n_splits < 1:
            raise ValueError("--n-splits must be at least 1.")
        with threadpool_limits(options.threads):
            text = compare(options)
    except (CheckpointError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    finally:
        torch.set_num_threads(threads)
    print(f"\n{text}")
