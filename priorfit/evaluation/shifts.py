"""How a network fares on tasks from a prior that was changed: what it loses by not knowing of the change.

Letters: B tasks per batch, T tasks in all, S hidden values scored per task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from priorfit.checkpoint_file import plain
from priorfit.evaluation.estimates import Estimate, estimate
from priorfit.evaluation.metrics import FEW, Row, summarize
from priorfit.evaluation.scoring import (
    Array,
    Scores,
    draw_tasks,
    independent_units,
    score,
    truth,
)
from priorfit.evaluation.settings import Settings, spread_out
from priorfit.models import Network
from priorfit.prior_check import PriorCheck
from priorfit.priors import Prior, Task

UNSHIFTED, BEYOND = "none", "context beyond training"
LEVEL = 0.9  # of the central intervals
MOST_SIZES, LARGEST = 3, 100  # context sizes per shift; larger ones take most of an evaluation's time already
FEWEST_BATCHES = 20  # where only batches are independent of one another
KEPT = ("n_context", "tasks", "nll", "reference_nll", "gap", "coverage", "accuracy", "effective_sample_size")  # of rows


@dataclass(frozen=True)
class Shifted:
    """The metrics of one context size under a shift.

    Attributes:
        row: the metrics.
        unshifted: those of the prior itself at the same context size, or at its largest where this one is beyond.
        unaware: gap of the prior's own posterior on the shifted tasks: what exact inference loses that does not know
            of the shift, and what a perfect network loses. None where it is not known.
        flagged: share of tasks that look unlike anything that the prior draws; None where the checkpoint has no check.
    """

    row: Row
    unshifted: Row
    unaware: Estimate | None = None
    flagged: Estimate | None = None

    @property
    def growth(self) -> float | None:
        """By how much the gap is larger than that of the prior itself; None without trusted gaps."""
        gaps = [row.gap for row in (self.row, self.unshifted) if row.trusted]
        return None if len(gaps) < 2 or gaps[0] is None or gaps[1] is None else gaps[0].mean - gaps[1].mean


@dataclass(frozen=True)
class Shift:
    """What was measured of one shift.

    Attributes:
        prior: what the tasks were drawn from.
        sizes: the metrics by context size.
        refused: why the network did not take tasks of a further size, or "".
    """

    prior: Prior
    sizes: list[Shifted] = field(default_factory=list)
    refused: str = ""

    def measured(self) -> dict[str, Any]:
        """The numbers, as JSON holds them."""
        arguments = {"name": self.prior.registered_name, "arguments": plain(self.prior.arguments)}
        return {"prior": arguments, "refused": self.refused or None, "sizes": [_document(one) for one in self.sizes]}


def _document(shifted: Shifted) -> dict[str, Any]:
    """One context size, as JSON holds it."""
    whole = asdict(shifted)
    own = {key: whole["row"][key] for key in KEPT}
    beside = {"unshifted_gap": whole["unshifted"]["gap"], "unaware_gap": whole["unaware"]}
    return plain({**own, **beside, "flagged": whole["flagged"]})


def measure_shifts(
    network: Network,
    prior: Prior,
    scores: Sequence[Scores],
    settings: Settings,
    check: PriorCheck | None,
    progress: bool,
) -> dict[str, Shift]:
    """Scores tasks under every shift of a prior, and at context sizes beyond its own; first the prior itself.

    Args:
        network: what is measured, on the device of the settings.
        prior: what `scores` are of.
        scores: by context size, at least one; up to three of these sizes are measured, up to 100 items.
        settings: how many tasks; of these one common size and seed, so that shifts are compared on like tasks.
        check: tells which tasks look unlike the prior's.
        progress: whether to show a progress bar.
    """
    own = {one.n_context: _row(one) for one in scores}
    sizes = spread_out([n for n in own if n <= LARGEST] or [min(own)], MOST_SIZES)
    changed = {UNSHIFTED: (prior, sizes), **{name: (one, sizes) for name, one in prior.shifts().items()}}
    larger = [n for n in prior.larger_contexts() if n > max(own)]
    changed |= {BEYOND: (prior, larger)} if larger else {}
    if len(changed) == 1:
        return {}
    judge = _Judge(network, prior, own, few_tasks(settings, scores), check)
    found = {}
    with tqdm(changed.items(), unit="shift", disable=not progress) as bar:
        for name, (one, n_contexts) in bar:
            bar.set_description(name)
            found[name] = judge.shift(one, n_contexts)
    return found


def _row(scores: Scores) -> Row:
    """The metrics, without tests of calibration, which need more tasks and draws."""
    return summarize(replace(scores, probe=None), [LEVEL])


def few_tasks(settings: Settings, scores: Sequence[Scores]) -> Settings:
    """The settings of a shift: fewer tasks, in smaller batches if need be, and no draws for tests of calibration."""
    tasks, batch_size = min(settings.tasks, settings.shift_tasks), settings.batch_size
    if any(len(set(one.unit)) < len(one.unit) for one in scores):  # batches are independent, their tasks are not
        batch_size = min(batch_size, max(1, tasks // FEWEST_BATCHES))
    return replace(settings, tasks=tasks, batch_size=batch_size, draws=2)


@dataclass(frozen=True)
class _Judge:
    """What all shifts have in common."""

    network: Network
    prior: Prior
    own: dict[int, Row]  # by context size
    settings: Settings
    check: PriorCheck | None

    def shift(self, changed: Prior, sizes: Sequence[int]) -> Shift:
        """Everything about one shift; ends at the first size that the network refuses."""
        measured: list[Shifted] = []
        try:
            for n_context in sizes:
                measured.append(self.size(changed, n_context))
        except ValueError as error:
            return Shift(changed, measured, str(error))
        return Shift(changed, measured)

    def size(self, changed: Prior, n_context: int) -> Shifted:
        """Everything about one context size."""
        unshifted = self.own.get(n_context, self.own[max(self.own)])
        if changed is self.prior and n_context in self.own:
            return Shifted(unshifted, unshifted, None, self.flagged(changed, n_context))
        scores = score(self.network, changed, n_context, self.settings, lambda _: None)
        return Shifted(_row(scores), unshifted, self.unaware(changed, scores), self.flagged(changed, n_context))

    def flagged(self, changed: Prior, n_context: int) -> Estimate | None:
        """The share of tasks that the check finds unlike the prior."""
        if self.check is None:
            return None
        values, shapes = [], []
        for task in self.tasks(changed, n_context):
            values.append(self.check.score(self.network, task.observed) > 1)
            shapes.append([part.shape[1:] for part in task.observed])
        above = torch.cat(values).double().cpu().numpy()
        return estimate(above[:, None], independent_units(changed, shapes, len(above), self.settings.batch_size))

    @torch.inference_mode()
    def unaware(self, changed: Prior, scores: Scores) -> Estimate | None:
        """The gap of the prior's own posterior, where it has one that can be trusted."""
        if self.prior.reference is None or scores.reference is None or changed is self.prior:
            return None
        log_prob: list[Array] = []
        for task in self.tasks(changed, scores.n_context):
            known = truth(self.prior, task)
            size = known.effective_sample_size
            if known.log_prob is None or (size is not None and size.mean() < FEW):
                return None
            log_prob.append(known.log_prob)
        return estimate(scores.reference - np.concatenate(log_prob), scores.unit)

    def tasks(self, changed: Prior, n_context: int) -> Iterator[Task]:
        """The tasks that are scored."""
        return draw_tasks(changed, n_context, self.settings)
