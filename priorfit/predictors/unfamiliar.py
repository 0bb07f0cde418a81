"""Warnings of data unlike those that a network was trained on.

Letters: B problems, J summaries, N rows of observations, D numbers per row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from scipy.stats import binom
from torch import Tensor

from priorfit.predictors.limits import warn_user
from priorfit.prior_check import RARE, Comparison, PriorCheck
from priorfit.sources import Source, unpack

THRESHOLD = 3.5  # about the normal score that a score of 1 stands for
NAMED = 2  # summaries that a warning names


def has_check(metadata: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's document tells what data like its prior's look like: otherwise no summary is needed."""
    return metadata.get("prior_check") is not None


def unfamiliarity(
    metadata: Mapping[str, Any], network: Any, summaries: Sequence[Tensor | None], sizes: Sequence[Tensor], what: str
) -> ndarray:
    """How unlike the draws of a network's prior problems are, see `priorfit.prior_check`; warns of those that are.

    One warning for all problems: where one is farther out than the farthest of so many draws, or too many are far out.

    Args:
        metadata: the checkpoint's document.
        network: what summarised the problems.
        summaries: the problems' summaries, in parts (b, J).
        sizes: how much was observed of each, in parts (b,).
        what: the problems are called in the warning.

    Returns:
        Scores (B,), of which 1 in 200 draws is above 1; NaN where the checkpoint has no check.
    """
    check = PriorCheck.from_document(metadata.get("prior_check"))
    known = [part for part in summaries if part is not None]
    if check is None or check.names != network.summary_names or len(known) < len(summaries) or not known:
        return np.full(sum(len(part) for part in sizes), np.nan)
    compared = check.compare(torch.cat(known), torch.cat(list(sizes)))
    if _is_alarming(compared.score):
        warn_user(_message(check, compared, what))
    return compared.score.numpy()


def _is_alarming(scores: Tensor) -> bool:
    """Whether the prior's own draws are so unlike it, or so many of them, in fewer than about 1 in 200 such sets."""
    most = math.sqrt(1 + 2 * math.log(len(scores)) / THRESHOLD**2)
    chance = binom.sf(int((scores > 1).sum()) - 1, len(scores), RARE)
    return bool((scores > most).any() or chance <= RARE)


def _message(check: PriorCheck, compared: Comparison, what: str) -> str:
    """What a warning says: the number, what it means, where it comes from, and what to do."""
    scores, worst = compared.score, int(compared.score.argmax())
    deviations = compared.deviations[worst]
    order = deviations.abs().argsort(descending=True)[:NAMED].tolist()
    reasons = " and ".join(f"{check.names[index]} ({deviations[index]:+.1f} standard deviations)" for index in order)
    which = what if len(scores) == 1 else f"{int((scores > 1).sum())} of {len(scores)} {what}"
    return (
        f"{which[0].upper()}{which[1:]}: unlike what this network's prior draws. unfamiliarity_ is "
        f"{'' if len(scores) == 1 else 'up to '}{scores[worst]:.1f}, and only 1 in {round(1 / RARE)} draws is above 1. "
        f"Farthest: {reasons}. How good predictions are there is not known: check units and outliers, compare "
        "predictions with data held out, or use another checkpoint."
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
