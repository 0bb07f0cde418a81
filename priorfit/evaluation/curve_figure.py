"""Learning curves of a prior and what the network makes of their beginnings."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorfit.evaluation.posterior_figure import panel_sizes
from priorfit.evaluation.quantiles import quantile
from priorfit.evaluation.report import Report
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style
from priorfit.models import Network
from priorfit.priors import Curves, Prior, Task
from priorfit.training.task_stream import EVALUATION, task_generator

ALL = 10_000  # queries asked for: every later step
CURVES = 3  # per context size
BANDS = {"90 %": (0.05, 0.95, 0.16), "50 %": (0.25, 0.75, 0.3)}  # lower and upper level, opacity


def curve_figure(report: Report) -> Figure | None:
    """The network's median and central bands on drawn curves, three for each of up to four context sizes.

    None where the prior does not draw curves that are observed from their beginning.
    """
    sizes = panel_sizes([row.n_context for row in report.rows])
    if not isinstance(_draw(report, sizes[0], 1).observed, Curves):  # one query: of other priors many would be costly
        return None
    tasks = [_draw(report, n_context, ALL) for n_context in sizes]
    figure = Figure(figsize=(9.6, 2.4 * len(sizes) + 0.4), layout="constrained")
    axes = figure.subplots(len(sizes), CURVES, squeeze=False, sharex=True)
    for row, n_context, task in zip(axes, sizes, tasks, strict=True):
        for index, axis in enumerate(row):
            draw_curve(axis, report.checkpoint.network, task, index)
        row[0].set_ylabel(f"n = {n_context}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    for axis in axes[-1]:
        axis.set_xlabel("step")
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw(report: Report, n_context: int, n_query: int) -> Task:
    """A few tasks."""
    prior: Prior = report.prior.with_context(n_context, n_query)
    generator = task_generator(report.settings.seed, EVALUATION, 1, n_context, report.settings.device)
    return prior.sample(CURVES, generator=generator)


@torch.inference_mode()
def draw_curve(axis: Axes, network: Network, task: Task, index: int) -> None:
    """One panel: what is seen of a curve, what came later, and the network's bands."""
    one = Curves(*(part[index : index + 1] for part in task.observed))
    predicted, steps = network(*one), one.query_steps[0].cpu()
    for label, (low, high, opacity) in BANDS.items():
        below, above = (quantile(predicted, level)[0].cpu() for level in (low, high))
        axis.fill_between(steps, below, above, color=NETWORK, alpha=opacity, lw=0, label=f"network, {label}")
    axis.plot(steps, quantile(predicted, 0.5)[0].cpu(), color=NETWORK, lw=1.5, label="network median")
    if task.law is not None:
        axis.plot(steps, task.law.mean[index].cpu(), color=REFERENCE, lw=1, ls=(0, (4, 3)), label="without noise")
    axis.plot(steps, task.hidden[index].cpu(), ".", ms=3, color=FAINT, label="hidden")
    n_seen = int(one.visible[0, 0])
    axis.plot(one.steps[0, :n_seen].cpu(), one.values[0, :n_seen].cpu(), "o", ms=3, color="black", label="observed")
    style(axis)
