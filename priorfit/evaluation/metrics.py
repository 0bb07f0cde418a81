"""Metrics: functions of `Scores`, with standard errors that respect which scores are independent.

Letters: T tasks, S hidden values scored per task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from priorfit.evaluation.calibration import Calibration, calibration
from priorfit.evaluation.estimates import Estimate, estimate, estimate_present
from priorfit.evaluation.scoring import Array, Scores

FEW = 30  # effective draws below which a reference by importance sampling is not trusted


@dataclass(frozen=True)
class Row:
    """The metrics of one context size; None where the prior or the network does not offer what they need.

    Attributes:
        n_context: the context size.
        tasks: T.
        nll: negative log density under the network, nats per hidden value.
        reference_nll: the same under the reference.
        gap: nll - reference_nll on the same values; its expectation is the KL divergence from the reference
            to the network, 0 for a perfect one.
        median_gap: median over the tasks of their mean gap.
        coverage: of the central intervals, one per level; the level itself for a calibrated network.
        accuracy: share of hidden classes that are the network's most probable one.
        effective_sample_size: mean over the tasks, for a reference by importance sampling.
        draws: what the prior counted, see `Scores`.
        calibration: what draws and moments of the network's distributions say, see `Calibration`.
    """

    n_context: int
    tasks: int
    nll: Estimate
    reference_nll: Estimate | None
    gap: Estimate | None
    median_gap: float | None
    coverage: list[Estimate] | None
    accuracy: Estimate | None
    effective_sample_size: float | None
    draws: Mapping[str, Any]
    calibration: Calibration | None = None

    @property
    def trusted(self) -> bool:
        """Whether there is a gap, to a reference that was computed well enough."""
        size = self.effective_sample_size
        return self.gap is not None and (size is None or size >= FEW)


def summarize(scores: Scores, levels: Sequence[float]) -> Row:
    """The metrics of one context size."""
    nll, reference, gap, sizes = -scores.log_prob, scores.reference, None, scores.effective_sample_size
    if reference is not None:
        gap = reference - scores.log_prob
    return Row(
        n_context=scores.n_context,
        tasks=len(nll),
        nll=estimate(nll, scores.unit),
        reference_nll=None if reference is None else estimate(-reference, scores.unit),
        gap=None if gap is None else estimate(gap, scores.unit),
        median_gap=None if gap is None else float(np.median(gap.mean(1))),
        coverage=None if scores.pit is None else coverage(scores.pit, levels, scores.unit),
        accuracy=None if scores.correct is None else estimate(scores.correct, scores.unit),
        effective_sample_size=None if sizes is None else float(sizes.mean()),
        draws=scores.draws,
        calibration=calibration(scores),
    )


def coverage(pit: Array, levels: Sequence[float], unit: Array) -> list[Estimate]:
    """How often each level's central interval holds the truth: |2u - 1| <= level, u in `pit`, (T, S)."""
    inside = [np.where(np.isnan(pit), np.nan, np.abs(2 * pit - 1) <= level) for level in levels]
    return [estimate_present(one, unit) for one in inside]
