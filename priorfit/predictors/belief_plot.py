"""Pictures of posteriors: densities of single latent numbers, and filtered tracks.

Letters: d latent dimensions, t steps, G points of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import Distribution

from priorfit.distributions import GaussianMixture, TransformedMixture
from priorfit.predictors.curve_plot import COLORS, GRID, OBSERVED, OPACITY
from priorfit.predictors.mixture_tools import map_mixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Law = GaussianMixture | TransformedMixture
POINTS, EDGES = 400, (0.0005, 0.9995)  # of the densities' grids
SIZE = 2.8, 2.7  # of a panel, inches


def new_figure(n_panels: int) -> tuple[Figure, Sequence[Axes]]:
    """A new figure with panels side by side.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("Plotting needs matplotlib: pip install matplotlib") from error
    width, height = SIZE
    figure, axes = pyplot.subplots(
        1, n_panels, squeeze=False, layout="constrained", figsize=(width * n_panels + 0.4, height)
    )
    return figure, axes[0]


def draw_marginals(
    posterior: Law, prior: Any, index: int, names: Sequence[str] | None, truth: ArrayLike | None
) -> Figure:
    """One panel per latent number: its density under the posterior and under the prior, and its true value.

    Args:
        posterior: of batch shape () or (B,).
        prior: a mixture, too, or the law of the last number, or a list of those of the last ones; or None.
        index: which problem of a batch.
        names: of the latent numbers, d.
        truth: (d,), or None.

    Raises:
        ImportError: matplotlib is not installed.
        IndexError: no such problem.
        ValueError: other numbers of names or of true values than d.
    """
    d = posterior.event_shape[0]
    names = [f"latent {i}" for i in range(d)] if names is None else names
    values = None if truth is None else np.asarray(truth, float)
    if len(names) != d or (values is not None and values.shape != (d,)):
        raise ValueError(f"The posterior is over {d} numbers: give as many names, and as many true values.")
    figure, axes = new_figure(d)
    for dim, (axis, name) in enumerate(zip(axes, names, strict=True)):
        own = _one(posterior, index).marginal([dim])
        low, high = (float(own.icdf(torch.tensor(level))) for level in EDGES)
        grid = torch.linspace(low, high, POINTS)
        x, density = grid.numpy(), own.log_prob(grid[:, None]).exp().numpy()
        axis.fill_between(x, density, color=COLORS[0], alpha=OPACITY, lw=0)
        axis.plot(x, density, color=COLORS[0], lw=1.6, label="posterior")
        law = _law_of(prior, dim, d)
        if law is not None:
            axis.plot(x, _density(law, dim, index, grid), color=OBSERVED, lw=1, label="prior")
        if values is not None:
            axis.axvline(values[dim], color=COLORS[1], lw=1, label="truth")
        axis.set(xlabel=name, ylim=(0, None))
        tidy(axis)
    axes[0].set_ylabel("density")
    add_legend(figure)
    return figure


def _law_of(prior: Any, dim: int, d: int) -> Distribution | None:
    """The law that tells of a latent number: a mixture of all, or its own among those of the last ones."""
    if prior is None or isinstance(prior, Law):
        return prior
    laws = prior if isinstance(prior, list | tuple) else [prior]
    return laws[dim - d] if d - dim <= len(laws) else None


def _density(prior: Distribution, dim: int, index: int, grid: Tensor) -> ndarray:
    """The density of a latent number under a prior, at the points (G,)."""
    if isinstance(prior, GaussianMixture | TransformedMixture):
        log_density = _one(prior, index).marginal([dim]).log_prob(grid[:, None])
    else:
        log_density = prior.log_prob(grid[:, None] if prior.batch_shape else grid)
        log_density = log_density[:, index] if prior.batch_shape else log_density
    return log_density.exp().numpy()


def draw_track(
    axis: Axes, belief: GaussianMixture, levels: Sequence[float], truth: ArrayLike | None, name: str
) -> None:
    """Mean and central intervals of one latent number at each step, and its true values.

    Args:
        axis: where to draw.
        belief: laws of one number, batch shape (t,).
        levels: masses of the intervals.
        truth: (t,), or None.
        name: of the number.
    """
    steps = np.arange(len(belief.means))
    for level in sorted(levels):
        low, high = (belief.icdf(torch.full(belief.batch_shape, end))[:, 0].numpy() for end in central(level))
        axis.fill_between(steps, low, high, color=COLORS[0], alpha=OPACITY, lw=0, label=f"{level:.0%} interval")
    axis.plot(steps, belief.mean[:, 0].numpy(), color=COLORS[0], lw=1.6, label="mean")
    if truth is not None:
        axis.plot(steps, np.asarray(truth, float), ".", ms=3, color=OBSERVED, label="truth")
    axis.set(xlabel="step", ylabel=name)
    tidy(axis)


def add_legend(figure: Figure) -> None:
    """One legend for all panels, below them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def central(level: float) -> tuple[float, float]:
    """The lower and upper level of the central interval of a mass."""
    return (1 - level) / 2, (1 + level) / 2


def tidy(axis: Axes) -> None:
    """Faint grid, no frame on top and right."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=GRID, lw=0.7)
    axis.set_axisbelow(True)


def _one(law: Law, index: int) -> Law:
    """The law of one problem of a batch, or the law itself where there is no batch."""
    return map_mixture(law, lambda part: part[index]) if law.batch_shape else law
