"""Full Bayes by Markov chains, against quadrature and importance sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from priorfit.evaluation.jump_likelihood import PanelLikelihood
from priorfit.evaluation.jump_mcmc import Chain, JumpPosterior, check_covered, graph_law, log_beta_mixture, sample
from priorfit.priors import GaussianProcess, MarkovJump
from priorfit.priors.jump_rates import stationary_law
from tests.cases import seeded

SHORT = Chain(walkers=32, burn_in=150, steps=400, thin=5)


def panel(n_states: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    prior = MarkovJump(states=n_states, state_weights=None, paths=3, points=12, grids={"full": 1}, noise=noise)
    observed = prior.sample(1, generator=seeded(seed)).observed
    return observed.times[0], observed.states[0]


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_two_states_by_quadrature(noise: float) -> None:
    times, states = panel(2, noise)
    found = sample(times, states, 2, noise, SHORT, (1,))
    likelihood = PanelLikelihood(times, states, 2)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    rate, weight = torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
    start = torch.linspace(0.3, 0.7, 9, dtype=torch.float64)  # of Beta(50, 50), sd 0.05
    start_weight = torch.from_numpy(stats.beta(50, 50).pdf(start.numpy()))
    pairs = torch.cartesian_prod(rate, rate)  # (Q, 2)
    rates = torch.zeros(len(pairs), 2, 2, dtype=torch.float64)
    rates[:, [0, 1], [1, 0]] = pairs
    density = log_beta_mixture(pairs).sum(1).exp() * torch.cartesian_prod(weight, weight).prod(1)
    still = likelihood(rates, stationary_law(rates), noise).exp()
    free = torch.zeros_like(still)
    for probability, share in zip(start, start_weight / start_weight.sum(), strict=True):
        law = torch.stack([probability, 1 - probability]).expand(len(rates), -1)
        free += share * likelihood(rates, law, noise).exp()
    density = density * (still + free)
    mean = (density[:, None] * pairs).sum(0) / density.sum()
    spread = ((density[:, None] * (pairs - mean).square()).sum(0) / density.sum()).sqrt()
    draws = found["rates"][:, [0, 1], [1, 0]]
    assert 0.3 < found["acceptance"] < 0.9
    assert found["effective_sample_size"] > 200
    np.testing.assert_allclose(draws.mean(0), mean.numpy(), atol=float(0.25 * spread.max()))
    np.testing.assert_allclose(draws.std(0), spread.numpy(), rtol=0.2)


def test_three_states_by_importance_sampling() -> None:
    """Draws of the prior, weighted by the likelihood: graphs, Beta laws and initial laws from other code."""
    times, states = panel(3, 0.0, seed=4)
    found = sample(times, states, 3, 0.0, SHORT, (1,))["rates"]
    prior = MarkovJump(states=3, state_weights=None, paths=1, points=2).simulate(60_000, generator=seeded(1))
    weight = PanelLikelihood(times, states, 3)(prior.rates.double(), prior.initial.double()).softmax(0).numpy()
    rates, size = prior.rates.double().numpy(), 1 / np.square(weight).sum()
    assert size > 300
    mean = np.einsum("d,dij->ij", weight, rates)
    spread = np.sqrt(np.einsum("d,dij->ij", weight, np.square(rates - mean)))
    assert np.abs(found.mean(0) - mean).max() < 0.3 * spread.max()
    present = np.einsum("d,dij->ij", weight, (rates > 0).astype(float))
    assert np.abs((found > 0).mean(0) - present).max() < 0.12


def test_graphs_of_the_published_prior() -> None:
    for n_states, number in ((2, 1), (3, 15)):
        graphs, log_weights = graph_law(n_states)
        assert graphs.shape == (number, n_states, n_states)
        assert log_weights.exp().sum().item() == pytest.approx(1)
        complete = graphs.sum((1, 2)) == n_states * (n_states - 1)
        assert log_weights[complete].exp().item() == pytest.approx(0.5 + 0.5 / number)


def test_points_outside_of_the_support_have_no_density() -> None:
    times, states = panel(2, 0.0)
    posterior = JumpPosterior(PanelLikelihood(times, states, 2, from_zero=True), 0.0)
    density = posterior(np.array([[0.1, -1.0, 0.0], [-1.0, -1.0, 0.0]]))
    assert density[0] == -np.inf
    assert np.isfinite(density[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spread": 0.5}, "differs in: spread"),
        ({"states": [2, 4]}, "at most 3 states"),
        ({"noise": [0.0, 0.1]}, "one number"),
    ],
)
def test_other_priors_are_refused(changes: dict[str, Any], message: str) -> None:
    covered = {"states": [2, 3], "state_weights": None}
    assert check_covered(MarkovJump(**covered)).states == (2, 3)
    with pytest.raises(ValueError, match=message):
        check_covered(MarkovJump(**{**covered, **changes}))
    with pytest.raises(ValueError, match="not for 'gaussian_process'"):
        check_covered(GaussianProcess({"points": 3}))
