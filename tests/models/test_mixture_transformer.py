"""The network for posteriors of latents: what it gives before training and without rows, what it learns and refuses.

Letters: B tasks, T prior tokens, C numbers per token, N rows, D numbers per row, k components.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from priorfit.distributions import GaussianMixture, TransformedMixture
from priorfit.models import MixtureTransformer
from priorfit.models.mixture_tensors import MixtureTensors
from priorfit.models.mixture_transformer import conflict
from priorfit.models.prior_range import PriorRange
from priorfit.priors import InverseGammaVariance, LinearGaussian, Prior
from tests.cases import ANGLES, OF_FAMILY, SMALL_MIXTURES, assert_same, evidence, perturbed, seeded

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
OUTPUTS = [{"name": "output", "size": 2}]
VALUES = [{"name": "value", "size": 1}]


def fitted(prior: Prior, **arguments: Any) -> MixtureTransformer:
    """An untrained network that is prepared for the prior as a training does it."""
    torch.manual_seed(0)
    network = MixtureTransformer(**{**SMALL_MIXTURES, **arguments})
    tasks = [prior.sample(500, generator=seeded(seed)) for seed in range(2)]
    network.fit_to_prior([task.observed for task in tasks], [task.hidden for task in tasks], [t.law for t in tasks])
    return network


@pytest.fixture(scope="module")
def moved() -> MixtureTransformer:
    """One with random weights."""
    return perturbed(MixtureTransformer(**SMALL_MIXTURES)).eval().requires_grad_(False)  # type: ignore[return-value]


# Without training, or without rows


def test_without_rows_the_posterior_is_the_given_mixture() -> None:
    prior = LinearGaussian(3, 2, empty=0.0)
    network = perturbed(fitted(prior, n_latent=3, sources=OUTPUTS))
    task = prior.with_context(0, 1).sample(20, generator=seeded(5))
    posterior = network(*task.observed)
    assert isinstance(posterior, GaussianMixture)
    assert_same(posterior.packed(), task.observed.prior, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("k", "n"), [(1, 1), (2, 3), (5, 1), (20, 2)])
def test_linear_observations_are_exact_once_their_matrix_is_known(k: int, n: int) -> None:
    """With M = R^(-1/2) H and W = R^(-1/2), in standardised units, for any number of components and rows."""
    prior = LinearGaussian(3, 2, noise=0.3, rows=n, empty=0.0, meta_prior={"components": k})
    network = fitted(prior, n_latent=3, sources=OUTPUTS)
    matrix, rows, linear = prior.matrix.float(), network.rows, network.linear
    assert linear is not None
    with torch.no_grad():
        network.update.head.bias.zero_()
        network.update.head.bias[9:12] = -30.0  # no pseudo-observation
        linear.matrix.copy_(matrix * network.latent_scale / 0.3**0.5)
        linear.whitening.copy_(torch.diag(rows.scale) / 0.3**0.5)
        linear.offset.copy_((rows.loc - matrix @ network.latent_loc) / 0.3**0.5)
    network.update.head.weight.data.zero_()
    task = prior.sample(50, generator=seeded(5))
    log_prob, exact = (law.log_prob(task.hidden) for law in (network(*task.observed), prior.posterior(task)))
    assert_same(log_prob.double(), exact, rtol=1e-3, atol=2e-3)


def test_preparation_alone_comes_close_to_linear_observations() -> None:
    """Within 0.05 nats of the exact posterior, where the prior is a nat away."""
    prior = LinearGaussian(3, 2, noise=0.3, empty=0.0)
    network = fitted(prior, n_latent=3, sources=OUTPUTS)
    network.update.head.bias.data[9:12] = -30.0  # no pseudo-observation
    assert gap(network, prior) < 0.05
    network.linear = MixtureTransformer(3, OUTPUTS).linear
    assert gap(network, prior) > 1


def test_parameters_give_a_transformed_mixture_with_components_apart() -> None:
    posterior = MixtureTransformer(**OF_FAMILY)(*evidence(None, 1, ANGLES)(seeded()))
    assert isinstance(posterior, TransformedMixture)
    assert posterior.bijections == ("logit",)
    assert posterior.base.means.shape == (3, 5, 1)
    assert (posterior.base.means[:, :, 0].diff(dim=1) > 0.1).all()


# What a posterior depends on


def test_order_of_components_and_rows_does_not_matter(moved: MixtureTransformer) -> None:
    prior, rows = evidence(4, 2, ANGLES, n=5)(seeded())
    expected = moved(prior, rows)
    order = torch.tensor([2, 0, 3, 1])
    turned = moved(prior[:, order], rows[:, [3, 1, 4, 0, 2]])
    assert_same(turned.means, expected.means[:, order], **CLOSE)
    assert_same(turned.log_weights, expected.log_weights[:, order], **CLOSE)
    assert_same(turned.scale_trils, expected.scale_trils[:, order], **CLOSE)


def test_repeating_rows_changes_the_posterior(moved: MixtureTransformer) -> None:
    prior, rows = evidence(4, 2, ANGLES)(seeded())
    once, twice = moved(prior, rows), moved(prior, rows.repeat(1, 2, 1))
    assert (once.means - twice.means).abs().max() > 1e-3


@pytest.mark.parametrize(("k", "n"), [(1, 0), (1, 1), (7, 4)])
def test_any_number_of_components_and_rows(moved: MixtureTransformer, k: int, n: int) -> None:
    posterior = moved(*evidence(k, 2, ANGLES, n=n)(seeded()))
    assert posterior.means.shape == (3, k, 2)
    GaussianMixture(posterior.log_weights, posterior.means, posterior.scale_trils)  # validates


def test_full_turns_of_an_angle_change_nothing(moved: MixtureTransformer) -> None:
    prior, rows = evidence(2, 2, ANGLES)(seeded())
    turned = rows.clone()
    turned[..., :2] += 2 * torch.pi * torch.tensor([1.0, -2.0])
    assert_same(moved(prior, turned).means, moved(prior, rows).means, rtol=1e-3, atol=1e-3)


# Learning


def gap(network: MixtureTransformer, prior: Prior) -> float:
    """Mean distance of the log density from the reference's."""
    task = prior.sample(4000, generator=seeded(1000))
    with torch.no_grad():
        log_prob = network(*task.observed).log_prob(task.hidden)
    return (prior.posterior(task).log_prob(task.hidden) - log_prob).mean().item()


