"""Pictures of jump processes: states and the jumps between them, and the probabilities of states over time.

Letters: S states, T times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy import ndarray

from priorfit.predictors.curve_plot import COLORS, GRID, OBSERVED
from priorfit.predictors.jump_reading import ObservedPaths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STATE_COLORS = (*COLORS, "#3f9ea0", "#a04a6b", "#6f6f6f")  # taken in turn
LIKELY = 0.5  # jumps that are possible with less probability are not drawn
BEND = 0.22  # of arrows
ALONG = {True: 0.36, False: 0.28}  # where on an arrow its rate is written, among few states and among many
FEW = 4
AREA = (500, 1700)  # of states, in points², by probability
ROUNDING = 1e-6  # times at the end of a span do not fall into the next
BINS = 30  # times after the first observation, for shares


class Graph(NamedTuple):
    """A process to be drawn."""

    rates: ndarray  # (S, S)
    interval: ndarray  # (2, S, S)
    edge_probability: ndarray  # (S, S)
    stationary: ndarray  # (S,), or NaN


class Forecast(NamedTuple):
    """Probabilities of states over time."""

    times: ndarray  # (T,)
    laws: ndarray  # (T, S)
    low: ndarray  # (T, S)
    high: ndarray  # (T, S)


class Shares(NamedTuple):
    """How often states were observed."""

    times: ndarray  # (T,)
    shares: ndarray  # (T, S)


def draw_graph(axis: Axes, graph: Graph, level: float) -> None:
    """States on a circle, as large as they are probable; arrows as wide as jumps are frequent, with their rates.

    Args:
        axis: where to draw.
        graph: what.
        level: probability of the intervals.
    """
    n_states = len(graph.rates)
    angles = np.pi / 2 - 2 * np.pi * np.arange(n_states) / n_states
    places = np.stack([np.cos(angles), np.sin(angles)], 1) if n_states > 2 else np.array([[-1.0, 0], [1, 0]])
    areas = AREA[0] + (AREA[1] - AREA[0]) * np.nan_to_num(graph.stationary, nan=0.5)
    drawn = np.argwhere(graph.edge_probability >= LIKELY)
    for i, j in drawn:
        _draw_jump(axis, graph, places, areas, i, j)
    colors = [STATE_COLORS[state % len(STATE_COLORS)] for state in range(n_states)]
    axis.scatter(*places.T, s=areas, c=colors, edgecolors="white", linewidths=1.5, zorder=3)
    for state, place in enumerate(places):
        axis.text(place[0], place[1], str(state), color="white", ha="center", va="center", weight="bold", zorder=4)
    left_out = n_states * (n_states - 1) - len(drawn)
    note = f"; {left_out} unlikely jumps left out" if left_out else ""
    axis.set_title(f"rates with {level:.0%} intervals{note}", fontsize="medium")
    axis.set(xlim=(-1.45, 1.45), ylim=(-1.4, 1.4) if n_states > 2 else (-0.8, 0.8), aspect="equal")
    axis.axis("off")


def _draw_jump(axis: Axes, graph: Graph, places: ndarray, areas: ndarray, i: int, j: int) -> None:
    """The arrow from state i to state j, and its rate."""
    from matplotlib.patches import FancyArrowPatch

    start, end, rate = places[i], places[j], graph.rates[i, j]
    off = ~np.eye(len(places), dtype=bool)
    arrow = FancyArrowPatch(
        (start[0], start[1]),
        (end[0], end[1]),
        connectionstyle=f"arc3,rad={BEND}",
        arrowstyle="-|>",
        mutation_scale=11,
        shrinkA=np.sqrt(areas[i] / np.pi),
        shrinkB=np.sqrt(areas[j] / np.pi) + 1,
        lw=0.7 + 2.3 * np.sqrt(rate / graph.rates[off].max()),
        color=STATE_COLORS[i % len(STATE_COLORS)],
        alpha=0.75,
    )
    axis.add_patch(arrow)
    bow = (start + end) / 2 + BEND * (end - start)[::-1] * [1, -1]  # the Bézier curve's control point
    few = len(places) <= FEW
    t = ALONG[few]
    x, y = (1 - t) ** 2 * start + 2 * t * (1 - t) * bow + t**2 * end
    low, high = graph.interval[:, i, j]
    size = 8 if few else 7
    box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
    axis.text(x, y, f"{rate:.2g}\n({low:.2g}, {high:.2g})", fontsize=size, ha="center", va="center", bbox=box, zorder=2)


def draw_forecast(axis: Axes, forecast: Forecast, observed: Shares, level: float) -> None:
    """Lines and bands, and dots for what was observed; a colour per state.

    Args:
        axis: where to draw.
        forecast: probabilities.
        observed: shares of the paths.
        level: probability of the bands.
    """
    for state in range(forecast.laws.shape[1]):
        color = STATE_COLORS[state % len(STATE_COLORS)]
        axis.fill_between(forecast.times, forecast.low[:, state], forecast.high[:, state], color=color, alpha=0.2, lw=0)
        axis.plot(forecast.times, forecast.laws[:, state], color=color, lw=1.8, label=f"state {state}")
        axis.plot(observed.times, observed.shares[:, state], "o", ms=3.5, color=color)
    axis.plot([], [], "o", ms=3.5, color=OBSERVED, label="share observed")
    axis.set(xlabel="time since the first observation", ylabel=f"probability, {level:.0%} bands", ylim=(0, None))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=GRID, lw=0.7)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def observed_shares(paths: ObservedPaths, n_states: int) -> Shares:
    """Shares of the states among first observations, and among later ones in equal spans of time."""
    seen = paths.states >= 0
    times, states = paths.times[seen], paths.states[seen]
    span = np.ceil(times / paths.times.max() * BINS - ROUNDING).astype(int)  # 0: the first observations
    counts = np.zeros((BINS + 1, n_states))
    np.add.at(counts, (span, states), 1)
    total = counts.sum(1)
    centres = np.bincount(span, times, BINS + 1) / np.maximum(total, 1)
    return Shares(centres[total > 0], counts[total > 0] / total[total > 0, None])
