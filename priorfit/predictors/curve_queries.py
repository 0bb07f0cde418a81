"""What is asked of learning curves: later steps, as people hand them over.

Letters: C curves, n observed steps of the longest, m queries per curve.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from priorfit.predictors.curve_prefixes import Prefixes

NAMED = 5  # curves that an error message lists


class Queries(NamedTuple):
    """Later steps of curves of which prefixes are known.

    Attributes:
        prefixes: of C curves, in the network's units.
        steps: (C, m), float64.
        shape: of answers with one number per query: (C, m), or (C,) where a single number was asked for.
    """

    prefixes: Prefixes
    steps: ndarray
    shape: tuple[int, ...]

    @classmethod
    def read(cls, steps: ArrayLike, prefixes: Prefixes) -> Self:
        """From a number or a list of m steps for all curves, or an array (C, m).

        Raises:
            ValueError: another shape, or steps that are not finite, below 1, or not after the last observed one.
        """
        n_curves = len(prefixes.lengths)
        try:
            asked = np.asarray(steps, dtype=np.float64)
            queries = np.broadcast_to(asked, (n_curves, asked.shape[-1] if asked.ndim else 1))
        except (TypeError, ValueError) as error:
            raise ValueError(
                "steps must be a number or a list of numbers for all curves, or an array (n_curves, n_steps) for "
                f"{n_curves} curves. {error}"
            ) from error
        if not queries.size:
            raise ValueError("There are no steps to predict.")
        if not (np.isfinite(queries) & (queries >= 1)).all():
            raise ValueError("steps must be finite numbers from 1 on: the first epoch is step 1.")
        _check_later(queries, prefixes.last_steps)
        return cls(prefixes, queries, queries.shape if asked.ndim else queries.shape[:1])

    def split(self, n_curves: int) -> Iterator[Self]:
        """The same for at most `n_curves` at a time."""
        for start in range(0, len(self.steps), n_curves):
            part = slice(start, start + n_curves)
            steps = self.steps[part]
            yield type(self)(self.prefixes.take(part), steps, steps.shape)

    def to_network(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The network's arguments: steps (C, n), values (C, n), query steps (C, m), visible (C, m)."""
        known = (self.prefixes.steps, self.prefixes.values, self.steps)
        steps, values, queries = (torch.tensor(part, dtype=torch.float32, device=device) for part in known)
        visible = torch.tensor(self.prefixes.lengths, device=device)
        return steps, values, queries, visible[:, None].expand(queries.shape)

    def shaped(self, answers: ndarray) -> ndarray:
        """Answers (C * m, ...) in the shape that was asked for."""
        return answers.reshape(*self.shape, *answers.shape[1:])


def _check_later(queries: ndarray, last_steps: ndarray) -> None:
    """Raises ValueError where queries (C, m) are not after the last observed steps (C,)."""
    seen = (queries <= last_steps[:, None]).any(1)
    if not seen.any():
        return
    curves = np.flatnonzero(seen)
    first, others = curves[0], len(curves) - NAMED
    named = ", ".join(map(str, curves[:NAMED])) + (f" and {others} more" if others > 0 else "")
    raise ValueError(
        f"Only steps after the last observed one can be predicted. Curve {first} was observed up to step "
        f"{last_steps[first]:g} and is asked for step {queries[first].min():g} (curves concerned: {named}). Where "
        "curves end at different steps, give each its own: an array (n_curves, n_steps)."
    )
