"""Rates of drawn jump processes against what the network says of them, and how often its intervals hold them.

Letters: B tasks, S states, R rates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorfit.distributions import RateLaw
from priorfit.evaluation.posterior_figure import panel_sizes
from priorfit.evaluation.report import Report
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style
from priorfit.priors import JumpPaths, Prior, Task
from priorfit.training.task_stream import EVALUATION, task_generator

SHOWN, BATCHES = 8, 6  # tasks per batch: those of one batch are drawn, those of all are counted
LEVELS = np.linspace(0.05, 0.95, 19)  # masses of central intervals
ENDS = (0.05, 0.95)
DECADES = 3.5  # below the largest rate: smaller ones, and absent ones, are drawn at the edge
SHADES = ("#b9d6ee", "#7fb2dc", "#3f8bc6", "#12538c")  # from few paths to many


class Judged(NamedTuple):
    """Hidden rates and what the network says of them."""

    true: np.ndarray  # (R,), 0 where absent
    mean: np.ndarray  # (R,)
    low: np.ndarray  # (R,)
    high: np.ndarray  # (R,)
    transforms: np.ndarray  # probability integral transforms, of more tasks


def jump_figure(report: Report) -> Figure | None:
    """True against predicted rates at up to four numbers of paths, and how often central intervals hold the true ones.

    None where the prior does not draw paths of jump processes.
    """
    sizes = panel_sizes([row.n_context for row in report.rows])
    if not isinstance(_draw(report, sizes[0], 1)[0].observed, JumpPaths):  # of other priors more would be costly
        return None
    judged = [_judge(report, n_paths) for n_paths in sizes]
    columns = -(-(len(sizes) + 1) // 2)
    figure = Figure(figsize=(3.4 * columns, 6.4), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False).flatten()
    largest = 2 * max(max(one.true.max(), one.mean.max()) for one in judged)
    for axis, n_paths, one in zip(axes, sizes, judged, strict=False):
        _draw_rates(axis, one, largest)
        axis.set_title("1 path" if n_paths == 1 else f"{n_paths} paths")
    coverage = axes[len(sizes)]
    for shade, n_paths, one in zip(SHADES[-len(sizes) :], sizes, judged, strict=True):
        coverage.plot(LEVELS, covered(one.transforms), "o-", ms=3, lw=1.3, color=shade, label=str(n_paths))
    coverage.plot([0, 1], [0, 1], color=REFERENCE, lw=1, ls=(0, (4, 3)))
    coverage.set(title="Central intervals", xlabel="probability", ylabel="share that hold the rate", aspect="equal")
    coverage.legend(frameon=False, title="paths")
    style(coverage)
    for axis in axes[len(sizes) + 1 :]:
        axis.remove()
    return figure


def covered(transforms: np.ndarray) -> np.ndarray:
    """How many of the probability integral transforms lie in the central intervals of `LEVELS`."""
    return (np.abs(transforms - 0.5)[:, None] <= LEVELS / 2).mean(0)


def _draw(report: Report, n_paths: int, batches: int) -> list[Task]:
    """Batches of tasks, each of one number of states."""
    prior: Prior = report.prior.with_context(n_paths, 1)
    generator = task_generator(report.settings.seed, EVALUATION, 1, n_paths, report.settings.device)
    return [prior.sample(SHOWN, generator=generator) for _ in range(batches)]


@torch.inference_mode()
def _judge(report: Report, n_paths: int) -> Judged:
    """What the network says at one number of paths."""
    tasks = _draw(report, n_paths, BATCHES)
    laws: list[RateLaw] = [report.checkpoint.network(*task.observed) for task in tasks]
    hidden, law = tasks[0].hidden, laws[0]
    off = ~torch.eye(law.n_states, dtype=torch.bool, device=hidden.device)
    ends = law.quantile(hidden.new_tensor(ENDS))
    true, mean, low, high = (
        part[..., off].flatten().cpu().numpy() for part in (hidden[..., :-1], law.mean[..., :-1], *ends)
    )
    transforms = [one.cdf(task.hidden).flatten().cpu().numpy() for one, task in zip(laws, tasks, strict=True)]
    return Judged(true, mean, low, high, np.concatenate(transforms))


def _draw_rates(axis: Axes, judged: Judged, top: float) -> None:
    """Means and 90 % intervals over true rates up to `top`; those that are absent at the left edge."""
    bottom = top * 10**-DECADES
    true, mean, low, high = (np.clip(part, bottom, top) for part in judged[:4])
    there = judged.true > bottom
    for chosen, color, label in ((there, NETWORK, "mean, 90 %"), (~there, FAINT, "absent")):
        bars = mean[chosen] - low[chosen], high[chosen] - mean[chosen]
        lengths = np.maximum(bars, 0)  # the mean of a skewed law may lie outside
        axis.errorbar(true[chosen], mean[chosen], lengths, fmt=".", ms=4, lw=0.6, color=color, alpha=0.6, label=label)
    axis.plot([bottom, top], [bottom, top], color=REFERENCE, lw=1, ls=(0, (4, 3)))
    axis.set(xscale="log", yscale="log", xlabel="true rate", ylabel="predicted rate")
    axis.set(xlim=(bottom / 1.5, top), ylim=(bottom / 1.5, top))
    axis.legend(frameon=False, fontsize="small", loc="upper left")
    style(axis)
