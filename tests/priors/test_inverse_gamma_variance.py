"""The conjugate model of a variance: closed forms, scipy, and the expected log densities that are known of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from priorfit.priors import Evidence, InverseGammaVariance, Task
from tests.cases import assert_mean, seeded

NARROW = {"law": "inverse_gamma", "concentration": 10000.0, "rate": 20000.0}
EXACT = [({}, 1.639, 1.470), ({"concentration": NARROW, "rate": NARROW}, 1.429, 1.299)]  # to 0.01: prior, posterior


@pytest.mark.parametrize(("arguments", "of_prior", "of_posterior"), EXACT, ids=["wide", "narrow"])
def test_expected_nlls_are_the_exact_ones(arguments: dict, of_prior: float, of_posterior: float) -> None:
    prior = InverseGammaVariance(**arguments, candidates=1)
    for n, expected in ((0, of_prior), (1, of_posterior)):
        fixed = prior.with_context(n, 1)
        task = fixed.sample(100_000, generator=seeded(n))
        posterior = fixed.posterior(task)
        assert_mean(-posterior.log_prob(task.hidden.double()), expected, slack=0.01)
        assert posterior.entropy().mean().item() == pytest.approx(expected, abs=0.02)  # the same, with less noise


def test_posterior_is_scipys() -> None:
    tokens = torch.tensor([[[2.0, 3.0]]]).log()
    z = [0.5, -1.5]
    rows = torch.tensor([[[z[0], 1.0], [z[1], 1.0]]])
    posterior = InverseGammaVariance().posterior(Task(Evidence(tokens, rows), torch.ones(1, 1)))
    expected: Any = stats.invgamma(3.0, scale=3 + (0.25 + 2.25) / 2)
    x = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)[:, None, None]
    np.testing.assert_allclose(posterior.log_prob(x)[:, 0], expected.logpdf(x.flatten()), rtol=1e-6)
    np.testing.assert_allclose(posterior.cdf(x)[:, 0], expected.cdf(x.flatten()), rtol=1e-6)


def test_posterior_is_prior_times_likelihood() -> None:
    prior = InverseGammaVariance(rows=2, empty=0.0)
    law = prior.draw_prior(1, seeded())
    rows = prior.observe(torch.tensor([[1.3]]), 2, seeded(1))

    def product(x: float) -> float:
        point = torch.tensor([[[x]]])
        return (law.log_prob(point) + prior.log_likelihood(rows, point)).double().exp().item()

    total, _ = integrate.quad(product, 0, 300, points=[0.1, 0.5, 1, 3, 10], limit=300)
    posterior = prior.posterior(Task(Evidence(law.tokens, rows), torch.ones(1, 1)))
    for x in (0.5, 2.0):
        density = posterior.log_prob(torch.tensor([[x]], dtype=torch.float64)).exp().item()
        assert product(x) / total == pytest.approx(density, rel=1e-4)


def test_observations_have_the_latent_as_variance() -> None:
    rows = InverseGammaVariance().observe(torch.full((20_000, 1), 4.0), 2, seeded())
    assert_mean(rows[..., 0].square().mean(1), 4.0)
    assert rows[..., 1].eq(1).all()


def test_impossible_laws_are_refused() -> None:
    with pytest.raises(ValueError, match="concentration must be a positive number"):
        InverseGammaVariance(concentration=-1.0)
