"""What stands in the cells of a report's tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from priorfit.evaluation.estimates import Estimate
from priorfit.evaluation.metrics import FEW, Row
from priorfit.evaluation.report import Report

Column = tuple[str, Callable[[Row], str]]  # header, and the cell of each row
Cells = tuple[list[str], list[list[str]]]  # headers, rows


def filled(report: Report, columns: Sequence[Column]) -> Cells:
    """The columns that are not empty in all rows, after the names of the prior's parts."""
    rows = list(report.named_rows())
    columns = [column for column in columns if any(column[1](row) for _, row in rows)]
    header, found = [name for name, _ in columns], [[cell(row) for _, cell in columns] for _, row in rows]
    if report.parts:
        header, found = ["part", *header], [[name or "all", *own] for (name, _), own in zip(rows, found, strict=True)]
    return header, found


def with_error(estimate: Estimate | None, digits: int = 4) -> str:
    """ "mean ± standard error", with ? for an error that is not known, or nothing."""
    if estimate is None:
        return ""
    error = "?" if math.isnan(estimate.standard_error) else f"{estimate.standard_error:.{digits}f}"
    return f"{estimate.mean:.{digits}f} ± {error}"


def per_cent(share: Estimate | None) -> str:
    """A share in per cent."""
    return "" if share is None else with_error(Estimate(100 * share.mean, 100 * share.standard_error), 1)


def sample_size(row: Row) -> str:
    """The reference's effective sample size, marked where it is too small to trust."""
    size = row.effective_sample_size
    return "" if size is None else f"{size:.0f}" + ("*" if size < FEW else "")
