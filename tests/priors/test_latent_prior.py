"""What priors over latents share: sizes, batches without rows, and the law that a task carries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from priorfit.distributions import GaussianMixture, WeightedPoints
from priorfit.priors import Evidence, InverseGammaVariance, LinearGaussian, Task
from priorfit.priors.latent_prior import LatentPrior
from tests.cases import assert_mean, seeded

NARROW = {"components": 2, "covariance": {"law": "log_uniform", "scale": [0.5, 1.0]}}
LINEAR = LinearGaussian(2, 1, matrix=[[1.0, 2.0]], noise=0.1, meta_prior=NARROW, empty=0.0, candidates=3)


def test_true_latent_is_among_the_points_and_the_weights_are_the_likelihood() -> None:
    task = LINEAR.sample(50, generator=seeded())
    assert isinstance(task.law, WeightedPoints)
    points, z = task.law.values, task.observed.rows[:, 0, 0]
    assert points.shape == (50, 3, 2)
    assert points[:, 0].equal(task.hidden)
    density = torch.distributions.Normal(points @ torch.tensor([1.0, 2.0]), 0.1**0.5).log_prob(z[:, None])
    torch.testing.assert_close(task.law.log_weights, density.log_softmax(-1), rtol=1e-4, atol=1e-4)


class OneTask(LinearGaussian):
    """Every draw has the prior and the rows of one fixed task; the latent is drawn from its exact posterior."""

    def __init__(self, candidates: int) -> None:
        super().__init__(**{**LINEAR.arguments, "candidates": candidates})

    def laws(self, batch_size: int) -> tuple[WeightedPoints, GaussianMixture]:
        """Laws that tasks with the same observed part carry, and their posterior."""
        prior = self.draw_prior(1, seeded(2))
        rows = self.observe(prior.draw(1, seeded(3))[:, 0], 1, seeded(3))
        posterior = self.posterior(Task(Evidence(prior.tokens, rows), torch.zeros(1, 2)))
        latents = posterior.draw((batch_size,), seeded(4))[:, 0].float()
        wide = type(prior)(prior.mixture.expand(torch.Size((batch_size,))))  # type: ignore[attr-defined,call-arg]
        return self.law(wide, rows.expand(batch_size, -1, -1), latents, seeded(5)), posterior


@pytest.mark.parametrize("candidates", [1, 2, 10])
def test_law_is_unbiased_for_the_exact_posterior(candidates: int) -> None:
    law, posterior = OneTask(candidates).laws(20_000)
    for dim in (0, 1):
        assert_mean(law.mean[:, dim], posterior.mean[0, dim].item())
        second = law.expectation(lambda x, dim=dim: x[..., dim].square())
        assert_mean(second, (posterior.variance + posterior.mean.square())[0, dim].item())
    assert_mean(law.expectation(lambda x: x[..., 0] * x[..., 1] + x[..., 0].sin()), reference(posterior))


def reference(posterior: GaussianMixture) -> float:
    """E[x0 x1 + sin x0] of one mixture, in closed form: E sin of a normal is sin(mean) exp(-variance / 2)."""
    product = posterior.covariance_matrix[0, 0, 1] + posterior.mean[0].prod()
    means, variances = posterior.means[0, :, 0], posterior.covariances[0, :, 0, 0]
    return (product + (posterior.weights[0] * means.sin() * (-variances / 2).exp()).sum()).item()


def test_more_candidates_lower_the_variance() -> None:
    spread = [OneTask(candidates).laws(5000)[0].mean.var(0).sum().item() for candidates in (1, 10, 100)]
    assert spread[0] > 1.5 * spread[1] > 3 * spread[2]


def test_without_the_latent_the_law_would_be_biased() -> None:
    """Without the true latent this is plain self-normalised importance sampling, biased where points are few."""

    class WithoutLatent(OneTask):
        def law(self, prior: object, rows: Tensor, latents: Tensor, generator: torch.Generator) -> WeightedPoints:
            return super().law(prior, rows, prior.draw(1, generator)[:, 0], generator)  # type: ignore

    law, posterior = WithoutLatent(2).laws(20_000)
    error = law.mean.mean(0) - posterior.mean[0]
    assert (error.abs() / (law.mean.std(0) / len(law.mean) ** 0.5)).max() > 10


def test_expected_loss_under_the_law_is_that_under_the_posterior() -> None:
    """Of the prior as a prediction: its cross-entropy with the posterior, task by task the same on average."""
    task = LINEAR.sample(4000, generator=seeded(7))
    prior = GaussianMixture.from_packed(task.observed.prior, 2)
    assert task.law is not None
    assert_mean(prior.expected_log_prob(task.law) - prior.log_prob(task.hidden), 0.0)


def test_rows_and_empty_batches_have_their_shares() -> None:
    prior = InverseGammaVariance(rows=[1, 3], empty=0.25, candidates=1)
    generator = seeded()
    counts = torch.tensor([prior.sample(1, generator=generator).observed.rows.shape[1] for _ in range(800)])
    shares = counts.bincount() / 800
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.06)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_with_context_fixes_the_rows(n: int) -> None:
    for prior in (InverseGammaVariance(rows=[1, 3], empty=1.0), LINEAR):
        for seed in range(3):
            assert prior.with_context(n, 16).sample(2, generator=seeded(seed)).observed.rows.shape[1] == n


def test_without_rows_the_posterior_is_the_prior_and_the_law_has_equal_weights() -> None:
    task = LINEAR.with_context(0, 1).sample(5, generator=seeded())
    prior = GaussianMixture.from_packed(task.observed.prior, 2)
    torch.testing.assert_close(LINEAR.posterior(task).log_prob(task.hidden).float(), prior.log_prob(task.hidden))
    assert isinstance(task.law, WeightedPoints)
    assert task.law.weights.flatten().tolist() == pytest.approx([1 / 3] * 15)


def test_context_sizes() -> None:
    assert InverseGammaVariance(rows=0).context_sizes() == [0]
    assert InverseGammaVariance(rows=1).context_sizes() == [0, 1]
    assert InverseGammaVariance(rows=[2, 12]).context_sizes() == [0, 1, 2, 5, 10, 12]


class Unknown(InverseGammaVariance):
    reference = None


def test_truth_is_the_reference_or_nothing() -> None:
    task = LINEAR.sample(2, generator=seeded())
    truth = LINEAR.truth(task)
    assert isinstance(truth, GaussianMixture)
    assert Unknown().truth(task) is None


class AtMostTwo(InverseGammaVariance):
    most_rows = 2
    registered_name = "at_most_two"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": -1}, "rows must"),
        ({"rows": [3, 1]}, "rows must"),
        ({"rows": 1.5}, "rows must"),
        ({"rows": True}, "rows must"),
        ({"rows": [1, 3]}, "'at_most_two' have at most 2 rows, not 3"),
        ({"empty": 1.1}, "empty is a share"),
        ({"candidates": 0}, "candidates must"),
        ({"candidates": 2.0}, "candidates must"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AtMostTwo(**arguments)


def test_new_priors_need_three_methods() -> None:
    assert LatentPrior.__abstractmethods__ == {"draw_prior", "observe", "log_likelihood"}
