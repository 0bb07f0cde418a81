"""Figures of a report. They are drawn without pyplot: no windows, no global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorfit.evaluation.calibration_figures import coverage_figure, pit_figure, tarp_figure
from priorfit.evaluation.curve_figure import curve_figure
from priorfit.evaluation.jump_figure import jump_figure
from priorfit.evaluation.latent_figure import latent_figure
from priorfit.evaluation.metrics import Estimate, Row
from priorfit.evaluation.posterior_figure import posterior_figure
from priorfit.evaluation.recovery_figures import contraction_figure, recovery_figure, reliability_figure
from priorfit.evaluation.report import Report
from priorfit.evaluation.shift_figure import shift_figure
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style
from priorfit.files import replacing


def write_figures(report: Report, folder: Path) -> list[str]:
    """Writes every figure that the report has data for; returns the files' names."""
    tasks = (posterior_figure, curve_figure, latent_figure, jump_figure)
    drawn_tasks = (draw(report) for draw in tasks)
    figures = {
        "gap.png": gap_figure(report),
        "posterior.png": next((figure for figure in drawn_tasks if figure is not None), None),
        "pit.png": pit_figure(report),
        "coverage.png": coverage_figure(report),
        "tarp.png": tarp_figure(report),
        "recovery.png": recovery_figure(report),
        "contraction.png": contraction_figure(report),
        "reliability.png": reliability_figure(report),
        "shifts.png": shift_figure(report),
    }
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in drawn.items():
        with replacing(folder / name) as temporary:
            figure.savefig(temporary, format="png", dpi=150)
    return list(drawn)


def gap_figure(report: Report) -> Figure:
    """Gap by context size (where there is a reference) and NLL beside the reference's; bars are ±2 s.e."""
    rows = report.rows
    with_gap = report.reference is not None
    figure = Figure(figsize=(9.6 if with_gap else 5.2, 3.8), layout="constrained")
    axes = figure.subplots(1, 2 if with_gap else 1, squeeze=False)[0]
    if with_gap:
        _draw_gap(axes[0], rows, "an oracle" if report.reference == "oracle" else f"the posterior ({report.reference})")
    _draw_nll(axes[-1], rows)
    for axis in axes:
        axis.set_xticks(range(len(rows)), [str(row.n_context) for row in rows])
        axis.set_xlabel("context size n")
        style(axis)
    return figure


def _draw_gap(axis: Axes, rows: Sequence[Row], reference: str) -> None:
    """The gap by context size, over a line at zero."""
    axis.axhline(0, color=REFERENCE, lw=1)
    _bars(axis, [row.gap for row in rows], color=NETWORK, fmt="o-", label="mean ± 2 s.e.")
    medians = [np.nan if row.median_gap is None else row.median_gap for row in rows]
    axis.plot(range(len(rows)), medians, "_", color=NETWORK, ms=12, mew=1.5, alpha=0.6, label="median task")
    axis.set_title(f"Gap to {reference}")
    axis.set_ylabel("nats per hidden value")
    axis.legend(frameon=False)


def _draw_nll(axis: Axes, rows: Sequence[Row]) -> None:
    """NLL of network and reference by context size."""
    _bars(
        axis,
        [row.reference_nll for row in rows],
        color=REFERENCE,
        fmt="s--",
        mfc="white",
        ms=7,
        label="reference",
    )
    _bars(axis, [row.nll for row in rows], color=NETWORK, fmt="o-", ms=4, label="network")
    axis.set_title("Negative log density")
    axis.set_ylabel("nats per hidden value")
    axis.legend(frameon=False)


def _bars(axis: Axes, estimates: Sequence[Estimate | None], **options: object) -> None:
    """Means with bars of two standard errors, at 0, 1, 2, …; sizes without an estimate stay empty."""
    present = [(x, e.mean, 2 * np.nan_to_num(e.standard_error)) for x, e in enumerate(estimates) if e]
    if present:
        x, mean, error = zip(*present, strict=True)
        axis.errorbar(x, mean, error, lw=1.5, elinewidth=1.2, capsize=3, ecolor=FAINT, **options)  # type: ignore[arg-type]
