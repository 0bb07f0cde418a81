"""Markov chain Monte Carlo for the published prior of Markov jump processes of two or three states: full Bayes.

The ensemble sampler of Goodman & Weare 2010 as emcee has it (Foreman-Mackey et al. 2013). Graphs and the choice between
stationary and free initial laws are summed out, so that all that is sampled is continuous.
Letters: W walkers, S states, E = S (S - 1) rates, C graphs, D draws.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from emcee import EnsembleSampler
from numpy.random import MT19937, RandomState, SeedSequence
from torch import Tensor
from torch.distributions import Beta, Dirichlet

from priorfit.evaluation.curve_mcmc import effective_sample_size
from priorfit.evaluation.jump_fit import fit
from priorfit.evaluation.jump_likelihood import PanelLikelihood
from priorfit.evaluation.scoring import Array
from priorfit.priors import MarkovJump, Prior
from priorfit.priors.jump_graphs import COMPLETE, acceptable
from priorfit.priors.jump_rates import ALPHA, BETA, CONCENTRATION, STATIONARY, stationary_law

MOST_STATES = 3
FREE = {"states", "state_weights", "paths", "paths_law", "points", "points_law", "horizon", "grids", "noise"}
SLOWEST = 0.003  # rate at which walkers start where the likelihood has its maximum at 0
BALL = 0.1  # how far from one another walkers start


@dataclass(frozen=True)
class Chain:
    """How the chain is run.

    Attributes:
        walkers: members of the ensemble, even.
        burn_in: steps that are dropped.
        steps: steps after that.
        thin: every how many of them is kept.
    """

    walkers: int = 48
    burn_in: int = 300
    steps: int = 700
    thin: int = 10


class JumpPosterior:
    """Log density of log rates and initial law, up to a constant.

    A point holds E log rates, row by row, and S - 1 logits of the initial law relative to its last state. Of rates that
    a graph lacks and of an initial law that the stationary one replaces only the prior is left.

    Args:
        panel: the likelihood.
        noise: probability of a wrong label, known.
    """

    def __init__(self, panel: PanelLikelihood, noise: float) -> None:
        self.panel, self.noise = panel, noise
        self.graphs, self.log_weights = graph_law(panel.n_states)
        self.off = ~torch.eye(panel.n_states, dtype=torch.bool)
        self.n_rates = int(self.off.sum())

    def __call__(self, points: Array) -> Array:
        """Log density at points (W, E + S - 1): (W,)."""
        log_prior = self.log_prior(points)
        density, inside = np.full(len(points), -np.inf), np.isfinite(log_prior)
        if inside.any():
            terms = self.log_terms(points[inside])
            density[inside] = log_prior[inside] + terms.logsumexp((1, 2)).numpy()
        return density

    def log_prior(self, points: Array) -> Array:
        """Log density of all rates, as if none were absent, and of the free initial law: (W,)."""
        rates, initial = self.unpack(points)
        inside = (rates < 1).all(1)
        safe = torch.where(inside[:, None], rates, 0.5)
        density = (log_beta_mixture(safe) + safe.log()).sum(1)
        law = Dirichlet(torch.full_like(initial, CONCENTRATION), validate_args=False)
        free = law.log_prob(initial) + initial.log().sum(1)  # the last term: from logits to probabilities
        return torch.where(inside, density + free, -math.inf).numpy()

    def log_terms(self, points: Array) -> Tensor:
        """Log of prior probability times likelihood of each graph, with stationary and free initial law: (W, C, 2)."""
        rates, initial = self.unpack(points)
        full = torch.zeros(len(rates), *self.off.shape, dtype=torch.float64)
        full[:, self.off] = rates
        full = full[:, None] * self.graphs  # (W, C, S, S)
        laws = torch.stack([stationary_law(full), initial[:, None].expand(full.shape[:3])], 2)  # (W, C, 2, S)
        both = full[:, :, None].expand(-1, -1, 2, -1, -1)
        likelihood = self.panel(both.flatten(0, 2), laws.flatten(0, 2), self.noise)
        start = torch.tensor([STATIONARY, 1 - STATIONARY], dtype=torch.float64).log()
        return likelihood.view(laws.shape[:3]) + self.log_weights[:, None] + start

    def unpack(self, points: Array) -> tuple[Tensor, Tensor]:
        """Rates (W, E) and free initial laws (W, S)."""
        rates, logits = torch.from_numpy(points.copy()).split([self.n_rates, self.panel.n_states - 1], 1)
        return rates.exp(), torch.nn.functional.pad(logits, (0, 1)).softmax(1)

    def draw_rates(self, points: Array, random: RandomState) -> Array:
        """Rates (D, S, S) at points (D, E + S - 1), 0 where the graph that is drawn for each has no link."""
        terms = self.log_terms(points).logsumexp(2)
        levels = torch.from_numpy(random.random_sample(len(points)))[:, None]
        graph = (terms.softmax(1).cumsum(1)[:, :-1] < levels).sum(1)
        rates = torch.zeros(len(points), *self.off.shape, dtype=torch.float64)
        rates[:, self.off] = self.unpack(points)[0]
        return (rates * self.graphs[graph]).numpy()


def graph_law(n_states: int) -> tuple[Tensor, Tensor]:
    """Every graph of the published prior, (C, S, S), float64, and the log of its probability, (C,)."""
    off = ~torch.eye(n_states, dtype=torch.bool)
    links = torch.zeros(2 ** int(off.sum()), n_states, n_states, dtype=torch.bool)
    links[:, off] = torch.tensor(list(product([False, True], repeat=int(off.sum()))))
    links = links[acceptable(links)]
    probability = torch.full((len(links),), (1 - COMPLETE) / len(links), dtype=torch.float64)
    probability[links.sum((1, 2)) == off.sum()] += COMPLETE
    return links.double(), probability.log()


def log_beta_mixture(rates: Tensor) -> Tensor:
    """Log density of the published law of a rate in (0, 1)."""
    alpha, beta = (torch.tensor(values, dtype=torch.float64) for values in (ALPHA, BETA))
    law = Beta(alpha.repeat_interleave(len(beta)), beta.repeat(len(alpha)), validate_args=False)
    return law.log_prob(rates[..., None]).logsumexp(-1) - math.log(len(alpha) * len(beta))


def check_covered(prior: Prior) -> MarkovJump:
    """Returns the prior if its processes are the published ones, of at most three states and one known noise level.

    Raises:
        ValueError: it is another; the message says in which arguments.
    """
    if not isinstance(prior, MarkovJump):
        raise ValueError(f"The MCMC is for the prior 'markov_jump', not for '{prior.registered_name}'.")
    published = MarkovJump().arguments
    changed = sorted(key for key, value in prior.arguments.items() if value != published[key] and key not in FREE)
    if changed:
        raise ValueError(f"The MCMC knows the published processes, and this prior differs in: {', '.join(changed)}.")
    if prior.states[1] > MOST_STATES or not isinstance(prior.arguments["noise"], int | float):
        raise ValueError(f"The MCMC is for at most {MOST_STATES} states and a noise level that is one number.")
    return prior


@torch.inference_mode(False)
def sample(
    times: Tensor, states: Tensor, n_states: int, noise: float, chain: Chain, seed: tuple[int, ...]
) -> dict[str, Array]:
    """Runs the chain on one process.

    Args:
        times: (P, L), since the time that the initial law is about.
        states: (P, L), -1 past the end of a path.
        n_states: S.
        noise: probability of a wrong label.
        chain: how to run it.
        seed: chooses the random numbers.

    Returns:
        `rates`, draws (D, S, S); and numbers: `acceptance` (share of proposals), `effective_sample_size` (of all draws,
        for the worst parameter; too favourable for short chains) and `cpu_seconds`.
    """
    started = time.process_time()
    random, graphs = (RandomState(MT19937(part)) for part in SeedSequence(seed).spawn(2))
    times, states = times.clone(), states.clone()
    posterior = JumpPosterior(PanelLikelihood(times, states, n_states, from_zero=True), noise)
    found = fit(times, states, n_states, noise=noise)
    centre = np.log(found.rates[posterior.off.numpy()].clip(SLOWEST, 0.9))
    walkers = np.zeros((chain.walkers, len(centre) + n_states - 1))
    walkers[:, : len(centre)] = np.minimum(centre + BALL * random.standard_normal((chain.walkers, len(centre))), -1e-3)
    walkers[:, len(centre) :] = BALL * random.standard_normal((chain.walkers, n_states - 1))
    sampler = EnsembleSampler(*walkers.shape, posterior, vectorize=True)
    sampler.random_state = random.get_state()
    state: Any = sampler.run_mcmc(walkers, chain.burn_in, store=False) if chain.burn_in else walkers
    sampler.run_mcmc(state, chain.steps // chain.thin, thin_by=chain.thin)
    kept: Array = sampler.get_chain()  # type: ignore[assignment]  # (steps / thin, W, E + S - 1)
    rates = posterior.draw_rates(kept.reshape(-1, kept.shape[-1]), graphs)
    return {
        "rates": rates,
        "acceptance": np.array(sampler.acceptance_fraction.mean()),
        "effective_sample_size": np.array(effective_sample_size(kept)),
        "cpu_seconds": np.array(time.process_time() - started),
    }
