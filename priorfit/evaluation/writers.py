"""A report as text, as Markdown and as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from priorfit.checkpoint_file import plain
from priorfit.evaluation.calibration_writers import calibration_cells, calibration_notes, verdict
from priorfit.evaluation.cells import Cells, Column, filled, per_cent, sample_size, with_error
from priorfit.evaluation.guides import GUIDES
from priorfit.evaluation.metrics import FEW, Row
from priorfit.evaluation.report import Report
from priorfit.evaluation.shift_writers import shift_cells, shift_conclusion, shift_notes
from priorfit.files import replacing
from priorfit.priors import Prior
from priorfit.provenance import provenance

REFERENCES = {
    "oracle": "Reference{0}: an oracle that knows each task's own latents. Gap: NLL minus reference NLL on the same "
    "values; what no data can tell is part of it, so that a perfect network has one too.",
    "posterior": "Reference{0}: the prior's own posterior ({1}). Gap: NLL minus reference NLL on the same values: the "
    "KL divergence from the reference, and 0 for a perfect network.",
}


def table(report: Report) -> str:
    """The metrics by context size, as a Markdown table that is aligned to be read as it is."""
    return markdown_table(*cells(report))


def cells(report: Report) -> Cells:
    """The metrics by context size: headers and rows, without columns that are empty."""
    return filled(report, _columns(report))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of right-aligned columns; what would break a row is replaced in its cells."""
    rows = [[cell.replace("|", "/").replace("\n", " ") for cell in row] for row in rows]
    widths = [max(2, *map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * (width - 1) + ":" for width in widths]
    lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in [header, rule, *rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _columns(report: Report) -> list[Column]:
    """Every column: its header, and its cell in a row."""
    fixed: list[Column] = [
        ("n", lambda row: str(row.n_context)),
        ("NLL", lambda row: with_error(row.nll)),
        ("reference NLL", lambda row: with_error(row.reference_nll)),
        ("gap", lambda row: with_error(row.gap)),
        ("median gap", lambda row: "" if row.median_gap is None else f"{row.median_gap:.4f}"),
    ]
    levels = [_coverage_column(index, level) for index, level in enumerate(report.settings.levels)]
    return [*fixed, ("accuracy", lambda row: per_cent(row.accuracy)), *levels, ("ESS", sample_size)]


def _coverage_column(index: int, level: float) -> Column:
    """Coverage in per cent at one level."""

    def cell(row: Row) -> str:
        return "" if row.coverage is None else per_cent(row.coverage[index])

    return f"{100 * level:g} %", cell


def notes(report: Report) -> list[str]:
    """What the columns mean and which value each would have for a perfect network, one sentence each."""
    settings, rows = report.settings, [row for _, row in report.named_rows()]
    lines = [
        f"{settings.tasks} tasks per context size n, {settings.queries} hidden values each, seed "
        f"{settings.seed}; ± is one standard error, from the spread between independent tasks.",
        "NLL: mean negative log density of the hidden values, in nats.",
    ]
    if report.parts:
        lines.append("Part: rows of one part of the prior alone, as many tasks each; all: the whole prior.")
    if any(math.isnan(row.nll.standard_error) for row in rows):
        lines.append(
            f"?: not known from a single batch, as tasks of one batch share their sizes: ask for more than "
            f"{settings.batch_size} tasks, or for smaller batches (batch_size)."
        )
    references = _references(report)
    for reference in dict.fromkeys(references.values()):
        named = [name for name, own in references.items() if own == reference]
        where = "" if len(named) == len(references) else f" ({', '.join(named)})"
        if reference is not None:
            lines.append(REFERENCES["oracle" if reference == "oracle" else "posterior"].format(where, reference))
    if any(row.accuracy for row in rows):
        lines.append("Accuracy: how often the most probable class is the hidden one, in %.")
    if any(row.coverage for row in rows):
        lines.append("Columns in %: how often central intervals hold the truth; the header is the perfect value.")
    if any(row.effective_sample_size is not None for row in rows):
        lines.append(
            "ESS: effective sample size of the reference's weighted or correlated draws, mean over the tasks. * marks "
            f"less than {FEW}: the reference itself is poor there, and the gap comes out too small."
        )
    return [*lines, *_draw_notes(report)]


def _references(report: Report, name: str = "all") -> dict[str, str | None]:
    """How the truth was known, by part."""
    own = {key: _references(part, key if name == "all" else f"{name} / {key}") for key, part in report.parts.items()}
    return {name: report.reference} | {key: value for part in own.values() for key, value in part.items()}


def _draw_notes(report: Report) -> list[str]:
    """How often the prior drew again, over all context sizes; nothing where it does not count."""
    total: Counter[str] = Counter()
    for row in report.rows:
        total.update(flat_counts(row.draws))
    if not total.total():
        return []
    counted = ", ".join(f"{name} {number}" for name, number in total.items())
    return [f"Tasks that the prior drew, and degenerate ones that it drew again, by reason: {counted}."]


def flat_counts(counts: Mapping[str, Any], prefix: str = "") -> dict[str, int]:
    """Nested counts with names such as "part: reason"."""
    flat: dict[str, int] = {}
    for name, value in counts.items():
        flat |= flat_counts(value, f"{prefix}{name}: ") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def conclusion(report: Report) -> str:
    """One line: the largest gap, or the largest NLL where there is no reference to trust."""
    row = report.worst
    if row is None:
        row = max(report.rows, key=lambda row: row.nll.mean)
        return f"Largest NLL: {with_error(row.nll)} nats at n = {row.n_context} (no trusted reference)."
    return f"Largest gap: {with_error(row.gap)} nats at n = {row.n_context} ({report.reference} reference)."


def markdown(report: Report, figures: Sequence[str]) -> str:
    """The report as a Markdown document that shows the figures, named relative to its folder."""
    sections = [
        ("Calibration", calibration_cells(report), calibration_notes(report)),
        ("Shifts of the prior", shift_cells(report), shift_notes(report)),
    ]
    parts = [
        f"# Evaluation of {report.name}",
        report.checkpoint.metadata["description"],
        changes(report),
        f"**{conclusion(report)}**",
        verdict(report),
        shift_conclusion(report),
        table(report),
        _items(notes(report)),
        *(f"## {name}\n\n{markdown_table(*found)}\n\n{_items(lines)}" for name, found, lines in sections if found),
        *(f"![{name}]({name})\n\n{GUIDES[name][1]}" for name in figures),
        origin(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def changes(report: Report) -> str:
    """A sentence that says how the prior was changed, or from which file the tasks are; empty for the prior itself."""
    if report.stored is not None:
        file = report.stored.file
        same = alike(report.checkpoint.prior, file.prior, file.context_sizes[0])
        whose = "the prior" if same else f"another prior, '{file.prior.registered_name}', than the one"
        return f"Tasks from {file.path.name} (digest {file.digest}), of {whose} that the network was trained on."
    changed = json.dumps(plain(report.settings.prior)) if report.settings.prior else ""
    return f"Changes of the prior: `{changed}`." if changed else ""


def alike(one: Prior, other: Prior, n_context: int) -> bool:
    """Whether two priors are the same but for the sizes of their tasks."""
    try:
        first, second = (prior.with_context(n_context, 1) for prior in (one, other))
    except ValueError:  # tasks of that size are not for both
        return False
    return (first.registered_name, first.arguments) == (second.registered_name, second.arguments)


def _items(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def origin(report: Report) -> str:
    """One paragraph: which weights, which versions, when, how long."""
    facts, weights = provenance(), report.checkpoint.metadata["weights_sha256"][:12]
    versions = f"priorfit {facts['priorfit']}, torch {facts['torch']}, on {report.settings.device}"
    when = f"{facts['created']}, {report.seconds:.0f} s"
    return f"Weights {weights}; {versions}; {when}. All numbers: report.json."


def write_report(report: Report, folder: Path, figures: Sequence[str]) -> None:
    """Writes report.json and report.md into `folder`, each of them whole or not at all."""
    document = {**report.document(), "figures": list(figures)}
    write_text(folder / "report.json", json.dumps(document, indent=2, allow_nan=False) + "\n")
    write_text(folder / "report.md", markdown(report, figures))


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish(table: str, tasks: int, queries: int, output: Path | None) -> None:
    """Prints a table of negative log likelihoods, and writes it where there is an `output`.

    Args:
        table: as Markdown.
        tasks: behind each number.
        queries: scored per task.
        output: the file, or None.
    """
    title = f"NLL in nats per query, {tasks} tasks of {queries} queries; ± is one standard error."
    print(f"\n{title}\n\n{table}")
    if output:
        write_text(output, f"{title}\n\n{table}\n")
