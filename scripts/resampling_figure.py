"""The figure of the study of predictive resampling: posteriors, and the drift of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style
from priorfit.predictors import MartingaleDefect
from priorfit.predictors.martingale_defect import LEVELS

MEDIAN = LEVELS.index(0.5)
COLORS = {"exact": REFERENCE, "network": NETWORK}


def draw_figure(results: Mapping[tuple[str, int, str], Mapping[str, Any]]) -> Figure:
    """One row per model, of its first data set: the posterior of each parameter, then drifts.

    Args:
        results: outcomes (see `scripts.study_resampling`) by model, data set and predictions, then by parameter.
    """
    models = list(dict.fromkeys(model for model, _, _ in results))
    figure = Figure(figsize=(11, 3.1 * len(models) + 0.4), layout="constrained")
    grid = figure.subplots(len(models), 3, squeeze=False)
    for axes, model in zip(grid, models, strict=True):
        outcomes = {label: results[model, 1, label] for label in COLORS}
        for axis, name in zip(axes, outcomes["network"], strict=False):
            _draw_posterior(axis, f"{model}: {name}", {label: own[name] for label, own in outcomes.items()})
        defects = {label: next(iter(own.values())).defect for label, own in outcomes.items()}
        _draw_drift(axes[-1], defects)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw_posterior(axis: Axes, title: str, outcomes: Mapping[str, Any]) -> None:
    """Draws as histograms over the exact posterior."""
    mean, std = outcomes["network"].posterior
    values = [mean - 4 * std, mean + 4 * std, *(part.draws for part in outcomes.values())]
    line = np.linspace(np.hstack(values).min(), np.hstack(values).max(), 200)
    bins = np.linspace(line[0], line[-1], 25).tolist()
    axis.hist(outcomes["network"].draws, bins, density=True, color=NETWORK, alpha=0.4, label="draws with the network")
    axis.hist(
        outcomes["exact"].draws,
        bins,
        density=True,
        histtype="step",
        color=FAINT,
        label="draws with the exact predictive",
    )
    axis.plot(line, norm.pdf(line, mean, std), color=REFERENCE, lw=1.4, label="exact posterior")
    axis.set(title=title, yticks=[])
    axis.locator_params(axis="x", nbins=5)
    style(axis)


def _draw_drift(axis: Axes, defects: Mapping[str, MartingaleDefect]) -> None:
    """Drift of the probability below the first median at each probe, with two mean standard errors of the network's."""
    for label, defect in defects.items():
        lines = axis.plot(defect.horizons, defect.drift[:, :, MEDIAN], color=COLORS[label], lw=0.9)
        lines[0].set_label(label)
    last = defects["network"]
    error = 2 * last.standard_error[:, :, MEDIAN].mean(1)
    axis.fill_between(last.horizons, -error, error, color=FAINT, alpha=0.25, lw=0, label="± 2 s.e.")
    axis.legend(frameon=False, fontsize="small", loc="upper left")
    axis.set(xscale="log", xlabel="rows drawn", title="drift of P(y below its first median)")
    style(axis)
