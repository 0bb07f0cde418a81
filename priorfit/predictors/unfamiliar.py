"""Warnings of priors and observations unlike those that a network of posteriors was trained on.

Letters: B problems, N rows of observations, D numbers per row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from priorfit.predictors.limits import warn_user
from priorfit.sources import Source, unpack

FAR = 6.0  # robust standard deviations of the training priors beyond which a prior is called far from them
FAR_ROWS = 20.0  # half interquartile ranges of the training observations; heavy tails come so far in 0.4 % of tasks


def warn_of_far_priors(distance: Tensor) -> None:
    """Warns of priors at distances (B,) from those of the training that are large, in their spreads."""
    n_far = int((distance > FAR).sum())
    if n_far:
        warn_user(
            f"{n_far} of {len(distance)} priors are far from those that this network was trained on (up to "
            f"{distance.max():.1f} times the typical spread of its training priors): how good posteriors are there "
            "is not known. Change units so that the prior is closer, or use another checkpoint."
        )


def warn_of_far_rows(distance: Tensor) -> None:
    """Warns of observations at distances (B, N) from those of the training that are large, in their spreads."""
    n_far = int((distance > FAR_ROWS).sum())
    if n_far:
        warn_user(
            f"{n_far} of {distance.numel()} observations are far from most of those that this network was trained on "
            f"(up to {distance.max():.1f} times their typical spread): how good posteriors are there is not known. "
            "Check their units, or use another checkpoint."
        )


def most_rows(sources: Sequence[Source], rows: Tensor) -> int:
    """The largest number of rows that one problem has of one source, of rows (B, N, D)."""
    return max(int(indicator.sum(1).amax()) for _, indicator in unpack(sources, rows).values())


def warn_of_many_rows(n_rows: int, metadata: Mapping[str, Any]) -> None:
    """Warns of more rows of one source than tasks of the training had, where the checkpoint tells their number."""
    trained = metadata.get("prior", {}).get("arguments", {}).get("rows")
    if trained is None:
        return
    most = max(trained) if isinstance(trained, list | tuple) else trained
    if n_rows > most:
        warn_user(
            f"There are {n_rows} observations of one source at once and this network was trained on at most {most}: "
            "how good posteriors are beyond that is not known. Use another checkpoint, or, where posteriors may be "
            "priors, update in several steps."
        )
