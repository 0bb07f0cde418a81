"""The extended Kalman filter where it is exact, and the published problem of range and bearing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from priorfit.evaluation.extended_kalman_filter import Measured, extended_kalman_filter
from priorfit.evaluation.filter_problems import extended_kalman_belief, gaussian, range_bearing_moments, state_space
from priorfit.evaluation.kalman_filter import kalman_filter
from priorfit.evaluation.particle_filter import particle_filter
from priorfit.priors import FactorVolatility, LinearGaussian, RangeBearing
from tests.cases import seeded

A = torch.tensor([[1.0, 0.5], [0.0, 0.9]])
Q = torch.tensor([[0.01, 0.02], [0.02, 0.04]])
H, R = torch.tensor([[1.0, 0.3]]), torch.tensor([[0.09]])


def linear(states: Tensor) -> Measured:
    """Moments of z = H x + e."""
    return Measured(states @ H.double().T, H.double().expand(len(states), 1, 2), R.double().expand(len(states), 1, 1))


def test_linear_observations_give_the_kalman_filter() -> None:
    seen = torch.randn(4, 10, 1, generator=seeded(0))
    initial = MultivariateNormal(torch.tensor([0.5, -0.5]), torch.eye(2))
    found = extended_kalman_filter(initial, seen, linear, A, Q, torch.tensor([False]))
    prior = gaussian(initial.mean, initial.covariance_matrix).expand(torch.Size([4]))
    for step, belief in enumerate(kalman_filter(prior, seen, H, R, A, Q)):
        torch.testing.assert_close(found.mean[:, step].float(), belief.mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            found.covariance_matrix[:, step].float(), belief.covariance_matrix, rtol=1e-3, atol=1e-5
        )


def test_angles_are_compared_the_short_way_round() -> None:
    initial = MultivariateNormal(torch.tensor([math.pi - 0.1, 0.0]), torch.eye(2))
    seen = torch.tensor([[[-math.pi + 0.1]]])  # ahead by .2

    def measure(states: Tensor) -> Measured:
        return linear(states)._replace(mean=states[:, :1], jacobian=torch.eye(2).double()[None, :1])

    angle, number = (
        extended_kalman_filter(initial, seen, measure, A, Q, torch.tensor([flag])) for flag in (True, False)
    )
    assert angle.mean[0, 0, 0].item() == pytest.approx(math.pi - 0.1 + 0.2 / 1.09, abs=1e-6)
    assert number.mean[0, 0, 0].item() < 0


def test_moments_of_range_and_bearing_are_those_of_draws() -> None:
    prior = RangeBearing(limit=20.0)
    state = torch.tensor([[3.0, 0.1, -2.0, 0.2]])
    found = range_bearing_moments(state.double(), prior.limit)
    rows = prior.observe(state.expand(200_000, -1), 2, seeded(0))
    ranges, bearings = rows[:, 0, 0].double(), rows[:, 1, 1].double()
    assert float(found.mean[0, 0]) == pytest.approx(float(ranges.mean()), abs=0.03)
    assert float(found.covariance[0, 0, 0]) == pytest.approx(float(ranges.var()), rel=0.02)
    assert float(found.mean[0, 1]) == pytest.approx(float(bearings.mean()), abs=0.002)
    assert float(found.covariance[0, 1, 1]) == pytest.approx(float(bearings.var()), rel=0.02)
    numeric = torch.autograd.functional.jacobian(lambda x: range_bearing_moments(x, 20.0).mean[0], state.double())
    torch.testing.assert_close(numeric[:, 0], found.jacobian[0])  # type: ignore[index]


def test_the_published_tracking_problem() -> None:
    """Corrected extended Kalman filter: 3.85 nats when computed independently, here with a tenth of the steps."""
    prior = RangeBearing()
    space = state_space(prior)
    states, rows = space.simulate(1000, 100, seeded(1))
    nll = -extended_kalman_belief(prior, rows).log_prob(states.double()).numpy()
    error = 4 * nll.mean(1).std() / math.sqrt(1000)
    assert nll.mean() == pytest.approx(3.85, abs=error + 0.3)
    scores = particle_filter(space, rows[:40, :20], states[:40, :20], 2000, seeded(2))
    assert np.median(-scores.moments) < np.median(nll[:40, :20]) - 0.5


def test_the_volatility_problem_is_stationary() -> None:
    space = state_space(FactorVolatility(factors=3, assets=4))
    states, rows = space.simulate(2000, 30, seeded(3))
    assert rows.shape == (2000, 30, 1, 5)
    assert states[:, -1].std().item() == pytest.approx(1, abs=0.1)


def test_other_priors_have_no_dynamics() -> None:
    with pytest.raises(ValueError, match="not for 'linear_gaussian'"):
        state_space(LinearGaussian())
