"""The picture of learning curves and where they are going.

Letters: n observed steps, m later steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy import ndarray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#1f6fb4", "#c4572e", "#3c8d5a", "#8a5aa8", "#b08a1e")  # taken in turn
OBSERVED, GRID = "#222222", "#e6e6e6"
OPACITY = 0.22


class Continued(NamedTuple):
    """A curve with its predictions, in the user's units.

    Attributes:
        steps, values: what was observed, (n,).
        later: steps that are predicted, (m,).
        median: at those, (m,).
        bands: lower and upper ends of central intervals at those, (m,) each, the narrowest first.
    """

    steps: ndarray
    values: ndarray
    later: ndarray
    median: ndarray
    bands: Sequence[tuple[ndarray, ndarray]]


def new_axes() -> Axes:
    """The axes of a new figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("Plotting needs matplotlib: pip install matplotlib") from error
    return pyplot.subplots(layout="constrained")[1]


def draw_curves(axis: Axes, curves: dict[str, Continued], levels: Sequence[float]) -> None:
    """Observations as dots, medians as lines, nested bands around them.

    Args:
        axis: where to draw.
        curves: by name, as the legend calls them if there are several.
        levels: the masses of the bands.
    """
    masses = " and ".join(f"{level:.0%}" for level in sorted(levels))
    for index, (name, curve) in enumerate(curves.items()):
        color = COLORS[index % len(COLORS)]
        for band in curve.bands:
            low, high = np.clip(band, *_finite_range(curve))
            axis.fill_between(curve.later, low, high, color=color, alpha=OPACITY, lw=0)
        axis.plot(curve.later, curve.median, color=color, lw=1.8, label=name)
        axis.plot(curve.steps, curve.values, "o", ms=3.5, color=color)
    if len(curves) == 1:
        median, observed = axis.get_lines()[-2:]
        median.set_label(f"median, {masses} bands" if levels else "median")
        observed.set(label="observed", color=OBSERVED)
    axis.set_xlabel("step")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=GRID, lw=0.7)
    axis.set_axisbelow(True)
    axis.legend(frameon=False)


def _finite_range(curve: Continued) -> tuple[float, float]:
    """What is drawn of bands with infinite ends: matplotlib would leave those steps out."""
    drawn = np.concatenate([curve.values, curve.median, *(end for band in curve.bands for end in band)])
    finite = drawn[np.isfinite(drawn)]
    return finite.min(), finite.max()
