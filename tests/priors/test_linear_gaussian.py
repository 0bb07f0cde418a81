"""Linear observations of a latent: against dense Gaussian algebra, and calibrated in every direction."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch.distributions import MultivariateNormal

from priorfit.distributions import GaussianMixture
from priorfit.priors import LinearGaussian
from tests.cases import assert_mean, assert_uniform, seeded

PRIOR = LinearGaussian(3, 2, noise=0.3, rows=3, empty=0.0, meta_prior={"components": 3})


def test_posterior_is_prior_times_likelihood_for_several_rows() -> None:
    task = PRIOR.sample(4, generator=seeded())
    posterior = PRIOR.posterior(task)
    prior = GaussianMixture.from_packed(task.observed.prior.double(), 3)
    differences = []
    for seed in range(3):
        x = torch.randn(4, 3, generator=seeded(seed), dtype=torch.float64)
        clean = (x @ PRIOR.matrix.mT)[:, None]
        likelihood = stats.norm.logpdf(task.observed.rows[..., :2], clean, 0.3**0.5).sum((1, 2))
        differences.append(prior.log_prob(x) + torch.as_tensor(likelihood) - posterior.log_prob(x))
    torch.testing.assert_close(differences[0], differences[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(differences[0], differences[2], rtol=1e-6, atol=1e-6)


def test_likelihood_is_normal_up_to_a_constant() -> None:
    task = PRIOR.sample(4, generator=seeded())
    points = torch.randn(4, 5, 3, generator=seeded(1))
    clean = (points.double() @ PRIOR.matrix.mT)[:, :, None]  # (B, J, 1, m)
    density = MultivariateNormal(clean, 0.3 * torch.eye(2).double()).log_prob(task.observed.rows[:, None, :, :2])
    difference = PRIOR.log_likelihood(task.observed.rows, points) - density.sum(-1)
    torch.testing.assert_close(difference, difference[:, :1].expand(4, 5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_posterior_is_calibrated_in_every_direction(n: int) -> None:
    task = PRIOR.with_context(n, 1).sample(500, generator=seeded(n))
    posterior = PRIOR.posterior(task)
    for row in torch.randn(3, 1, 3, generator=seeded(9), dtype=torch.float64):
        assert_uniform(posterior.affine(row).cdf(task.hidden.double() @ row.mT))


def test_matrix_is_drawn_once_or_given() -> None:
    assert LinearGaussian(matrix_seed=1).matrix.equal(LinearGaussian(matrix_seed=1).matrix)
    assert not LinearGaussian(matrix_seed=1).matrix.equal(LinearGaussian(matrix_seed=2).matrix)
    given = LinearGaussian(2, 1, matrix=[[1.0, -2.0]], noise=0.25, meta_prior={"components": 1})
    rows = given.observe(torch.tensor([[3.0, 1.0]]).expand(20_000, 2), 1, seeded())
    assert_mean(rows[:, 0, 0], 1.0)
    assert_mean((rows[:, 0, 0] - 1).square(), 0.25)


def test_defaults_are_the_published_study() -> None:
    task = LinearGaussian().sample(2, generator=seeded(1))
    assert task.observed.prior.shape == (2, 10, 45)
    assert task.observed.rows.shape == (2, 1, 5)
    assert task.hidden.shape == (2, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrix": [[1.0, 2.0]]}, "matrix must be 4 lists of 8"),
        ({"outputs": 0}, "outputs must"),
        ({"noise": 0.0}, "noise positive"),
        ({"meta_prior": {"dimension": 3}}, "leave it out"),
        ({"dimension": 0}, "dimension must"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearGaussian(**arguments)
