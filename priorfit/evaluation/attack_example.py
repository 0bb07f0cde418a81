"""One attack, as densities of one hidden value before and after it.

Letters: B tasks, V hidden values of each, d numbers of a latent vector, L draws, G points of a grid.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorfit.evaluation.attack import changed, divergence, worst_change
from priorfit.evaluation.scoring import Array, draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.models import Network
from priorfit.priors import Prior, Task
from priorfit.training.measured_units import MeasuredUnits
from priorfit.training.task_stream import EVALUATION, task_generator

GRID, EDGE = 300, 0.002  # points, and the share of draws beyond either end of them
PICTURE = 1  # a stream of random numbers beside those of tasks


class Example(NamedTuple):
    """Densities (G,) of one hidden value at x (G,).

    Attributes:
        task: index of the task, and of its value.
        x: where densities are given.
        network: the network's density before and after the attack.
        exact: the same of the exact posterior; empty without one.
        truth: the hidden value.
    """

    task: tuple[int, int]
    x: Array
    network: tuple[Array, ...]
    exact: tuple[Array, ...]
    truth: float


def attack_example(
    network: Network,
    prior: Prior,
    n_context: int,
    size: float,
    settings: Settings,
    chosen: tuple[int, int] | None = None,
) -> Example:
    """Attacks the first batch of fixed tasks, and shows one of them.

    Args:
        network: what is attacked.
        prior: draws the tasks.
        n_context: their size.
        size: of the attack.
        settings: as for `priorfit.evaluation.robustness.responses`.
        chosen: indices of a task and of its value; None for the task with the median KL divergence, and its value with
            the largest.
    """
    task = next(draw_tasks(prior, n_context, settings))
    units = MeasuredUnits(prior)(task.observed)
    generator = task_generator(settings.seed, EVALUATION, PICTURE, n_context, settings.device)
    with torch.random.fork_rng([settings.device] if settings.device != "cpu" else []):
        torch.manual_seed(settings.seed)
        change = worst_change(network, task.observed, units, size, generator)
        tasks = task, Task(changed(task.observed, change, units), task.hidden)
        with torch.no_grad():
            laws = [network(*one.observed) for one in tasks]
            draws = [law.sample((settings.draws,)) for law in laws]
            chosen = _typical(laws[0], laws[1], draws[0]) if chosen is None else chosen
            x = _grid(torch.cat([_values(part)[:, chosen[0], chosen[1]] for part in draws]))
            exact = [] if prior.reference is None else [prior.posterior(one) for one in tasks]
            shown, exact_shown = ([_density(law, x, chosen) for law in some] for some in (laws, exact))
    known = tuple(density for density in exact_shown if density is not None)
    truth = _values(task.hidden[None])[0][chosen].item()
    return Example(chosen, x.cpu().numpy(), tuple(one for one in shown if one is not None), known, truth)


def _typical(before: Distribution, after: Distribution, draws: Tensor) -> tuple[int, int]:
    """The task that moved by the median, and its value that moved most (of a latent vector the first)."""
    task = int(divergence(before, after, draws).argsort()[len(draws[0]) // 2])
    each = (before.log_prob(draws) - after.log_prob(draws)).mean(0)[task]
    return task, int(each.argmax()) if each.ndim else 0


def _values(points: Tensor) -> Tensor:
    """Points (L, B, …) as (L, B, V)."""
    return points.reshape(*points.shape[:2], -1)


def _grid(draws: Tensor) -> Tensor:
    """Points (G,) over nearly all draws."""
    low, high = draws.double().quantile(torch.tensor([EDGE, 1 - EDGE], dtype=torch.float64, device=draws.device))
    return torch.linspace(float(low), float(high), GRID, device=draws.device)


def _density(law: Distribution, x: Tensor, chosen: tuple[int, int]) -> Array | None:
    """The density of one value at x (G,), or None where a vector's law does not tell the laws of its numbers."""
    task, value = chosen
    if not law.event_shape:
        points = x.reshape(-1, *[1] * len(law.batch_shape)).expand(-1, *law.batch_shape)
        return law.log_prob(points).exp()[:, task, value].double().cpu().numpy()
    single = law.marginal([value]) if hasattr(law, "marginal") else law  # type: ignore[attr-defined]
    if single.event_shape != (1,):
        return None
    return single.log_prob(x[:, None, None].expand(-1, *law.batch_shape, -1)).exp()[:, task].double().cpu().numpy()
