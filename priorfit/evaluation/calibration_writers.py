"""The calibration of a report as a table, as notes and as one line."""

from __future__ import annotations

from collections.abc import Callable

from priorfit.evaluation.calibration import TESTS, Calibration
from priorfit.evaluation.cells import Cells, Column, filled, with_error
from priorfit.evaluation.report import Report
from priorfit.evaluation.uniformity import Uniformity

SMALLEST = 0.0001  # p-value that is shown as a number
FEWEST = 100  # tasks: of 24 tests, 2 in 3 then see standard deviations that are 30 % too small; of 40 tasks 1 in 7 does


def calibration_cells(report: Report) -> Cells | None:
    """The same of the diagnostics of calibration; None without any."""
    if not any(row.calibration for _, row in report.named_rows()):
        return None
    return filled(report, [("n", lambda row: str(row.n_context)), *_calibration_columns(report)])


def _calibration_columns(report: Report) -> list[Column]:
    """Every column of the table of calibration; what stands in brackets is the null value."""
    names = {row.calibration.score_name for row in report.rows if row.calibration and row.calibration.score_name}
    score = ", ".join(sorted(names)) or "score"

    def column(header: str, show: Callable[[Calibration], str]) -> Column:
        return header, lambda row: "" if row.calibration is None else show(row.calibration)

    return [
        column("N", lambda own: "" if own.transform is None else str(own.transform.values)),
        column(score, lambda own: with_error(own.score)),
        column("excess (0)", lambda own: with_error(own.excess)),
        *(column(f"p: {label}", _p_value(name)) for name, label in TESTS.items()),
        column("error, central", lambda own: _with_null(own.central, 3)),
        column("error, densest", lambda own: _with_null(own.highest_density, 3)),
        column("z (0)", lambda own: with_error(own.z_mean, 3)),
        column("z² (1)", lambda own: with_error(own.z_square, 3)),
        column("contraction", lambda own: "" if own.contraction is None else f"{own.contraction:.3f}"),
        column("R²", lambda own: _pair(own.r_squared, own.expected_r_squared)),
        column("ECE", lambda own: _pair(own.expected_calibration_error, own.null_calibration_error)),
    ]


def _p_value(name: str) -> Callable[[Calibration], str]:
    """The p-value of one test."""

    def show(own: Calibration) -> str:
        test = getattr(own, name)
        return "" if test is None else (f"{test.p_value:.4f}" if test.p_value >= SMALLEST else f"< {SMALLEST}")

    return show


def _with_null(test: Uniformity | None, digits: int) -> str:
    """A calibration error and its null expectation."""
    return "" if test is None else f"{test.error:.{digits}f} ({test.expected_error:.{digits}f})"


def _pair(value: float | None, null: float | None) -> str:
    """A number and its null value, ? where that is not known."""
    return "" if value is None else f"{value:.3f} ({'?' if null is None else f'{null:.3f}'})"


def calibration_notes(report: Report) -> list[str]:
    """What the columns of the table of calibration mean, one sentence each."""
    found = [row.calibration for _, row in report.named_rows() if row.calibration]
    lines = [
        "Numbers in brackets are null values: what a calibrated network has on average, which for errors is not 0.",
        f"Tests look at one hidden value of each of N independent tasks, with {report.settings.draws} draws of the "
        "network's distribution; of p-values of a calibrated network 5 in 100 are below 0.05.",
    ]
    if any(own.score for own in found):
        lines.append("Excess: score less what it would be if the truths were drawn from the network's distributions.")
    if any(own.central for own in found):
        lines.append("Error: mean over all levels of |coverage - level|, of central intervals and of densest regions.")
    if any(own.z_mean for own in found):
        lines.append(
            "z: mean error of the network's mean in its standard deviations, and its mean square. Contraction: median "
            "of 1 - variance / variance of the truths. R²: of the network's mean; in brackets as its variances promise."
        )
    if report.parts:
        lines.append(
            "A network that is right for the whole prior is not calibrated on each part, as it cannot be sure which "
            "part a task is from: null values hold for the whole."
        )
    if any(own.expected_calibration_error is not None for own in found):
        lines.append("ECE: expected calibration error of the most probable class's probability, in 15 bins.")
    return lines


def verdict(report: Report) -> str:
    """One line: the smallest p-value of the whole prior's tests, and that times their number; empty without tests."""
    p_values = [
        (p_value, f"{label} at n = {row.n_context}")
        for row in report.rows
        for label, p_value in (row.calibration.p_values() if row.calibration else {}).items()
    ]
    if not p_values:
        return ""
    smallest, where = min(p_values)
    corrected = min(1.0, smallest * len(p_values))
    found = "evidence of miscalibration" if corrected < 0.05 else "no evidence of miscalibration"
    n_values = fewest_values(report)
    if corrected >= 0.05 and n_values < FEWEST:
        found = f"too few independent tasks to judge (N = {n_values}); ask for more, or for smaller batches"
    return f"Calibration: {found} (smallest p of {len(p_values)} tests, {where}, times their number: {corrected:.2g})."


def fewest_values(report: Report) -> int:
    """N of the test of the whole prior that has the fewest independent tasks."""
    tests = (getattr(row.calibration, name) for row in report.rows if row.calibration for name in TESTS)
    return min(test.values for test in tests if test is not None)
