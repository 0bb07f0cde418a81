"""The picture that says most: the network's posterior band and the reference's, on the same drawn tasks.

Letters: G points of a grid over the input range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import Distribution

from priorfit.evaluation.quantiles import quantile
from priorfit.evaluation.report import Report
from priorfit.evaluation.settings import spread_out
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style
from priorfit.models import Network
from priorfit.priors import Prior, Regression, Task
from priorfit.priors.regression_prior import RegressionPrior
from priorfit.training.task_stream import EVALUATION, task_generator

PANELS, GRID, HELD_OUT = 4, 200, 40
AT_ONCE = 20  # grid points per reference call: a sampled reference holds (n + points)² numbers per draw
LOW, MIDDLE, HIGH = 0.05, 0.5, 0.95


class Band(NamedTuple):
    """A predictive distribution along the grid, each (G,); no edges where it cannot be inverted."""

    label: str  # what the centre is
    centre: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None


def posterior_figure(report: Report) -> Figure | None:
    """The network's median and 90 % band over the reference's mean and band, for tasks of up to four sizes.

    None where the prior does not draw functions of one feature.
    """
    prior = report.prior
    if not isinstance(prior, RegressionPrior) or prior.sizes.features[0] > 1:
        return None
    sizes = panel_sizes([row.n_context for row in report.rows])
    figure = Figure(figsize=(9.6, 3.4 * -(-len(sizes) // 2)), layout="constrained")
    axes = figure.subplots(-(-len(sizes) // 2), 2, squeeze=False, sharex=True, sharey=True)
    for axis, n_context in zip(axes.flatten(), sizes, strict=False):
        _draw_task(axis, report, prior.with_sizes(features=1).with_context(n_context, HELD_OUT), n_context)
    for axis in axes.flatten()[len(sizes) :]:
        axis.remove()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def panel_sizes(sizes: Sequence[int]) -> list[int]:
    """At most four of the sizes, from the smallest that is not empty to the largest."""
    return spread_out(sizes, PANELS)


@torch.inference_mode()
def _draw_task(axis: Axes, report: Report, prior: Prior, n_context: int) -> None:
    """One panel: a task of `prior`, the network's band and the reference's."""
    settings = report.settings
    generator = task_generator(settings.seed, EVALUATION, 1, n_context, settings.device)
    task = prior.sample(1, generator=generator)
    x_context, y_context, x_held_out = task.observed
    both = torch.cat([x_context, x_held_out], 1)
    grid = torch.linspace(float(both.min()), float(both.max()), GRID, device=both.device)
    x, asked = grid.cpu().numpy(), Regression(x_context, y_context, grid[None, :, None])
    _draw_band(axis, x, _network_band(report.checkpoint.network, asked))
    if prior.reference is not None:
        _draw_reference(axis, x, _reference_band(prior, asked))
    axis.plot(x_held_out.flatten().cpu(), task.hidden.flatten().cpu(), ".", ms=3.5, color=FAINT, label="held out")
    axis.plot(x_context.flatten().cpu(), y_context.flatten().cpu(), "o", ms=4.5, color="black", label="context")
    axis.set(title=f"n = {n_context}", xlabel="x", ylabel="y")
    axis.label_outer()
    style(axis)


def _draw_band(axis: Axes, x: np.ndarray, band: Band) -> None:
    """The network's median and band."""
    if band.low is not None and band.high is not None:
        axis.fill_between(x, band.low, band.high, color=NETWORK, alpha=0.22, lw=0, label="network, 90 %")
    axis.plot(x, band.centre, color=NETWORK, lw=1.8, label=band.label)


def _draw_reference(axis: Axes, x: np.ndarray, band: Band) -> None:
    """The reference's mean and the edges of its band."""
    for edge, label in ((band.low, "reference, 90 %"), (band.high, None)):
        if edge is not None:
            axis.plot(x, edge, color=REFERENCE, lw=1, ls=(0, (4, 3)), label=label)
    axis.plot(x, band.centre, color=REFERENCE, lw=1, label=band.label)


def _network_band(network: Network, asked: Regression) -> Band:
    """Median and band; the mean where the distribution cannot be inverted."""
    predicted = network(*asked)
    low, middle, high = _levels(predicted, (LOW, MIDDLE, HIGH))
    if middle is None:
        return Band("network mean", _flat(predicted.mean), None, None)
    return Band("network median", middle, low, high)


def _reference_band(prior: Prior, asked: Regression) -> Band:
    """Mean and band of the reference, a few grid points at a time."""
    parts = []
    for x_query in asked.x_query.split(AT_ONCE, 1):
        hidden = x_query.new_zeros(x_query.shape[:2])
        reference = prior.posterior(Task(asked._replace(x_query=x_query), hidden))
        parts.append((_flat(reference.mean), *_levels(reference, (LOW, HIGH))))
    centre, low, high = (None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True))
    assert centre is not None
    return Band("reference mean", centre, low, high)


def _levels(distribution: Distribution, levels: Sequence[float]) -> list[np.ndarray | None]:
    """Quantiles, or None where the distribution has neither icdf nor cdf."""
    try:
        return [_flat(quantile(distribution, level)) for level in levels]
    except NotImplementedError:
        return [None for _ in levels]


def _flat(values: Tensor) -> np.ndarray:
    return values.flatten().cpu().numpy()