def train(network: MixtureTransformer, prior: Prior, steps: int, lr: float) -> None:
    """A short training on the laws of tasks."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        task = prior.sample(128, generator=seeded(step))
        loss = -network(*task.observed).expected_log_prob(task.law).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def test_learns_a_posterior_that_is_no_gaussian_and_the_prior_of_its_family() -> None:
    prior = InverseGammaVariance(empty=0.2, candidates=16)
    network = fitted(prior, n_latent=1, sources=VALUES, prior_kind="parameters", bijections=["log"])
    before = gap(network, prior.with_context(1, 1))
    train(network, prior, steps=150, lr=1e-2)
    assert before > 0.3
    assert gap(network, prior.with_context(1, 1)) < 0.04
    assert gap(network, prior.with_context(0, 1)) < 0.04


# Preparation


def test_scales_are_those_of_the_prior() -> None:
    network = fitted(LinearGaussian(2, 2, empty=0.0, meta_prior={"mean_covariance": 25.0}), sources=OUTPUTS)
    assert (network.latent_scale > 3).all()
    assert (network.rows.scale > 1).all()
    family = fitted(InverseGammaVariance(), n_latent=1, sources=VALUES, prior_kind="parameters", bijections=["log"])
    assert family.prior is not None
    tokens = InverseGammaVariance().sample(5000, generator=seeded(7)).observed.prior
    assert_same(family.prior.standardized(tokens).std(0), torch.ones(2), rtol=0.2, atol=0)


def test_summaries_tell_priors_and_observations_of_the_training_from_others() -> None:
    prior = LinearGaussian(2, 2, empty=0.0, rows=3)
    network = fitted(prior, sources=OUTPUTS)
    tokens, rows = prior.sample(500, generator=seeded(9)).observed
    near = network.summary(tokens, rows)
    assert near.shape == (500, len(network.summary_names))
    assert (near[:, 0].exp() < 6).float().mean() > 0.98
    for column in (1, 2, 3, 4):  # means, then logarithms of deviations
        far = tokens.clone()
        far[:, 0, column] += 30
        assert (network.summary(far, rows)[:, 0].exp() > 6).all()
    rows[:, 1, 0] += 1000
    far = network.summary(tokens, rows)
    assert (far[:, 1] > near[:, 1].max()).all()
    assert_same(far[:, 0], near[:, 0])
    assert network.summary(tokens, rows[:, :0]).isnan().all(0).tolist() == [False, *[True] * 4]


def test_conflict_is_chi_square_where_all_is_gaussian() -> None:
    """Posterior means of x ~ N(0, C) given x + e, e ~ N(0, R), move by what has the covariance C - C₁."""
    before, noise = torch.tensor([[2.0, 0.5], [0.5, 1.0]]), 0.3 * torch.eye(2)
    gain = before @ torch.linalg.inv(before + noise)
    after = before - gain @ before
    moved = torch.randn(4000, 2, generator=seeded(4)) @ torch.linalg.cholesky(before - after).mT

    def mixtures(means: torch.Tensor, covariance: torch.Tensor) -> MixtureTensors:
        scale_trils = torch.linalg.cholesky(covariance).expand(len(means), 1, 2, 2)
        return MixtureTensors(torch.zeros(len(means), 1), means[:, None], scale_trils)

    found, narrowing = conflict(mixtures(torch.zeros(4000, 2), before), mixtures(moved, after))
    squares = 2 * (found.double().exp() - 1e-3)
    assert stats.kstest(squares.numpy(), stats.chi2(2).cdf).pvalue > 1e-3
    assert_same(narrowing, (torch.logdet(after) - torch.logdet(before)).expand(4000) / 2, rtol=1e-4, atol=1e-4)


def test_distance_is_in_deviations_of_a_normal_law() -> None:
    draws = 5 + 2 * torch.randn(200_000, 2, generator=seeded())
    measure = PriorRange(1, first=1)
    measure.fit(draws)
    assert_same(measure(torch.tensor([[[99.0, 5.0], [99.0, 13.0]]])), torch.tensor([4.0]), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_latent": 3}, "prior tokens of 10 numbers"),
        ({"sources": VALUES}, "rows of 2 numbers"),
        ({"prior_kind": "parameters", "n_parameters": 6}, "Expected 1 prior tokens"),
    ],
)
def test_priors_of_other_sizes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(LinearGaussian(2, 2, meta_prior={"components": 3}), **{"sources": OUTPUTS, **arguments})


def test_latents_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="latents have 1 numbers"):
        fitted(InverseGammaVariance(), n_latent=2, sources=VALUES, prior_kind="parameters")


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_latent": 0}, "Sizes must be positive"),
        ({"width": 15}, "multiple of n_heads"),
        ({"n_layers": 0}, "Sizes must be positive"),
        ({"prior_kind": "gaussian"}, "prior_kind must be one of mixture, parameters"),
        ({"bijections": ["log"]}, "bijections"),
        ({"bijections": ["log", "square"]}, "square"),
        ({"sources": []}, "there must be one at least"),
        ({"sources": [{"name": "a", "length": 2}]}, "name, size and angle"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixtureTransformer(**{**SMALL_MIXTURES, **changes})


@pytest.mark.parametrize(
    ("prior", "rows", "message"),
    [
        ((3, 4, 6), (3, 2, 4), "rows of 5 numbers, indicators"),
        ((3, 4, 5), (3, 2, 5), "any number of prior tokens of 6 numbers"),
        ((3, 0, 6), (3, 2, 5), "any number of prior tokens of 6 numbers"),
        ((3, 4, 6), (2, 2, 5), "must agree in tasks"),
        ((3, 6), (3, 2, 5), "Expected a prior"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    moved: MixtureTransformer, prior: tuple[int, ...], rows: tuple[int, ...], message: str
) -> None:
    parts: list[Tensor] = [torch.zeros(prior), torch.zeros(rows)]
    with pytest.raises(ValueError, match=message):
        moved(*parts)


def test_priors_without_a_spread_in_some_direction_have_no_conflict() -> None:
    """Their covariance has no factor; the problems beside them keep their numbers."""
    scale_trils = torch.stack([torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 1e-10]])])[:, None]
    mixture = MixtureTensors(torch.zeros(2, 1), torch.zeros(2, 1, 2), scale_trils)
    for found in conflict(mixture, mixture):
        assert found.isnan().tolist() == [False, True]
