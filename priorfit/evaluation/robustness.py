"""How far small changes of the observations move a network's answers, beside the exact posterior's under the same.

Letters: B tasks per batch, n observed items, L draws, V values per task that a distribution is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from priorfit.evaluation.attack import changed, divergence, random_change, worst_change
from priorfit.evaluation.estimates import Estimate, estimate
from priorfit.evaluation.ranks import randomized_rank
from priorfit.evaluation.scoring import Array, draw_tasks, independent_units
from priorfit.evaluation.settings import Settings
from priorfit.models import Network
from priorfit.priors import Prior, Task
from priorfit.training.measured_units import MeasuredUnits
from priorfit.training.task_stream import EVALUATION, task_generator

CHANGES = 4  # a stream of random numbers beside those of tasks, figures and diagnostics
LEVEL = 0.9  # of the intervals whose coverage is measured

Changes = Iterator[tuple[str, float, Any]]  # kind, size and observations


@dataclass(frozen=True)
class Response:
    """What one kind of change does; KL divergences in nats per hidden value, None without a reference to draw from.

    Attributes:
        kind: "none", "random", "attack", "one twice" or "one left out".
        size: Euclidean length of the change of measured values, in standard deviations of the prior's draws; 0 for the
            kinds that do not change them.
        moved: KL(q || q'), from the network's answer before the change to that after it.
        exact: KL(p || p'), the same for the exact posterior.
        gap: KL(p' || q'), from the exact posterior after the change to the network's answer.
        nll: of the true hidden values after the change, nats per value.
        coverage: of central 90 % intervals after the change, averaged over hidden numbers; None for classes.
    """

    kind: str
    size: float
    moved: Estimate
    exact: Estimate | None
    gap: Estimate | None
    nll: Estimate
    coverage: Estimate | None


class Drawn(NamedTuple):
    """A distribution about one batch, with draws (L, B, …) from it."""

    law: Distribution
    draws: Tensor


class Answers(NamedTuple):
    """What network and exact posterior say of one batch; None without one to draw from."""

    network: Drawn
    exact: Drawn | None


def responses(
    network: Network,
    prior: Prior,
    n_context: int,
    sizes: Sequence[float],
    settings: Settings,
    advance: Callable[[int], object] = lambda n: None,
) -> list[Response]:
    """Attacks a network's answers to the fixed tasks of one context size.

    Args:
        network: what is attacked, with its own gradients.
        prior: draws the tasks.
        n_context: n, at least 1.
        sizes: lengths of changes of the measured values, see `Response.size`; may be empty.
        settings: `tasks`, `queries`, `batch_size`, `draws`, `seed` and `device`.
        advance: called with the number of tasks after each batch.

    Raises:
        ValueError: an empty context, sizes that are not positive, or a prior without measured numbers.
    """
    if n_context < 1 or not all(0 < size < np.inf for size in sizes):
        raise ValueError(f"Needs a context of one item at least and positive sizes, not {n_context} and {list(sizes)}.")
    units = MeasuredUnits(prior) if sizes else None
    found: dict[tuple[str, float], list[list[Array]]] = {}
    shapes = []
    with torch.random.fork_rng([settings.device] if settings.device != "cpu" else []):
        torch.manual_seed(settings.seed)
        rng = np.random.default_rng((settings.seed, EVALUATION, CHANGES))
        for index, task in enumerate(draw_tasks(prior, n_context, settings)):
            before = _answers(network, prior, task, settings.draws)
            generator = task_generator(settings.seed, EVALUATION, CHANGES, index, settings.device)
            for kind, size, observed in _changes(network, task.observed, units, sizes, generator):
                after = Task(observed, task.hidden)
                found.setdefault((kind, size), []).append(_respond(network, prior, before, after, rng))
            shapes.append([part.shape[1:] for part in task.observed])
            advance(len(task))
    unit = independent_units(prior, shapes, settings.tasks, settings.batch_size)
    return [_response(*key, parts, unit) for key, parts in found.items()]


def _changes(
    network: Network, observed: Any, units: MeasuredUnits | None, sizes: Sequence[float], generator: torch.Generator
) -> Changes:
    """All changes of one batch's observations."""
    yield "none", 0.0, observed
    for size in sizes if units is not None else ():
        one = units(observed)  # type: ignore[misc]
        yield "random", size, changed(observed, random_change(one, size, generator), one)
        yield "attack", size, changed(observed, worst_change(network, observed, one, size, generator), one)
    parts = {name: getattr(observed, name) for name in getattr(observed, "one_per_observation", ())}
    if parts:
        twice = {name: torch.cat([part, part[:, :1]], 1) for name, part in parts.items()}
        yield "one twice", 0.0, observed._replace(**twice)
        yield "one left out", 0.0, observed._replace(**{name: part[:, 1:] for name, part in parts.items()})


@torch.no_grad()
def _answers(network: Network, prior: Prior, task: Task, n_draws: int) -> Answers:
    """What network and reference say of a batch."""
    own, shape = network(*task.observed), torch.Size([n_draws])
    drawn, exact = Drawn(own, own.sample(shape)), None if prior.reference is None else prior.posterior(task)
    try:
        return Answers(drawn, None if exact is None else Drawn(exact, exact.sample(shape)))
    except NotImplementedError:
        return Answers(drawn, None)


@torch.no_grad()
def _respond(network: Network, prior: Prior, before: Answers, task: Task, rng: np.random.Generator) -> list[Array]:
    """The numbers of a `Response` for changed tasks, each (B, 1); empty where there is no exact posterior."""
    after = _answers(network, prior, task, len(before.network.draws))
    moved = divergence(before.network.law, after.network.law, before.network.draws)
    exact = gap = moved[:0]
    if before.exact is not None and after.exact is not None:
        exact = divergence(before.exact.law, after.exact.law, before.exact.draws)
        gap = divergence(after.exact.law, after.network.law, after.exact.draws)
    nll = -after.network.law.log_prob(task.hidden).reshape(len(task), -1).mean(1)
    level = _levels(after.network, task.hidden, rng)
    inside = np.where(np.isnan(level), np.nan, np.abs(2 * level - 1) <= LEVEL)
    columns = [part.double().cpu().numpy() for part in (moved, exact, gap, nll)]
    return [column[:, None] for column in (*columns, inside.reshape(len(task), -1).mean(1))]


def _levels(answer: Drawn, hidden: Tensor, rng: np.random.Generator) -> Array:
    """The cdf at each hidden number or, without one, its rank among draws; NaN for classes, which have no order."""
    if isinstance(answer.law, Categorical):
        return np.full(hidden.shape, np.nan)
    try:
        return answer.law.cdf(hidden).double().cpu().numpy()
    except NotImplementedError:
        return randomized_rank(answer.draws.cpu().numpy(), hidden.cpu().numpy(), rng)


def _response(kind: str, size: float, parts: list[list[Array]], unit: Array) -> Response:
    """Means over all tasks of the numbers of their batches."""
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    moved, nll = (estimate(columns[index], unit) for index in (0, 3))
    coverage = None if np.isnan(columns[4]).any() else estimate(columns[4], unit)
    exact, gap = (estimate(column, unit) if len(column) else None for column in columns[1:3])
    return Response(kind, size, moved, exact, gap, nll, coverage)
