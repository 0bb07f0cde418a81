"""The report of a comparison on tables: means and ranks over tables, by group, then every table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO

import numpy as np
from numpy import ndarray
from scipy.stats import rankdata

from priorfit.evaluation.writers import markdown_table
from scripts.real_tables import CLASSIFICATION, TASKS, RealTable
from scripts.table_results import Results
from scripts.table_scores import MEASURES, Measure


def report(tables: Sequence[RealTable], results: Results, introduction: str) -> str:
    """The whole report as Markdown."""
    parts = ["# Comparison on tables", introduction, _table_list(tables)]
    for task in TASKS:
        own = [table for table in tables if table.task == task]
        if own and methods_of(own, results):
            parts += _task_parts(task, own, results)
    parts += failures(results)
    return "\n\n".join(parts) + "\n"


def failures(results: Results) -> list[str]:
    """A part on what went wrong, where something did."""
    if not results.failures:
        return []
    rows = [[method, table, message[:200]] for (method, table), message in results.failures.items()]
    return ["## Left out, since something went wrong", markdown_table(("method", "table", "what"), rows)]


def _task_parts(task: str, tables: Sequence[RealTable], results: Results) -> list[str]:
    """The tables of one task: all, each group of two or more, every table."""
    groups = {"all tables": tables}
    for name in sorted({name for table in tables for name in table.groups}):
        groups[name] = [table for table in tables if name in table.groups]
    parts = []
    for name, members in groups.items():
        if name == "all tables" or 1 < len(members) < len(tables):
            count = f"{len(members)} table{'s' * (len(members) != 1)}"
            parts += [f"## {task.capitalize()}: {name} ({count})", means_and_ranks(MEASURES[task], members, results)]
    for measure in MEASURES[task]:
        parts += [f"## {task.capitalize()}, every table: {measure.key}", by_table(measure, tables, results)]
    return parts


def methods_of(tables: Sequence[RealTable], results: Results) -> list[str]:
    """The methods with scores on some of the tables, in the order in which they came."""
    names = {table.name for table in tables}
    return list(dict.fromkeys(method for method, table, _ in results.scores if table in names))


def table_means(key: str, tables: Sequence[RealTable], results: Results) -> dict[str, ndarray]:
    """For each method the mean over its splits on each table, (tables,), NaN where it has none."""
    values: dict[tuple[str, str], list[float]] = {}
    names = {table.name for table in tables}
    for (method, table, _), scores in results.scores.items():
        if table in names:
            values.setdefault((method, table), []).append(scores[key])
    return {
        method: np.array([np.mean(values.get((method, table.name), [np.nan])) for table in tables])
        for method in methods_of(tables, results)
    }


def mean_ranks(measure: Measure, means: Mapping[str, ndarray]) -> dict[str, float]:
    """The mean over tables of each method's rank, 1 for the best, among the methods that have a score everywhere."""
    complete = {method: values for method, values in means.items() if np.isfinite(values).all()}
    if not complete:
        return {}
    ranks = rankdata([-measure.sign * values for values in complete.values()], axis=0)  # (methods, tables)
    return dict(zip(complete, ranks.mean(1), strict=True))


def means_and_ranks(measures: Sequence[Measure], tables: Sequence[RealTable], results: Results) -> str:
    """One row per method."""
    means = {measure.key: table_means(measure.key, tables, results) for measure in measures}
    ranks = {measure.key: mean_ranks(measure, means[measure.key]) for measure in measures}
    seconds = table_means("seconds", tables, results)
    header = ["method", "tables", *(title for one in measures for title in (one.key, "rank")), "seconds"]
    rows = []
    for method in methods_of(tables, results):
        cells = []
        for measure in measures:
            rank = ranks[measure.key].get(method)
            cells += [f"{np.nanmean(means[measure.key][method]):.4f}", "" if rank is None else f"{rank:.2f}"]
        count = np.isfinite(seconds[method]).sum()
        rows.append([method, str(count), *cells, f"{np.nanmean(seconds[method]):.3g}"])
    return markdown_table(header, rows)


def by_table(measure: Measure, tables: Sequence[RealTable], results: Results) -> str:
    """One row per table, the best in bold."""
    means = table_means(measure.key, tables, results)
    values = np.stack([*means.values()])  # (methods, tables)
    best = np.nanmax(measure.sign * values, 0, initial=-np.inf)
    rows = []
    for index, table in enumerate(tables):
        cells = ["" if np.isnan(value) else f"{value:.3f}" for value in values[:, index]]
        won = measure.sign * values[:, index] == best[index]
        rows.append([table.name, *(f"**{cell}**" if own else cell for cell, own in zip(cells, won, strict=True))])
    return markdown_table(["table", *means], rows)


def _table_list(tables: Sequence[RealTable]) -> str:
    """What the tables are."""
    rows = []
    for table in tables:
        classes = str(len(np.unique(table.y))) if table.task == CLASSIFICATION else ""
        counts = len(table.y), table.x.shape[1], len(table.x.select_dtypes("category").columns)
        rows.append([table.name, *map(str, counts), classes, str(int(table.x.isna().sum().sum()))])
    return markdown_table(("table", "rows", "columns", "categorical", "classes", "missing values"), rows)


def every_split(results: Results) -> str:
    """All scores as CSV, one row per method, table and split."""
    keys = list(dict.fromkeys(key for scores in results.scores.values() for key in scores))
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "table", "split", *keys])
    for place, scores in results.scores.items():
        writer.writerow([*place, *(scores.get(key, "") for key in keys)])
    return text.getvalue()
