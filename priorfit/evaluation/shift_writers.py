"""What was measured under shifts of the prior as a table, as notes and as one line."""

from __future__ import annotations

from collections.abc import Callable

from priorfit.evaluation.cells import Cells, per_cent, sample_size, with_error
from priorfit.evaluation.report import Report
from priorfit.evaluation.shifts import BEYOND, LEVEL, UNSHIFTED, Shifted
from priorfit.prior_check import RARE

Columns = dict[str, Callable[[Shifted], str]]  # from headers to the cell of a row

COLUMNS: Columns = {
    "n": lambda one: str(one.row.n_context),
    "NLL": lambda one: with_error(one.row.nll),
    "reference NLL": lambda one: with_error(one.row.reference_nll),
    "gap": lambda one: with_error(one.row.gap),
    "gap, unshifted": lambda one: with_error(one.unshifted.gap),
    "gap, exact": lambda one: with_error(one.unaware),
    "accuracy": lambda one: per_cent(one.row.accuracy),
    f"{100 * LEVEL:g} %": lambda one: "" if one.row.coverage is None else per_cent(one.row.coverage[0]),
    "flagged %": lambda one: per_cent(one.flagged),
    "ESS": lambda one: sample_size(one.row),
}


def shift_cells(report: Report) -> Cells | None:
    """Every shift by context size, without columns that are empty; None where no shift was measured."""
    rows = [(name, one) for name, shift in report.shifts.items() for one in shift.sizes]
    if not shifts_of(report):
        return None
    columns = {header: cell for header, cell in COLUMNS.items() if any(cell(one) for _, one in rows)}
    return ["shift", *columns], [[name, *(cell(one) for cell in columns.values())] for name, one in rows]


def shifts_of(report: Report) -> list[tuple[str, Shifted]]:
    """The name and the metrics of every shift and context size, without those of the prior itself."""
    return [(name, one) for name, shift in report.shifts.items() if name != UNSHIFTED for one in shift.sizes]


def shift_notes(report: Report) -> list[str]:
    """What the table says, one sentence each."""
    shifted = shifts_of(report)
    tasks = min(report.settings.shift_tasks, report.settings.tasks)
    lines = [
        f"{tasks} tasks per shift and context size, from the prior with one thing changed, by the same network. Shifts "
        "are no part of the verdict on calibration.",
    ]
    if any(one.row.gap for _, one in shifted):
        lines.append(
            "Gap: to the reference of the shifted prior. Null value: the gap, unshifted, of the prior itself "
            "at the same n."
        )
    if report.reference == "oracle":
        lines.append(
            "What no data can tell is part of a gap to an oracle, and shifts change that part, too: see coverage."
        )
    if any(one.unaware for _, one in shifted):
        lines.append(
            "Gap, exact: that of the prior's own posterior, which does not know of the shift either. A perfect network "
            "has just this gap; it is 0 where what is observed tells of the shift."
        )
    if any(one.flagged for _, one in shifted):
        lines.append(
            "Flagged: tasks that the checkpoint's check finds unlike anything that the prior draws, in %; about "
            f"{100 * RARE:g} where nothing is shifted."
        )
    if BEYOND in report.shifts:
        largest = max(row.n_context for row in report.rows)
        lines.append(f"{BEYOND.capitalize()}: the prior itself, held against n = {largest}.")
    refused = [(name, shift.refused) for name, shift in report.shifts.items() if shift.refused]
    return [*lines, *(f"Not measured further: {name}, as it was refused. {reason}" for name, reason in refused)]


def shift_conclusion(report: Report) -> str:
    """One line: where the gap grows most or, without gaps, where coverage is farthest; empty without shifts."""
    shifted = shifts_of(report)
    grown = [(one.growth, name, one) for name, one in shifted if one.growth is not None]
    if grown:
        _, name, one = max(grown, key=lambda each: each[0])
        gaps = f"{with_error(one.row.gap)} nats in place of {with_error(one.unshifted.gap)}"
        return f"Largest growth under shifts: gap {gaps} at n = {one.row.n_context} ({name})."
    covered = [(abs(one.row.coverage[0].mean - LEVEL), name, one) for name, one in shifted if one.row.coverage]
    if not covered:
        return ""
    _, name, one = max(covered, key=lambda each: each[0])
    found, null = ("" if row.coverage is None else per_cent(row.coverage[0]) for row in (one.row, one.unshifted))
    where = f"at n = {one.row.n_context} ({name})"
    return f"Farthest from {100 * LEVEL:g} % coverage under shifts: {found} %, in place of {null} %, {where}."
