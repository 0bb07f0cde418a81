"""Pictures of what a prior draws: functions, tables or curves as small multiples, and how many draws were degenerate.

Letters: B tasks, n context rows, m queries, N = n + m rows, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from priorfit.evaluation.style import FAINT, NETWORK, style
from priorfit.priors import Curves, Prior, Regression, Table, Task
from priorfit.training.task_stream import EVALUATION, task_generator

COLUMNS = 4
PARTS = 8  # of a feature's range, in which the target's means are compared
LAW = "mean given the task's latents"
JITTER = 0.25  # of the distance between two codes of a categorical feature


def prior_figure(prior: Prior, tasks: int = 12, seed: int = 0) -> Figure:
    """Tasks of a prior, each drawn on its own, so that sizes differ as in training; one panel each.

    Functions of one feature are drawn over it, tables as two of their features, those that tell most about the target,
    which is the colour; curves over their steps.

    Args:
        prior: what draws the tasks.
        tasks: how many.
        seed: chooses them.

    Raises:
        ValueError: tasks of a kind that has no picture, or no tasks.
    """
    if tasks < 1:
        raise ValueError(f"tasks must be at least 1, not {tasks}.")
    drawn = [prior.sample(1, generator=task_generator(seed, EVALUATION, 2, index)) for index in range(tasks)]
    draw = _drawer(drawn[0])
    columns = min(COLUMNS, tasks)
    rows = -(-tasks // columns)
    figure = Figure(figsize=(3 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, task in zip(axes, drawn, strict=False):
        draw(axis, task)
        axis.title.set_fontsize("medium")
        style(axis)
    for axis in axes[tasks:]:
        axis.remove()
    handles, labels = axes[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def count_lines(counts: Mapping[str, Any], name: str = "") -> list[str]:
    """What priors over tables count (see `TablePrior.counts`), one line per prior.

    Args:
        counts: how many tasks were drawn, and how often they were drawn again, by reason; or such by component.
        name: of the component.
    """
    parts = [(key, value) for key, value in counts.items() if isinstance(value, Mapping)]
    lines = [line for key, value in parts for line in count_lines(value, key)]
    if drawn := counts.get("drawn"):
        again = ", ".join(f"{reason} {100 * n / drawn:.3g}" for reason, n in counts.items() if reason != "drawn")
        lines.insert(0, f"{name + ': ' if name else ''}{drawn} tasks drawn; further draws per 100 tasks: {again}")
    return lines


def _drawer(task: Task) -> Callable[[Axes, Task], None]:
    """What draws tasks of this kind."""
    kind = type(task.observed)
    if kind not in DRAWERS:
        known = ", ".join(known.__name__ for known in DRAWERS)
        raise ValueError(f"There is no picture for tasks of the kind {kind.__name__}, only for {known}.")
    return DRAWERS[kind]


def _draw_regression(axis: Axes, task: Task) -> None:
    """A function over its feature, or rows at two features."""
    x_context, y_context, x_query = task.observed
    if x_context.shape[-1] > 1:
        x, y = torch.cat([x_context, x_query], 1), torch.cat([y_context, task.hidden], 1)
        _scatter(axis, _array(x), _array(y), np.zeros(x.shape[-1], bool), 0)
        return
    order = x_query[0, :, 0].argsort()
    if task.law is not None:
        axis.plot(_array(x_query)[order, 0], _array(task.law.mean)[order], color=NETWORK, lw=1, label=LAW)
    axis.plot(_array(x_query)[:, 0], _array(task.hidden), ".", ms=3, color=FAINT, label="hidden")
    axis.plot(_array(x_context)[:, 0], _array(y_context), "o", ms=3, color="black", label="observed")
    axis.set_title(f"n = {x_context.shape[1]}")


def _draw_table(axis: Axes, task: Task) -> None:
    """Rows at two features."""
    x_context, y_context, x_query, categorical, n_classes = task.observed
    x = torch.cat([x_context, x_query], 1)
    y = torch.cat([y_context, task.hidden.to(y_context.dtype)], 1)
    _scatter(axis, _array(x), _array(y), categorical[0].cpu().numpy(), int(n_classes[0]))


def _draw_curves(axis: Axes, task: Task) -> None:
    """A curve over its steps."""
    curve: Curves = task.observed
    order = curve.query_steps[0].argsort()
    steps = _array(curve.query_steps)[order]
    axis.plot(steps, _array(task.hidden)[order], ".", ms=3, color=FAINT, label="hidden")
    if task.law is not None:
        axis.plot(steps, _array(task.law.mean)[order], color=NETWORK, lw=1, label=LAW)
    seen = int(curve.visible.max())
    axis.plot(_array(curve.steps)[:seen], _array(curve.values)[:seen], "o", ms=2.5, color="black", label="observed")
    axis.set_title(f"n = {seen}")


DRAWERS: dict[type, Callable[[Axes, Task], None]] = {
    Regression: _draw_regression,
    Table: _draw_table,
    Curves: _draw_curves,
}


def _scatter(axis: Axes, x: ndarray, y: ndarray, categorical: ndarray, n_classes: int) -> None:
    """Rows x (N, F) at the features that tell most about y (N,), their colour; a single one against y."""
    target = np.eye(n_classes)[y.astype(int)] if n_classes else y[:, None]  # (N, C) or (N, 1)
    best = np.argsort([-explained(column, target) for column in x.T], kind="stable")[:2]
    shown = _jittered(x, categorical)[:, best]
    horizontal, vertical = shown.T if len(best) == 2 else (shown[:, 0], y)
    colours: dict[str, Any] = {"cmap": "tab10", "vmin": 0, "vmax": 9} if n_classes else {"cmap": "viridis"}
    axis.scatter(horizontal, vertical, c=y, s=6, linewidths=0, **colours)
    axis.set_xlabel(f"feature {best[0]}")
    axis.set_ylabel(f"feature {best[1]}" if len(best) == 2 else "target")
    classes = f", {n_classes} classes" if n_classes else ""
    axis.set_title(f"{len(x)} × {x.shape[1]}{classes}")


def explained(feature: ndarray, target: ndarray) -> float:
    """Share of the target's variance that lies between `PARTS` equally large parts of a feature's range.

    Args:
        feature: (N,), NaN where a value is missing: those rows do not count.
        target: (N, C).

    Returns:
        0 for a feature, or a target, that is constant.
    """
    known = np.isfinite(feature)
    if not known.any():
        return 0.0
    feature, deviation = feature[known], target[known] - target[known].mean(0)
    edges = np.unique(np.quantile(feature, np.linspace(0, 1, PARTS + 1)[1:-1]))
    part = np.searchsorted(edges, feature)  # (N,)
    count = np.bincount(part, minlength=PARTS)
    sums = np.stack([np.bincount(part, column, minlength=PARTS) for column in deviation.T])  # (C, PARTS)
    total = np.square(deviation).sum()
    return float((np.square(sums) / np.maximum(count, 1)).sum() / total) if total else 0.0


def _jittered(x: ndarray, categorical: ndarray) -> ndarray:
    """x with the codes of categorical features moved a little, so that rows do not hide each other."""
    noise = np.random.default_rng(0).uniform(-JITTER, JITTER, x.shape)
    return np.where(categorical, x + noise, x)


def _array(values: torch.Tensor) -> ndarray:
    """The first task's numbers."""
    return values[0].detach().cpu().numpy()
