"""The published "Bayesian neural network" without activation as a numpyro model, for NUTS and variational inference.

Source: Müller et al. 2022, section 5.3, and the code released with it.
Letters: B tasks, C chains, S draws of each, n context rows, m queries, F features, H hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import SeedSequence

from priorfit.evaluation.bnn_mcmc import sampled_label_scores
from priorfit.evaluation.nuts import Chain, checks, run
from priorfit.evaluation.scoring import Array
from priorfit.evaluation.svi import fit_and_draw
from priorfit.priors import LinearBNN, Prior, Task


@dataclass(frozen=True)
class LinearNetwork:
    """The numpyro model of one task of `LinearBNN`: all weights and biases of both layers, N(0, 1) each.

    Attributes:
        hidden: H.
    """

    hidden: int

    def __call__(self, x: Any, y: Any) -> None:
        """Of the context x (n, F), y (n,), 0 or 1."""
        import numpyro
        from numpyro.distributions import Bernoulli, Normal

        shapes = {
            "weight_1": (x.shape[1], self.hidden),
            "bias_1": (self.hidden,),
            "weight_2": (self.hidden, 2),
            "bias_2": (2,),
        }
        weights = {
            name: numpyro.sample(name, Normal().expand(shape).to_event(len(shape))) for name, shape in shapes.items()
        }
        logits = (x @ weights["weight_1"] + weights["bias_1"]) @ weights["weight_2"] + weights["bias_2"]
        numpyro.sample("y", Bernoulli(logits=logits[:, 1] - logits[:, 0]).to_event(1), obs=y)


def chances(sites: dict[str, Array], x: Array) -> Array:
    """Chance of class 1 under each draw.

    Args:
        sites: draws of the weights, (B, C, S, …).
        x: inputs, (B, m, F).

    Returns:
        (B, C, S, m).
    """
    difference = sites["weight_2"][..., 1] - sites["weight_2"][..., 0]  # (B, C, S, H)
    slope = np.einsum("...fh,...h->...f", sites["weight_1"], difference)
    offset = (sites["bias_1"] * difference).sum(-1) + sites["bias_2"][..., 1] - sites["bias_2"][..., 0]
    log_odds = np.einsum("bcsf,bmf->bcsm", slope, x) + offset[..., None]
    return np.exp(-np.logaddexp(0, -log_odds))


def check_covered(prior: Prior) -> LinearBNN:
    """Returns the prior if it is the published one, of any size.

    Raises:
        ValueError: it is another.
    """
    if not isinstance(prior, LinearBNN):
        raise ValueError(f"This model is that of the prior 'linear_bnn', not of '{prior.registered_name}'.")
    return prior


def context(task: Task) -> list[Array]:
    """What the model is given."""
    return [task.observed.x_context.double().numpy(), task.observed.y_context.double().numpy()]


def score_nuts(prior: Prior, task: Task, chain: Chain, seed: int) -> dict[str, Array]:
    """Runs the chains on a batch of tasks and scores their predictions.

    Returns:
        `log_prob` of the hidden classes under probabilities averaged over all draws, (B, m); `label_log_prob` by the
        published scoring, which samples one label from each draw (see `bnn_mcmc.sampled_label_scores`), (B, m); and
        what `nuts.checks` says of the queries' chances, (B,).

    Raises:
        ValueError: another prior than `LinearBNN`.
        ImportError: jax or numpyro is not installed.
    """
    draws = run(LinearNetwork(check_covered(prior).hidden), context(task), chain, seed)
    chance = chances(draws.sites, task.observed.x_query.double().numpy())
    return {**score_chances(chance, task, seed), **checks(chance, draws.divergent)}


def score_svi(prior: Prior, task: Task, number: int, seed: int) -> dict[str, Array]:
    """Fits a mean-field normal law by `number` steps and scores as many draws from it, as published.

    Returns:
        `log_prob` and `label_log_prob`, as `score_nuts`.

    Raises:
        ValueError: another prior than `LinearBNN`.
        ImportError: jax or numpyro is not installed.
    """
    sites = fit_and_draw(LinearNetwork(check_covered(prior).hidden), context(task), number, number, seed)
    sites = {name: values[:, None] for name, values in sites.items()}  # one "chain"
    return score_chances(chances(sites, task.observed.x_query.double().numpy()), task, seed)


def score_chances(chance: Array, task: Task, seed: int) -> dict[str, Array]:
    """Scores chances of class 1 (B, C, S, m), averaged and by the labels that they give."""
    average = chance.mean((1, 2))
    hidden = task.hidden.numpy()
    log_prob = np.log(np.where(hidden == 1, average, 1 - average).clip(1e-300))
    generator = torch.Generator().manual_seed(int(SeedSequence((seed, 1)).generate_state(1)[0]))
    draws = torch.tensor(chance.reshape(len(chance), -1, 1, chance.shape[-1])).permute(1, 2, 0, 3)  # (C S, 1, B, m)
    labels = sampled_label_scores(draws, task.hidden, generator, (len(draws),))
    return {"log_prob": log_prob, "label_log_prob": labels[:, 0].numpy()}
