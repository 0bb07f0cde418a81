"""Bayesian neural networks by Hamiltonian Monte Carlo: predictions, scores, and whether to trust them.

Letters: S draws, C chains, B tasks, m queries, L numbers of label draws.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence
from torch import Generator, Tensor

from priorfit.evaluation.cached_scores import cached_scores
from priorfit.evaluation.chain_checks import effective_sample_size, split_rhat
from priorfit.evaluation.hmc import Chain, sample
from priorfit.evaluation.known_posteriors import weight_posterior
from priorfit.evaluation.scoring import Array
from priorfit.evaluation.settings import Settings
from priorfit.evaluation.weight_posterior import BinaryPosterior
from priorfit.priors import Prior, Task

LABELS = (16, 64, 256, 1024)  # L: of the published scoring
LOWEST = -100.0  # its log probabilities are cut there


def score_tasks(prior: Prior, task: Task, chain: Chain, seed: int) -> dict[str, Array]:
    """Runs the chains on a batch of tasks and scores their predictions, averaged over all draws.

    Args:
        prior: one that `weight_posterior` knows.
        task: B tasks.
        chain: how to run them.
        seed: chooses all random numbers.

    Returns:
        `log_prob` of the hidden values and `predicted` (posterior mean, or probability of class 1), (B, m);
        `acceptance`, `rhat` (the worst query's) and `effective_sample_size` (likewise), (B,); `seconds` of the whole
        batch, divided among its tasks, (B,); for classes `label_log_prob`, see `sampled_label_scores`, (B, L, m).

    Raises:
        ValueError: a prior that is not covered.
    """
    started = time.perf_counter()
    posterior = weight_posterior(prior, task)
    generator = torch.Generator().manual_seed(seed)
    shape = (chain.chains, len(task), posterior.size)
    start = torch.randn(shape, generator=generator, dtype=torch.float64)
    draws, acceptance = sample(posterior.log_density, start, chain, generator, posterior.predict)  # (S, C, B, m)
    log_prob = posterior.log_prob(draws, task.hidden.double()).flatten(0, 1).logsumexp(0)
    found = {
        "log_prob": log_prob.numpy() - math.log(chain.draws * chain.chains),
        "predicted": draws.mean((0, 1)).numpy(),
        "acceptance": acceptance.numpy(),
        "rhat": split_rhat(draws.numpy()).max(-1),
        "effective_sample_size": effective_sample_size(draws.numpy()).min(-1),
    }
    if isinstance(posterior, BinaryPosterior):
        found["label_log_prob"] = sampled_label_scores(draws, task.hidden, generator).numpy()
    return {**found, "seconds": np.full(len(task), (time.perf_counter() - started) / len(task))}


def sampled_label_scores(
    chance: Tensor, hidden: Tensor, generator: Generator, numbers: Sequence[int] = LABELS
) -> Tensor:
    """The published scoring of such posteriors: one label is sampled from each draw, and their frequency is scored.

    Frequencies of 0 get a log probability of -100. Averaging probabilities instead costs nothing and is what a
    posterior predictive is (Müller et al. 2022, section 5.3, and the code released with it).

    Args:
        chance: probability of class 1, (S, C, B, m).
        hidden: 0 or 1, (B, m).
        generator: draws the labels.
        numbers: how many of the draws to take, evenly spread, or all where there are fewer.

    Returns:
        Log probabilities from each of these numbers, (B, L, m).
    """
    chance = chance.flatten(0, 1)
    scores = []
    for number in numbers:
        some = chance[torch.linspace(0, len(chance) - 1, min(number, len(chance))).round().long()]
        labels = torch.rand(some.shape, generator=generator, dtype=some.dtype) < some
        scores.append((labels == hidden).double().mean(0).log().clamp(min=LOWEST))
    return torch.stack(scores, 1)


def score_cached(
    prior: Prior, n_context: int, settings: Settings, chain: Chain, folder: Path, progress: bool = True
) -> dict[str, Array]:
    """The scores of the fixed tasks of one context size, read from the cache in `folder` as far as it has them.

    Raises:
        ValueError: a prior that is not covered, batches that are not whole, or a cache that cannot be used.
    """
    fixed = prior.with_context(n_context, settings.queries)
    weight_posterior(prior, fixed.sample(1, generator=Generator().manual_seed(0)))

    def compute(task: Task, number: int) -> dict[str, Array]:
        return score_tasks(prior, task, chain, chain_seed(settings.seed, n_context, number))

    method = ("bnn-hmc", {"name": "bnn_hmc", **asdict(chain)})
    return cached_scores(prior, n_context, settings, method, compute, folder, progress)


def chain_seed(*numbers: int) -> int:
    """One seed of several numbers."""
    state: Any = SeedSequence(numbers).generate_state(2)
    return int(state[0]) << 31 | int(state[1]) >> 1
