"""What draws of a network's distributions, and their other abilities, say of the hidden values of one batch.

Which diagnostics there are is decided by what the distribution offers: a cdf, draws, moments, classes.
Letters: B tasks, L draws, V values scored per task, D hidden numbers per task (V and D are the same for laws of single
numbers), d numbers per value.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from priorfit.evaluation.proper_scores import brier, crps, energy_score
from priorfit.evaluation.ranks import highest_density_level, randomized_pit, randomized_rank, tarp
from priorfit.priors import Task

Array = np.ndarray
AT_ONCE = 100  # draws


class Probe(NamedTuple):
    """Diagnostics of one batch; None where the distribution does not offer what they need.

    Attributes:
        transform: uniform where the network is calibrated, (B, D): its cdf at the hidden numbers, or their ranks among
            draws, or the randomised transform of classes.
        highest_density: share of draws that are denser than the truth, (B, V); likewise uniform.
        tarp: share of draws that are nearer to a reference point than the truth, (B, V); likewise uniform.
        score: CRPS of single numbers, energy score of several, Brier score of classes, (B, V).
        own_score: its expectation if the truth were drawn from the network's distribution, (B, V).
        mean: of the network's distribution, (B, D).
        std: its standard deviation, (B, D).
        truth: the hidden numbers, (B, D).
        confidence: the probability of the most probable class, (B, V).
    """

    transform: Array | None
    highest_density: Array | None = None
    tarp: Array | None = None
    score: Array | None = None
    own_score: Array | None = None
    mean: Array | None = None
    std: Array | None = None
    truth: Array | None = None
    confidence: Array | None = None


class Chance(NamedTuple):
    """What is random about the diagnostics of one batch.

    Attributes:
        seed: of the draws.
        n_draws: L, at least 2.
        direction: how the data move reference points, the same for all batches of one context size.
    """

    seed: int
    n_draws: int
    direction: Array


def probe(predicted: Distribution, task: Task, pit: Array | None, chance: Chance) -> Probe:
    """The diagnostics of one batch.

    Args:
        predicted: the network's distribution.
        task: what is observed and hidden.
        pit: the cdf at the hidden numbers, (B, D), or None where there is none.
        chance: draws are made from a generator of their own; torch's global one is left as it was.
    """
    rng = np.random.default_rng(chance.seed)
    if isinstance(predicted, Categorical):
        return _probe_classes(predicted, task.hidden, rng)
    drawn = draw(predicted, chance.n_draws + 1, chance.seed, task.hidden.device)
    moments = _moments(predicted, task.hidden)
    if drawn is None:
        return Probe(pit, **moments)
    draws, log_density = drawn
    truth = _numbers(task.hidden)
    spread = _usable(moments["std"]) if moments else np.ones_like(truth)
    reference = draws[0] + spread * _pull(task.observed, chance.direction)[:, None]
    size = truth.shape[1] if predicted.event_shape else 1  # d
    points, true_points, reference_points = (
        (values / spread).reshape(*values.shape[:-2], -1, size) for values in (draws[1:], truth, reference)
    )  # (L, B V, d), (B V, d), (B V, d)
    score, own_score = _score(predicted, task.hidden, draws[1:], truth)
    return Probe(
        transform=pit if pit is not None else randomized_rank(draws[1:], truth, rng),
        highest_density=highest_density_level(log_density[1:], _numbers(predicted.log_prob(task.hidden)), rng),
        tarp=tarp(points, true_points, reference_points, rng).reshape(len(truth), -1),
        score=score,
        own_score=own_score,
        **moments,
    )


def _probe_classes(predicted: Categorical, hidden: Tensor, rng: np.random.Generator) -> Probe:
    """The diagnostics of probabilities of classes."""
    probabilities = predicted.probs.double()
    probabilities = (probabilities / probabilities.sum(-1, keepdim=True)).cpu().numpy()  # (B, V, K)
    classes = hidden.cpu().numpy()
    score, own_score = brier(probabilities, classes)
    transform = randomized_pit(probabilities, classes, rng)
    return Probe(transform, score=score, own_score=own_score, confidence=probabilities.max(-1))


def draw(predicted: Distribution, n_draws: int, seed: int, device: torch.device) -> tuple[Array, Array] | None:
    """Draws (L, B, D) and their log densities (L, B, V), some at a time; None from what cannot be drawn from."""
    values, log_density = [], []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for start in range(0, n_draws, AT_ONCE):
            try:
                some = predicted.sample(torch.Size([min(AT_ONCE, n_draws - start)]))
            except NotImplementedError:
                return None
            values.append(_numbers(some, 2))
            log_density.append(_numbers(predicted.log_prob(some), 2))
    return np.concatenate(values), np.concatenate(log_density)


def _score(predicted: Distribution, hidden: Tensor, draws: Array, truth: Array) -> tuple[Array, Array]:
    """CRPS, in closed form where the distribution has it, or energy score; and its expectation, (B, V) each."""
    if predicted.event_shape:
        score, own = energy_score(draws, truth)
        return score[:, None], own[:, None]
    closed: Any = predicted
    if hasattr(closed, "crps"):
        return _numbers(closed.crps(hidden)), _numbers(closed.expected_crps())
    return crps(draws, truth)


def _moments(predicted: Distribution, hidden: Tensor) -> dict[str, Array]:
    """Mean, standard deviation and truth, (B, D) each, where the distribution knows its moments."""
    try:
        mean, variance = predicted.mean, predicted.variance
    except NotImplementedError:
        return {}
    return {"mean": _numbers(mean), "std": np.sqrt(_numbers(variance.clamp(min=0))), "truth": _numbers(hidden)}


def _pull(observed: Any, direction: Array) -> Array:
    """How far the data move each task's reference point, in standard deviations, (B,).

    A combination of the means of what is observed, standardised over the batch: any function of the data would do.
    """
    parts = [part.double().unsqueeze(1).flatten(1).cpu().numpy() for part in observed]
    means = np.stack([np.nan_to_num(part).mean(1) if part.shape[1] else np.zeros(len(part)) for part in parts], 1)
    spread = means.std(0)
    standard = (means - means.mean(0)) / np.where(spread > 0, spread, 1)
    return standard @ direction[: standard.shape[1]]


def _usable(spread: Array) -> Array:
    """Standard deviations, with 1 in place of those that are 0 or not finite."""
    return np.where(np.isfinite(spread) & (spread > 0), spread, 1)


def _numbers(values: Tensor, kept: int = 1) -> Array:
    """The numbers behind the first `kept` dimensions as one dimension, float64."""
    return values.reshape(*values.shape[:kept], -1).double().cpu().numpy()
