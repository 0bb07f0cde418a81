"""One look for all figures."""

from __future__ import annotations

from matplotlib.axes import Axes

NETWORK, REFERENCE, FAINT = "#1f6fb4", "#222222", "#8a8a8a"  # the same roles in every figure


def style(axis: Axes) -> None:
    """Faint grid, no frame on top and right."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e6e6e6", lw=0.7)
    axis.set_axisbelow(True)
