"""What a prediction may consist of, computed from predictive distributions.

Letters: B tasks, m queries, K buckets, Q quantile levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from priorfit.distributions import BarDistribution
from priorfit.registry import closest

# What users ask for, and the distribution's property that it is.
PROPERTIES = {"mean": "mean", "median": "median", "mode": "mode", "std": "stddev"}
DECILES = tuple(level / 10 for level in range(1, 10))
ROWS_AT_ONCE = 512  # bounds the memory that float64 takes


def statistic(output_type: str, quantiles: Sequence[float] | None) -> Callable[[BarDistribution], Tensor]:
    """The function of distributions (m,) that `output_type` names; it returns (m,), or (m, Q) for quantiles.

    Raises:
        ValueError: an unknown name, levels that are not inside (0, 1), or levels where none are needed.
    """
    if output_type == "quantiles":
        levels = _checked(DECILES if quantiles is None else quantiles)
        return lambda bars: quantiles_of(bars, levels[:, None]).T
    if output_type not in PROPERTIES:
        known = closest(output_type, [*PROPERTIES, "quantiles"])
        raise ValueError(f"Unknown output_type '{output_type}': {known}")
    if quantiles is not None:
        raise ValueError(f"Quantiles need output_type='quantiles', not '{output_type}'.")
    return lambda bars: getattr(bars, PROPERTIES[output_type])


def mixed(parts: Sequence[BarDistribution], n_rows: int) -> BarDistribution:
    """The even mixture (n_rows,) of all members of parts (E, m), of the first rows of m; float64, on the CPU."""
    members = []
    for bars in parts:
        borders = bars.borders.to("cpu", torch.float64)
        rows = zip(*(part[:, :n_rows].to("cpu", torch.float64) for part in _parameters(bars)), strict=True)
        members += [BarDistribution(logits, borders, loc, scale) for logits, loc, scale in rows]
    return BarDistribution.mixture(members)


def rows_of(bars: BarDistribution) -> Iterator[BarDistribution]:
    """Distributions (B, m) as (B * m,), in float64 on the CPU, some of them at a time."""
    borders = bars.borders.cpu().double()
    parts = (part.flatten(0, 1).cpu().split(ROWS_AT_ONCE) for part in _parameters(bars))
    for rows in zip(*parts, strict=True):
        yield BarDistribution(rows[0].double(), borders, rows[1].double(), rows[2].double())


def joined(parts: Sequence[BarDistribution], shape: tuple[int, ...]) -> BarDistribution:
    """One distribution of batch shape `shape` from pieces (rows,) that share their borders."""
    logits, loc, scale = (
        torch.cat(column) for column in zip(*((b.logits, b.loc, b.scale) for b in parts), strict=True)
    )
    return BarDistribution(logits.reshape(*shape, -1), parts[0].borders, loc.reshape(shape), scale.reshape(shape))


def quantiles_of(bars: BarDistribution, levels: Tensor) -> Tensor:
    """Quantiles (Q, m) of distributions (m,) at levels (Q, 1) or (Q, m)."""
    return bars.icdf(levels.expand(-1, *bars.batch_shape))


def _parameters(bars: BarDistribution) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, m, K), loc and scale (B, m) of distributions (B, m), also where several of them share theirs."""
    shape = bars.batch_shape
    return bars.logits.expand(*shape, -1), bars.loc.expand(shape), bars.scale.expand(shape)


def _checked(quantiles: Sequence[float]) -> Tensor:
    """Levels (Q,), float64."""
    levels = np.asarray(quantiles, dtype=np.float64)
    if levels.ndim != 1 or not levels.size or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"quantiles must be a list of levels above 0 and below 1, not {quantiles!r}.")
    return torch.from_numpy(levels)
