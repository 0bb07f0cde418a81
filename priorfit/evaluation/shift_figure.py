"""The gap under every shift of the prior beside that of the prior itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorfit.evaluation.estimates import Estimate
from priorfit.evaluation.report import Report
from priorfit.evaluation.shift_writers import shifts_of
from priorfit.evaluation.shifts import LEVEL, Shifted
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style

FAR = 10  # ratio of the largest to the middle gap from which on the axis is logarithmic far from 0
Measure = Callable[[Shifted], tuple[Estimate | None, Estimate | None]]  # under the shift, and of the prior itself


def shift_figure(report: Report) -> Figure | None:
    """One panel per context size; without gaps the coverage of central intervals. None where there is neither."""
    names, panels = _panels(report)
    with_gap = any(one.row.gap for panel in panels.values() for one in panel.values())
    measure = _gap if with_gap else _coverage
    if not any(measure(one)[0] for panel in panels.values() for one in panel.values()):
        return None
    figure = Figure(figsize=(2.6 + 2.4 * len(panels), 1.3 + 0.26 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True, sharex=True)[0]
    for axis, (n_context, panel) in zip(axes, panels.items(), strict=True):
        _draw(axis, names, panel, measure)
        axis.set_title(f"n = {n_context}")
        axis.set_xlabel("gap, nats" if with_gap else f"coverage of {LEVEL:.0%} intervals")
        style(axis)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    if with_gap:
        _set_scale(axes[0], [measure(one)[0] for panel in panels.values() for one in panel.values()])
    labelled = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _panels(report: Report) -> tuple[list[str], Mapping[int, dict[str, Shifted]]]:
    """The names of all shifts, and what was measured of them by the context size that they are compared with."""
    panels: dict[int, dict[str, Shifted]] = {}
    for name, one in shifts_of(report):
        n_context, null = one.row.n_context, one.unshifted.n_context
        panels.setdefault(null, {})[name if n_context == null else f"{name}, n = {n_context}"] = one
    return list(dict.fromkeys(name for panel in panels.values() for name in panel)), dict(sorted(panels.items()))


def _gap(one: Shifted) -> tuple[Estimate | None, Estimate | None]:
    return one.row.gap, one.unshifted.gap


def _coverage(one: Shifted) -> tuple[Estimate | None, Estimate | None]:
    return tuple(None if row.coverage is None else row.coverage[0] for row in (one.row, one.unshifted))  # type: ignore[return-value]


def _draw(axis: Axes, names: list[str], panel: Mapping[str, Shifted], measure: Measure) -> None:
    """One panel: a point per shift, over the line of the prior itself."""
    null = next(measure(one)[1] for one in panel.values())
    if null is not None:
        axis.axvline(null.mean, color=REFERENCE, lw=1, label="unshifted")
    for row, name in enumerate(names):
        found = measure(panel[name])[0] if name in panel else None
        if found is None:
            continue
        axis.errorbar(
            found.mean, row, xerr=2 * found.standard_error, fmt="o", ms=4.5, color=NETWORK, ecolor=FAINT, capsize=2.5,
            label="network ± 2 s.e.",
        )  # fmt: skip
        exact = panel[name].unaware
        if exact is not None and measure is _gap:
            axis.plot(exact.mean, row, "D", ms=6, mfc="none", color=REFERENCE, label="the prior's own posterior")


def _set_scale(axis: Axes, gaps: list[Estimate | None]) -> None:
    """Logarithmic beyond the middle gap where some are far larger; gaps near 0 and below stay in sight."""
    sizes = sorted(abs(gap.mean) for gap in gaps if gap is not None)
    middle = sizes[len(sizes) // 2]
    if sizes[-1] > FAR * middle > 0:
        axis.set_xscale("symlog", linthresh=middle)
