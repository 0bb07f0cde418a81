"""How networks answer to small changes of their observations, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorfit.evaluation.attack_example import Example
from priorfit.evaluation.robustness import Response
from priorfit.evaluation.style import FAINT, NETWORK, REFERENCE, style

COLORS = (NETWORK, "#d1701f")  # of the networks, the second one to compare with


def robustness_figure(
    found: Mapping[str, Sequence[Response]], examples: Mapping[str, Example], size: float, n_context: int
) -> Figure:
    """How far answers move, what the truth's density and the distance from the exact posterior become, and one attack.

    Args:
        found: by network, one or two, see `responses`.
        examples: by network.
        size: of the examples' attacks.
        n_context: of all tasks.
    """
    rows = [row for own in found.values() for row in own]
    sizes = [0.0, *sorted({row.size for row in rows if row.kind == "attack"})]
    figure = Figure(figsize=(12, 7), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False)
    known = all(row.gap is not None for row in rows)
    axes = above.subplots(1, 3 if known else 2)
    for color, (name, own) in zip(COLORS, found.items(), strict=False):
        _draw_moves(axes[0], name, own, color)
        for axis, field in zip(axes[1:], ("nll", "gap"), strict=False):
            _draw_after(axis, name, own, field, sizes, color)
    axes[0].set(title=f"How far answers move, n = {n_context}", xscale="log", yscale="log")
    axes[1].set_title("NLL of the truth, attacked")
    if known:
        axes[2].set_title("KL, exact to network, attacked")
    for axis in axes:
        axis.set(xlabel="size of the change, standard deviations", ylabel="nats per value")
        axis.legend(frameon=False, fontsize=7)
        style(axis)
    panels = below.subplots(1, len(examples), squeeze=False, sharex=True, sharey=True)[0]
    for axis, color, (name, example) in zip(panels, COLORS, examples.items(), strict=False):
        _draw_example(axis, example, color)
        axis.set(title=f"{name}: one attack of size {size:g}", xlabel="hidden value", ylabel="density")
        style(axis)
    highest = max(density.max() for one in examples.values() for density in (*one.network, *one.exact))
    panels[0].set_ylim(0, 1.35 * highest)  # room for the legend
    return figure


def _draw_moves(axis: Axes, name: str, rows: Sequence[Response], color: str) -> None:
    """KL divergences of the network under both kinds of change, and of the exact posterior under the attack."""
    for kind, look in (("attack", "o-"), ("random", "o:")):
        chosen = [row for row in rows if row.kind == kind]
        sizes = [row.size for row in chosen]
        axis.plot(sizes, [row.moved.mean for row in chosen], look, color=color, ms=4, label=f"{name}, {kind}")
        exact = [row.exact.mean for row in chosen if row.exact]
        if kind == "attack" and len(exact) == len(sizes):
            axis.plot(sizes, exact, "--", color=color, lw=1, label=f"exact, under the attack of {name}")


def _draw_after(
    axis: Axes, name: str, rows: Sequence[Response], field: str, sizes: Sequence[float], color: str
) -> None:
    """One number after attacks of each size, ±2 s.e.; the first size, 0, is no attack."""
    after = {row.size: getattr(row, field) for row in rows if row.kind in ("none", "attack")}
    means = [after[size].mean for size in sizes]
    errors = [2 * np.nan_to_num(after[size].standard_error) for size in sizes]
    axis.errorbar(range(len(sizes)), means, errors, fmt="o-", ms=4, color=color, capsize=3, label=name)
    axis.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])


def _draw_example(axis: Axes, example: Example, color: str) -> None:
    """Densities before the attack, filled, and after it."""
    for density, width, when in zip(example.network, (1.0, 1.8), ("before", "after"), strict=True):
        axis.plot(example.x, density, color=color, lw=width, label=f"network, {when}")
    axis.fill_between(example.x, example.network[0], color=color, alpha=0.2, lw=0)
    for density, look, when in zip(example.exact, ((0, (4, 3)), "-"), ("before", "after"), strict=False):
        axis.plot(example.x, density, color=REFERENCE, lw=1, ls=look, label=f"exact, {when}")
    axis.axvline(example.truth, color=FAINT, lw=1, ls=":", label="truth")
    axis.legend(frameon=False, fontsize=8, ncols=3, loc="upper center")
