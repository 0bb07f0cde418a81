"""Observations as the user gives them, by the name of their source, as the rows that a network reads.

Letters: B problems, S series, t steps, N rows of observations, D numbers per row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from priorfit.sources import Source, pack


def read_rows(sources: Sequence[Source], observations: Mapping[str, ArrayLike]) -> Tensor:
    """Rows (N, D), or (B, N, D) where at least one source has observations of B problems.

    Args:
        sources: of the network.
        observations: (size,), (N, size) or (B, N, size) by the name of the source.

    Raises:
        ValueError: unknown sources, wrong shapes, NaN, or several numbers of problems.
    """
    values = {name: _array(name, given) for name, given in _known(sources, observations).items()}
    alone = all(value.ndim < 3 for value in values.values())
    sizes = {source.name: source.size for source in sources}
    values = {name: _batched(name, value, sizes[name]) for name, value in values.items()}
    n_problems = max(map(len, values.values()), default=1)
    values = {name: value.expand(n_problems, -1, -1) if len(value) == 1 else value for name, value in values.items()}
    rows = pack(sources, values or {sources[0].name: torch.zeros(1, 0, sources[0].size)})
    return rows[0] if alone else rows


def read_series(sources: Sequence[Source], observations: Mapping[str, ArrayLike]) -> tuple[dict[str, Tensor], bool]:
    """Observations (S, t, N, size) of every source that is given, and whether they were those of one series alone.

    Args:
        sources: of the network.
        observations: (t, size) of one series, (S, t, size), or (S, t, N, size) for several rows of a step, by the
            name of the source. NaN is an observation that is missing.

    Raises:
        ValueError: unknown sources, wrong shapes, infinite values, or rows of which a part is NaN.
    """
    values = {name: _array(name, given) for name, given in _known(sources, observations).items()}
    if not values:
        raise ValueError(f"No observations: name at least one source of {', '.join(s.name for s in sources)}.")
    sizes = {source.name: source.size for source in sources}
    for name, value in values.items():
        if value.ndim not in (2, 3, 4) or value.shape[-1] != sizes[name]:
            size = sizes[name]
            raise ValueError(
                f"Observations of '{name}' must be (steps, {size}), (series, steps, {size}) or (series, steps, rows, "
                f"{size}), not {tuple(value.shape)}."
            )
        missing = value.isnan()
        if value.isinf().any() or (missing.any(-1) != missing.all(-1)).any():
            raise ValueError(
                f"Observations of '{name}' must be finite; where one is missing, all of its numbers must be NaN."
            )
    alone = all(value.ndim == 2 for value in values.values())
    whole = {name: _series(value) for name, value in values.items()}
    if len({value.shape[:2] for value in whole.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in values.items())
        raise ValueError(f"All sources must have the same numbers of series and steps; got {shapes}.")
    if 0 in next(iter(whole.values())).shape[:2]:
        raise ValueError("There is nothing to filter: observations need at least one series of at least one step.")
    return whole, alone


def _series(value: Tensor) -> Tensor:
    """(S, t, N, size)."""
    if value.ndim == 2:
        return value[None, :, None]
    return value[:, :, None] if value.ndim == 3 else value


def _known(sources: Sequence[Source], observations: Any) -> Mapping[str, Any]:
    """The observations, if they are of sources that the network knows."""
    names = [source.name for source in sources]
    if not isinstance(observations, Mapping):
        raise ValueError(f"observations must be a dictionary by source ({', '.join(names)}), not {observations!r:.60}.")
    unknown = [str(name) for name in observations if name not in names]
    if unknown:
        raise ValueError(f"Unknown sources: {', '.join(unknown)}. This network knows {', '.join(names)}.")
    return observations


def _array(name: str, given: Any) -> Tensor:
    """Numbers as a float32 tensor on the CPU."""
    if isinstance(given, Tensor):
        return given.detach().cpu().float()
    try:
        return torch.from_numpy(np.array(given, np.float32))
    except (TypeError, ValueError) as error:
        raise ValueError(f"Observations of '{name}' must be an array of numbers: {error}.") from error


def _batched(name: str, value: Tensor, size: int) -> Tensor:
    """(B, N, size), B = 1 for one problem."""
    if value.ndim not in (1, 2, 3) or value.shape[-1] != size:
        raise ValueError(
            f"Observations of '{name}' must be ({size},), (rows, {size}) or (problems, rows, {size}), not "
            f"{tuple(value.shape)}."
        )
    return value[(None,) * (3 - value.ndim)]
