"""One pass over fixed tasks: what the network and the reference say of each hidden value.

Letters: B tasks per batch, T tasks in all, S hidden values scored per task.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Tensor
from torch.distributions import Categorical, Distribution

from priorfit.evaluation.probing import Chance, Probe, probe
from priorfit.evaluation.settings import Settings
from priorfit.models import Network
from priorfit.priors import Prior, Task
from priorfit.training.task_stream import EVALUATION, task_generator

Array = np.ndarray
DIAGNOSTICS, MOST_FIELDS = 2, 8  # a stream of random numbers beside those of tasks and figures; parts of an observation


@dataclass(frozen=True)
class Scores:
    """Scores of T tasks of one context size; every metric is a function of them.

    Attributes:
        n_context: the context size.
        log_prob: log density of the hidden values under the network, (T, S), in nats.
        reference: the same under the truth that is known: the prior's reference posterior or, where it has none,
            the hidden part's law given each task's own latents, an oracle; (T, S), or None where there is neither.
        pit: the network's cdf at the hidden values (probability integral transform), (T, S), or None where
            its distribution has no cdf.
        correct: whether the network's most probable class is the hidden one, (T, S), or None where its distribution
            is not categorical.
        effective_sample_size: of a reference by importance sampling, (T,), else None.
        unit: which tasks are independent of one another, (T,): those of different numbers.
        draws: what the prior counted while it drew them, see `Prior.counts`.
        probe: what draws and moments of the network's distributions say, see `Probe`, (T, …) in place of (B, …).
        several: whether the network's law is about several different numbers, and not the same about each value.
        test_unit: `unit` for what has one law whatever the sizes of a task are, (T,); None for `unit` itself.
    """

    n_context: int
    log_prob: Array
    reference: Array | None
    pit: Array | None
    correct: Array | None
    effective_sample_size: Array | None
    unit: Array
    draws: Mapping[str, Any]
    probe: Probe | None = None
    several: bool = False
    test_unit: Array | None = None


class Truth(NamedTuple):
    """What is known of one batch, see `Scores`."""

    log_prob: Array | None
    effective_sample_size: Array | None = None


class Batch(NamedTuple):
    """The scores of one batch, as in `Scores`."""

    log_prob: Array
    reference: Array | None
    pit: Array | None
    correct: Array | None
    effective_sample_size: Array | None
    probe: Probe
    several: bool


def draw_tasks(prior: Prior, n_context: int, settings: Settings) -> Iterator[Task]:
    """The fixed tasks of one context size, batch by batch: the same for every network."""
    yield from draw_fixed(prior.with_context(n_context, settings.queries), n_context, settings)


def draw_fixed(fixed: Prior, n_context: int, settings: Settings) -> Iterator[Task]:
    """The same from a prior whose sizes are fixed already."""
    generator = task_generator(settings.seed, EVALUATION, index=n_context, device=settings.device)
    for start in range(0, settings.tasks, settings.batch_size):
        yield fixed.sample(min(settings.batch_size, settings.tasks - start), generator=generator)


Source = Callable[[Prior, int, Settings], Iterator[tuple[Task, Truth]]]


def drawn(fixed: Prior, n_context: int, settings: Settings) -> Iterator[tuple[Task, Truth]]:
    """The fixed tasks of one context size and the truth about them, batch by batch."""
    for task in draw_fixed(fixed, n_context, settings):
        yield task, truth(fixed, task)


def truth(prior: Prior, task: Task) -> Truth:
    """What the prior itself knows of a batch."""
    known = prior.truth(task)
    if known is None:
        return Truth(None)
    sampled = prior.reference == "importance sampling"
    return Truth(_rows(known.log_prob(task.hidden)), effective_sample_size(known).cpu().numpy() if sampled else None)


@torch.inference_mode()
def score(
    network: Network,
    prior: Prior,
    n_context: int,
    settings: Settings,
    advance: Callable[[int], object],
    source: Source = drawn,
) -> Scores:
    """Scores the fixed tasks of one context size.

    Args:
        network: what is measured, on the device of the settings.
        prior: what the tasks are from.
        n_context: the context size.
        settings: how many tasks.
        advance: hears of the number of tasks of each batch.
        source: gives the batches and the truth about them, of a prior whose sizes are fixed.

    Raises:
        ValueError: the network does not take the prior's tasks, or gives a log density that is not finite.
    """
    batches, shapes = [], []
    prior = prior.with_context(n_context, settings.queries)
    random = SeedSequence((settings.seed, EVALUATION, DIAGNOSTICS, n_context))
    direction = np.random.default_rng(random).normal(size=MOST_FIELDS)
    direction /= np.linalg.norm(direction)
    for task, known in source(prior, n_context, settings):
        seed = int(random.spawn(1)[0].generate_state(1)[0])
        batches.append(score_batch(network, task, known, Chance(seed, settings.draws, direction)))
        shapes.append([part.shape[1:] for part in task.observed])
        advance(len(task))
    columns = list(zip(*batches, strict=True))
    log_prob, reference, pit, correct, sample_size = map(_joined, columns[:5])
    probed = Probe(*map(_joined, zip(*columns[5], strict=True)))
    assert log_prob is not None
    if not np.isfinite(log_prob).all():
        count = int((~np.isfinite(log_prob)).sum())
        raise ValueError(f"{count} of {log_prob.size} log densities at context size {n_context} are not finite.")
    unit = independent_units(prior, shapes, len(log_prob), settings.batch_size)
    number = np.arange(len(log_prob))
    test_unit = number // (settings.batch_size if prior.parts() else 1)  # a calibrated network knows the sizes
    draws = copy.deepcopy(dict(prior.counts))
    return Scores(
        n_context, log_prob, reference, pit, correct, sample_size, unit, draws, probed, columns[6][0], test_unit
    )


def independent_units(prior: Prior, shapes: Sequence[object], n_tasks: int, batch_size: int) -> Array:
    """A number for each of T tasks; those with different numbers are independent, (T,).

    Tasks of a batch share its sizes and the part of the prior. Where batches differ, only batches are independent.
    """
    alike = all(shape == shapes[0] for shape in shapes) and not prior.parts()
    return np.arange(n_tasks) // (1 if alike else batch_size)


def score_batch(network: Network, task: Task, known: Truth, chance: Chance) -> Batch:
    """The scores of one batch."""
    predicted = network(*task.observed)
    log_prob, pit = _rows(predicted.log_prob(task.hidden)), _cdf(predicted, task.hidden)
    correct = _rows(predicted.mode == task.hidden) if isinstance(predicted, Categorical) else None
    finite = bool(np.isfinite(log_prob).all())  # else `score` refuses, with a count
    probed, several = probe(predicted, task, pit, chance) if finite else Probe(pit), bool(predicted.event_shape)
    return Batch(log_prob, known.log_prob, pit, correct, known.effective_sample_size, probed, several)


def effective_sample_size(mixture: Distribution) -> Tensor:
    """1 / Σ w² of the weights of a mixture with batch shape (B, …), averaged over the latter, (B,)."""
    weights = mixture.mixture_distribution.probs  # type: ignore[attr-defined]  # (B, …, components)
    return 1 / weights.square().sum(-1).flatten(1).mean(1)


def _cdf(distribution: Distribution, value: Tensor) -> Array | None:
    """The cdf at `value`, where the distribution has one."""
    try:
        return _rows(distribution.cdf(value))
    except NotImplementedError:
        return None


def _rows(values: Tensor) -> Array:
    """One row per task, (B, S), float64."""
    return values.reshape(len(values), -1).double().cpu().numpy()


def _joined(parts: tuple[Array | None, ...]) -> Array | None:
    """The batches' arrays as one, or None if some batch has none; NaN where some batches have fewer columns."""
    present = [part for part in parts if part is not None]
    if len(present) < len(parts):
        return None
    width = max(part.shape[-1] for part in present)
    if present[0].ndim == 2 and any(part.shape[1] < width for part in present):
        present = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=np.nan) for part in present]
    return np.concatenate(present)
