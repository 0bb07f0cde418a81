"""What the network's means, spreads and probabilities are worth: recovery, contraction, reliability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorfit.evaluation.calibration import contractions, independent, test_unit, z_scores
from priorfit.evaluation.calibration_figures import shown
from priorfit.evaluation.reliability import reliability
from priorfit.evaluation.report import Report
from priorfit.evaluation.scoring import Array, Scores
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style

MOST = 300  # points per panel
MOST_RATIO, MARGIN = 100, 0.08  # of truths on a linear axis; beside the axis's ends, relative to its length


def recovery_figure(report: Report) -> Figure | None:
    """The network's mean ± 2 sd over the truth; of laws of several numbers, the first one that varies."""
    panels = [scores for scores in shown(report) if scores.probe is not None and z_scores(scores.probe) is not None]
    if not panels:
        return None
    figure, axes = _panels(panels)
    for axis, scores in zip(axes, panels, strict=True):
        _draw_recovery(axis, scores)
    axes[0].set_ylabel("network mean ± 2 sd")
    return figure


def _draw_recovery(axis: Axes, scores: Scores) -> None:
    """One panel."""
    assert scores.probe is not None
    columns = [independent(values, scores) for values in (scores.probe.truth, scores.probe.mean, scores.probe.std)]
    truth, mean, std = (values[:MOST] for values in columns if values is not None)
    first = int(np.argmax(np.nanstd(truth, 0) > 0))
    x, y = truth[:, first], mean[:, first]
    axis.errorbar(x, y, 2 * std[:, first], fmt=".", ms=3, color=NETWORK, ecolor=FAINT, elinewidth=0.5)
    low, high, scale = limits(x, y)
    axis.set(xscale=scale, yscale=scale, xlim=(low, high), ylim=(low, high), xlabel="truth")
    axis.plot([low, high], [low, high], color=REFERENCE, lw=1)
    outside = int(((np.minimum(x, y) < low) | (np.maximum(x, y) > high)).sum())
    if outside:
        note = f"{outside} of {len(x)} outside"
        axis.text(0.97, 0.03, note, transform=axis.transAxes, ha="right", fontsize=7, color=REFERENCE)


def limits(truth: Array, mean: Array) -> tuple[float, float, str]:
    """Ends and scale of both axes: heavy tails do not set them.

    The ends hold the central 99 % of truths and the central 90 % of means. The scale is "log" where all of both are
    positive and the truths are spread over more than two orders of magnitude, else "linear".
    """
    low, high = np.nanquantile(truth, [0.005, 0.995])
    positive = min(np.nanmin(truth), np.nanmin(mean)) > 0
    scale = "log" if positive and high > MOST_RATIO * low else "linear"
    to, back = (np.log, np.exp) if scale == "log" else (np.asarray, np.asarray)
    means = np.nanquantile(mean, [0.05, 0.95])
    first, last = to(min(low, means[0])), to(max(high, means[1]))
    margin = MARGIN * max(last - first, 1e-6)
    return float(back(first - margin)), float(back(last + margin)), scale


def contraction_figure(report: Report) -> Figure | None:
    """z-score of the network's mean over the posterior contraction, of every hidden number."""
    panels = [scores for scores in shown(report) if scores.probe is not None and z_scores(scores.probe) is not None]
    if not panels:
        return None
    figure, axes = _panels(panels)
    for axis, scores in zip(axes, panels, strict=True):
        assert scores.probe is not None
        pair = [independent(values, scores) for values in (contractions(scores.probe), z_scores(scores.probe))]
        x, y = (values[:MOST].ravel() for values in pair if values is not None)
        for height in (-2, 0, 2):
            axis.axhline(height, color=REFERENCE, lw=0.8, ls="-" if height == 0 else (0, (4, 3)))
        axis.plot(x, y, ".", ms=3, color=NETWORK, alpha=0.5)
        axis.set(xlim=(-0.05, 1.05), xlabel="contraction")
    axes[0].set_ylabel("z-score")
    return figure


def reliability_figure(report: Report) -> Figure | None:
    """How often the most probable class is right over its probability. None where there are no classes."""
    panels = [scores for scores in shown(report) if scores.probe is not None and scores.probe.confidence is not None]
    if not panels:
        return None
    figure, axes = _panels(panels)
    for axis, scores in zip(axes, panels, strict=True):
        assert scores.probe is not None
        assert scores.probe.confidence is not None
        assert scores.correct is not None
        curve = reliability(scores.probe.confidence, scores.correct, test_unit(scores))
        centres = (np.arange(len(curve.share)) + 0.5) / len(curve.share)
        axis.bar(centres, curve.share, 1 / len(curve.share), color=FAINT, alpha=0.35, label="share of values")
        axis.plot([0, 1], [0, 1], color=REFERENCE, lw=1)
        axis.plot(curve.confidence, curve.accuracy, "o-", ms=4, color=NETWORK, label="accuracy")
        null = "?" if np.isnan(curve.expected_error) else f"{curve.expected_error:.3f}"
        text = f"error {curve.error:.3f} (null {null})"
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", title=f"n = {scores.n_context}\n{text}")
        axis.title.set_fontsize(9)
    axes[0].set_ylabel("how often right")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _panels(panels: Sequence[Scores]) -> tuple[Figure, Sequence[Axes]]:
    """One panel per context size."""
    figure = Figure(figsize=(2.4 * len(panels) + 0.6, 2.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, scores in zip(axes, panels, strict=True):
        axis.set_title(f"n = {scores.n_context}")
        style(axis)
    return figure, axes
