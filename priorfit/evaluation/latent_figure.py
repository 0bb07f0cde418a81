"""What the network makes of latent vectors: densities where they are single numbers, else recovery.

Letters: d latent dimensions, G points of a grid.
"""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.distributions import Distribution

from priorfit.evaluation.posterior_figure import panel_sizes
from priorfit.evaluation.report import Report
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style
from priorfit.priors import Evidence, Prior, Task
from priorfit.training.task_stream import EVALUATION, task_generator

COLUMNS = 3  # tasks of one size, or latent dimensions
TASKS, GRID = 60, 300
EDGES = (0.005, 0.98)  # levels between which densities are drawn: some have long upper tails
LOW, MIDDLE, HIGH = 0.05, 0.5, 0.95


def latent_figure(report: Report) -> Figure | None:
    """For up to four numbers of observations: the posteriors of three tasks, or the first latents of sixty.

    Latents of one number: densities of prior, network and reference, and the true value. Others: the network's
    median and 90 % interval against the true value. None where the prior's tasks are not about a latent vector.
    """
    sizes = panel_sizes([row.n_context for row in report.rows])
    first = _draw(report, sizes[0], 1)
    if not isinstance(first.observed, Evidence):
        return None
    single = first.hidden.shape[-1] == 1
    columns = COLUMNS if single else min(COLUMNS, first.hidden.shape[-1])
    figure = Figure(figsize=(3.2 * columns, 2.4 * len(sizes) + 0.4), layout="constrained")
    axes = figure.subplots(len(sizes), columns, squeeze=False)
    for row, n_context in zip(axes, sizes, strict=True):
        task = _draw(report, n_context, COLUMNS if single else TASKS)
        (_draw_densities if single else _draw_recovery)(row, report, task)
        row[0].set_ylabel(f"n = {n_context}\n{'density' if single else 'posterior'}")
    for index, axis in enumerate(axes[-1]):
        axis.set_xlabel("latent" if single else f"true latent {index + 1}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw(report: Report, n_context: int, n_tasks: int) -> Task:
    """A few tasks of one size."""
    prior: Prior = report.prior.with_context(n_context, 1)
    generator = task_generator(report.settings.seed, EVALUATION, 1, n_context, report.settings.device)
    return prior.sample(n_tasks, generator=generator)


@torch.inference_mode()
def _draw_densities(axes: np.ndarray, report: Report, task: Task) -> None:
    """One panel per task: the densities of its latent, one number."""
    posterior = report.checkpoint.network(*task.observed)
    low, high = (posterior.icdf(torch.full(posterior.batch_shape, level)).cpu() for level in EDGES)
    x = low + (high - low) * torch.linspace(0, 1, GRID)[:, None, None]  # (G, B, 1), from (B, 1)
    curves = {"network": _density(posterior, x)}
    if report.prior.reference is not None:
        unseen = task.observed._replace(rows=task.observed.rows[:, :0])
        curves["reference"] = _density(report.prior.posterior(task), x)
        curves["prior"] = _density(report.prior.posterior(Task(unseen, task.hidden)), x)
    looks = {"network": (NETWORK, 1.8, "-"), "reference": (REFERENCE, 1, (0, (4, 3))), "prior": (FAINT, 1, "-")}
    for index, axis in enumerate(axes):
        for label, density in curves.items():
            color, width, dashes = looks[label]
            axis.plot(x[:, index, 0], density[:, index], color=color, lw=width, ls=dashes, label=label)
        axis.axvline(task.hidden[index, 0].item(), color=FAINT, lw=1, ls=":", label="truth")
        axis.set_xlim(*x[[0, -1], index, 0].tolist())
        axis.set_ylim(0, 1.3 * max(curves.get("reference", curves["network"])[:, index].max(), 1e-12))
        style(axis)


def _density(law: Distribution, x: Tensor) -> np.ndarray:
    """The density at points x (G, B, 1), (G, B)."""
    return law.log_prob(x.to(law.mean.device)).exp().cpu().numpy()


@torch.inference_mode()
def _draw_recovery(axes: np.ndarray, report: Report, task: Task) -> None:
    """One panel per latent dimension: the posterior's median and interval of every task, over the true value."""
    posterior = report.checkpoint.network(*task.observed)
    for index, axis in enumerate(axes):
        law = posterior.marginal([index])
        _draw_dimension(axis, law, task.hidden[:, index].cpu())
        if getattr(law, "bijections", ("identity",)) == ("log",):
            axis.set(xscale="log", yscale="log")


def _draw_dimension(axis: Axes, law: Distribution, truth: Tensor) -> None:
    """One panel of `_draw_recovery`."""
    levels = [torch.full_like(law.mean[..., 0], level) for level in (LOW, MIDDLE, HIGH)]
    low, middle, high = (law.icdf(level)[:, 0].cpu() for level in levels)
    ends = [float(truth.min()), float(truth.max())]
    axis.plot(ends, ends, color=REFERENCE, lw=1, label="truth")
    axis.vlines(truth, low, high, color=NETWORK, alpha=0.3, lw=1, label="network, 90 %")
    axis.plot(truth, middle, ".", ms=4, color=NETWORK, label="network median")
    style(axis)
