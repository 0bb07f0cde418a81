"""Distribution functions of what should be uniform, less the uniform one, inside bands that hold all points at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorfit.evaluation.calibration import central_levels, independent
from priorfit.evaluation.posterior_figure import panel_sizes
from priorfit.evaluation.report import Report
from priorfit.evaluation.scoring import Array, Scores
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style
from priorfit.evaluation.uniformity import COVERAGE, band, levels, present, shares, uniformity

Curve = Callable[[Scores], Array | None]


def pit_figure(report: Report) -> Figure | None:
    """ECDF-difference of the probability integral transforms; one curve per hidden number."""
    return _differences(report, {"PIT": (NETWORK, _transform)}, "cdf at the truth, u", "share at or below u, less u")


def coverage_figure(report: Report) -> Figure | None:
    """Coverage of central intervals and of highest-density regions, less the nominal one. None for classes."""
    central = {} if _has_classes(report) else {"central interval": (NETWORK, _central)}
    curves = {**central, "densest region": (REFERENCE, _densest)}
    return _differences(report, curves, "nominal coverage", "coverage, less nominal")


def tarp_figure(report: Report) -> Figure | None:
    """Expected coverage of balls around reference points, less the nominal one."""
    return _differences(report, {"TARP": (NETWORK, _tarp)}, "nominal coverage", "coverage, less nominal")


def shown(report: Report) -> list[Scores]:
    """The scores of at most four context sizes."""
    sizes = panel_sizes([row.n_context for row in report.rows])
    return [scores for scores in report.scores if scores.n_context in sizes]


def _has_classes(report: Report) -> bool:
    return any(scores.probe is not None and scores.probe.confidence is not None for scores in report.scores)


def _transform(scores: Scores) -> Array | None:
    return None if scores.probe is None else independent(scores.probe.transform, scores)


def _central(scores: Scores) -> Array | None:
    return central_levels(_transform(scores))


def _densest(scores: Scores) -> Array | None:
    return None if scores.probe is None else independent(scores.probe.highest_density, scores)


def _tarp(scores: Scores) -> Array | None:
    return None if scores.probe is None else independent(scores.probe.tarp, scores)


def _differences(report: Report, curves: Mapping[str, tuple[str, Curve]], x_label: str, y_label: str) -> Figure | None:
    """One panel per context size; None where there is nothing to draw."""
    panels = {one.n_context: {name: (color, of(one)) for name, (color, of) in curves.items()} for one in shown(report)}
    panels = {
        n_context: {name: (color, values) for name, (color, values) in own.items() if values is not None}
        for n_context, own in panels.items()
    }
    if not any(panels.values()):
        return None
    figure = Figure(figsize=(2.4 * len(panels) + 0.6, 2.9), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (n_context, own) in zip(axes, panels.items(), strict=True):
        for name, (color, values) in own.items():
            draw_difference(axis, name, color, values)
        n_values = draw_band(axis, *(values for _, values in own.values())) if own else 0
        axis.set_title(f"n = {n_context}\nN = {n_values}, " + _p_values(own), fontsize=9)
        axis.set_xlabel(x_label)
        style(axis)
    axes[0].set_ylabel(y_label)
    handles, labels = axes[0].get_legend_handles_labels()
    kept = dict(zip(labels, handles, strict=True))
    columns = min(len(kept), len(panels))  # of the legend: more would not fit into the width
    figure.legend(kept.values(), kept.keys(), loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _p_values(curves: Mapping[str, tuple[str, Array]]) -> str:
    """The p-value of each curve."""
    return "p = " + ", ".join(f"{uniformity(values).p_value:.2g}" for _, values in curves.values())


def draw_difference(axis: Axes, name: str, color: str, values: Array) -> None:
    """One curve per column of values (N, D)."""
    for index, column in enumerate(columns := present(values)):
        label = name if index == 0 else None
        x = levels()
        axis.step(x, shares(column) - x, color=color, lw=1.2, alpha=1 if len(columns) == 1 else 0.5, label=label)


def draw_band(axis: Axes, *curves: Array) -> int:
    """The band, as wide as the number of columns of one curve asks for; returns N."""
    columns = [present(values) for values in curves]
    n_values, x = min(len(own[0]) for own in columns), levels()
    low, high = band(n_values, 1 - (1 - COVERAGE) / max(map(len, columns)))
    axis.fill_between(
        x, low - x, high - x, color=FAINT, alpha=0.2, lw=0, label=f"{COVERAGE:.0%} band, all points at once"
    )
    axis.axhline(0, color=REFERENCE, lw=0.8)
    return n_values
