"""Mixtures of Gaussians against scipy, against dense Gaussian algebra, and against numerical integration.

Letters: k components, d numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import Normal

from priorfit.distributions import GaussianMixture, TransformedMixture, WeightedPoints
from tests.cases import assert_mean, assert_same, gaussian_mixture, seeded

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def parts(mixture: GaussianMixture, *index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances of one mixture of the batch."""
    return tuple(part[index].numpy() for part in (mixture.weights, mixture.means, mixture.covariances))  # type: ignore


def scipy_log_prob(mixture: GaussianMixture, value: Tensor, *index: int) -> float:
    """Log density of one mixture of the batch at one value (d,)."""
    each = [
        w * stats.multivariate_normal.pdf(value.numpy(), m, c) for w, m, c in zip(*parts(mixture, *index), strict=True)
    ]
    return float(np.log(sum(each)))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_log_prob_is_scipys(d: int) -> None:
    mixture = gaussian_mixture(d)
    value = mixture.means[:, :, 0] + 0.3 * normal(4, 2, 3, d)
    expected = [[[scipy_log_prob(mixture, value[s, i, j], i, j) for j in range(3)] for i in range(2)] for s in range(4)]
    assert_same(mixture.log_prob(value), torch.tensor(expected, dtype=torch.float64), **CLOSE)


def test_shapes_of_values_and_batches_broadcast() -> None:
    mixture = gaussian_mixture(2)
    value = normal(5, 4, 1, 1, 2)
    full = mixture.log_prob(value.expand(5, 4, 2, 3, 2))
    assert_same(mixture.log_prob(value), full, **CLOSE)
    assert full.shape == (5, 4, 2, 3)
    assert_same(mixture.log_prob(value[0, 0, 0, 0]), full[0, 0], **CLOSE)
    points = value[0].expand(4, 2, 3, 2).movedim(0, 2)
    assert_same(mixture.log_prob_of_points(points).movedim(2, 0), full[0], **CLOSE)
    single = GaussianMixture(mixture.log_weights[0, 0], mixture.means[0, 0], mixture.scale_trils[0, 0])
    assert_same(single.log_prob(value), full[..., :1, :1], **CLOSE)


def test_moments_are_those_of_dense_algebra() -> None:
    mixture = gaussian_mixture(3)
    weights, means, covariances = parts(mixture, 1, 2)
    mean = weights @ means
    second = sum(w * (c + np.outer(m, m)) for w, m, c in zip(weights, means, covariances, strict=True))
    covariance = second - np.outer(mean, mean)
    np.testing.assert_allclose(mixture.mean[1, 2], mean, rtol=1e-12)
    np.testing.assert_allclose(mixture.covariance_matrix[1, 2], covariance, rtol=1e-9)
    np.testing.assert_allclose(mixture.variance[1, 2], covariance.diagonal(), rtol=1e-9)


def test_draws_have_the_covariance_and_come_from_the_given_generator() -> None:
    mixture = gaussian_mixture(2)
    state = torch.get_rng_state()
    draws = mixture.draw((40_000,), seeded(2))
    assert torch.get_rng_state().equal(state)
    assert_same(draws, mixture.draw((40_000,), seeded(2)))
    centred = draws - mixture.mean
    product = centred[..., 0] * centred[..., 1]
    assert_mean(product[:, 1, 1], mixture.covariance_matrix[1, 1, 0, 1].item())
    assert mixture.draw((2, 3), seeded(2)).shape == (2, 3, 2, 3, 2)


def test_marginal_integrates_the_others_out() -> None:
    mixture = gaussian_mixture(3)
    marginal = mixture.marginal([2, 0])
    weights, means, covariances = parts(mixture, 0, 1)
    own = parts(marginal, 0, 1)
    np.testing.assert_allclose(own[0], weights)
    np.testing.assert_allclose(own[1], means[:, [2, 0]])
    np.testing.assert_allclose(own[2], covariances[:, [2, 0]][:, :, [2, 0]], rtol=1e-9)


def test_condition_is_joint_over_marginal() -> None:
    mixture, value = gaussian_mixture(4), normal(2, 3, 4)
    dims, others = [3, 1], [0, 2]
    conditional = mixture.condition(dims, value[..., dims])
    expected = mixture.log_prob(value) - mixture.marginal(dims).log_prob(value[..., dims])
    assert_same(conditional.log_prob(value[..., others]), expected, **CLOSE)


def test_affine_moves_every_component() -> None:
    mixture, matrix, offset = gaussian_mixture(3), normal(2, 3), normal(2)
    noise = np.array([[0.5, 0.1], [0.1, 0.3]])
    moved = mixture.affine(matrix, offset, torch.tensor(noise))
    weights, means, covariances = parts(mixture, 1, 0)
    own, a = parts(moved, 1, 0), matrix.numpy()
    np.testing.assert_allclose(own[0], weights)
    np.testing.assert_allclose(own[1], means @ a.T + offset.numpy(), rtol=1e-9)
    np.testing.assert_allclose(own[2], a @ covariances @ a.T + noise, rtol=1e-9)


def test_affine_takes_singular_noise_and_one_matrix_per_task() -> None:
    mixture, gain = gaussian_mixture(2), torch.tensor([[0.1], [0.2]], dtype=torch.float64)
    matrices = normal(2, 3, 2, 2) + 2 * torch.eye(2)
    moved = mixture.affine(matrices, noise_covariance=gain @ gain.mT)
    each = mixture.covariances
    expected = matrices[:, :, None] @ each @ matrices[:, :, None].mT + gain @ gain.mT
    assert_same(moved.covariances, expected, **CLOSE)
    with pytest.raises(ValueError, match="not positive definite"):
        mixture.affine(torch.ones(3, 2, dtype=torch.float64))


def test_update_is_bayes_rule() -> None:
    mixture, matrix, z = gaussian_mixture(3), normal(2, 3), normal(2, 3, 2)
    noise = torch.tensor([[0.5, 0.1], [0.1, 0.3]], dtype=torch.float64)
    posterior, evidence = mixture.update(matrix, noise, z)
    for seed in range(3):  # prior times likelihood over posterior is the same everywhere
        x = normal(2, 3, 3, seed=seed)
        likelihood = torch.distributions.MultivariateNormal((matrix @ x[..., None])[..., 0], noise).log_prob(z)
        assert_same(mixture.log_prob(x) + likelihood - posterior.log_prob(x), evidence, **CLOSE)
    assert_same(evidence, mixture.affine(matrix, noise_covariance=noise).log_prob(z), **CLOSE)


def test_condition_on_values_far_out_keeps_the_weights() -> None:
    law = GaussianMixture.from_moments(
        torch.tensor([0.3, 0.7]), torch.tensor([[0.0, 1.0], [0.0, -1.0]]), torch.eye(2).expand(2, 2, 2)
    )
    assert law.condition([0], torch.tensor([1e4])).mean.item() == pytest.approx(-0.4, abs=1e-4)
    assert law.condition([0], torch.tensor([1e30])).mean.isfinite()


@pytest.mark.parametrize(
    "use",
    [
        lambda law: law.log_prob(torch.zeros(5, 1)),
        lambda law: law.log_prob(torch.zeros(5, 3)),
        lambda law: law.marginal([0]).cdf(torch.zeros(4)),
        lambda law: TransformedMixture(law, ["identity", "log"]).log_prob(torch.ones(5, 1)),
        lambda law: TransformedMixture(law.marginal([0]), ["log"]).cdf(torch.ones(4)),
        lambda law: law.affine(torch.eye(2), torch.zeros(1)),
        lambda law: law.affine(torch.eye(2), noise_covariance=torch.ones(1, 1)),
        lambda law: law.affine(torch.eye(2), noise_covariance=torch.eye(3)),
    ],
)
def test_numbers_of_another_shape_are_not_broadcast(use: Callable[[GaussianMixture], object]) -> None:
    law = GaussianMixture.from_moments(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    with pytest.raises(ValueError, match="must be"):
        use(law)


def test_update_of_one_component_is_kalmans() -> None:
    prior, matrix, z = gaussian_mixture(3, k=1), normal(2, 3), normal(2)
    noise = 0.2 * np.eye(2)
    posterior, _ = prior.update(matrix, torch.tensor(noise), z)
    _, (mean,), (covariance,) = parts(prior, 0, 0)
    h = matrix.numpy()
    gain = covariance @ h.T @ np.linalg.inv(h @ covariance @ h.T + noise)
    np.testing.assert_allclose(posterior.mean[0, 0], mean + gain @ (z.numpy() - h @ mean), rtol=1e-9)
    np.testing.assert_allclose(posterior.covariance_matrix[0, 0], covariance - gain @ h @ covariance, rtol=1e-8)


def test_update_keeps_factors_where_sensors_are_precise() -> None:
    prior = GaussianMixture(torch.zeros(1), torch.zeros(1, 2), 100 * torch.eye(2)[None])
    posterior, evidence = prior.update(torch.tensor([[1.0, 1.0]]), torch.tensor([[1e-6]]), torch.tensor([3.0]))
    assert posterior.scale_trils.dtype == evidence.dtype == torch.float32
    assert posterior.affine(torch.tensor([[1.0, 1.0]])).mean.item() == pytest.approx(3, abs=1e-3)
    assert posterior.variance.tolist() == pytest.approx([5000, 5000], rel=1e-3)


def test_cdf_is_the_integral_of_the_density() -> None:
    mixture = gaussian_mixture(1)
    single = GaussianMixture(mixture.log_weights[0, 0], mixture.means[0, 0], mixture.scale_trils[0, 0])

    def density(x: float) -> float:
        return single.log_prob(torch.tensor([x], dtype=torch.float64)).exp().item()

    for end in (-1.0, 0.2, 1.5):
        expected, _ = integrate.quad(density, -12, end, epsabs=1e-11)
        assert single.cdf(torch.tensor([end], dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-9)


def test_icdf_inverts_the_cdf() -> None:
    mixture = gaussian_mixture(1)
    levels = torch.tensor([1e-9, 0.03, 0.5, 0.999], dtype=torch.float64)[:, None, None].expand(4, 2, 3)
    quantiles = mixture.icdf(levels)
    assert quantiles.shape == (4, 2, 3, 1)
    assert_same(mixture.cdf(quantiles), levels, rtol=1e-6, atol=1e-15)
    ends = mixture.icdf(torch.tensor([0.0, 1.0])[:, None, None])
    assert ends[0].eq(-torch.inf).all()
    assert ends[1].eq(torch.inf).all()


def test_icdf_ignores_components_of_weight_zero() -> None:
    log_weights = torch.tensor([0.0, -torch.inf])
    mixture = GaussianMixture(log_weights, torch.tensor([[0.0], [50.0]]), torch.ones(2, 1, 1))
    assert mixture.icdf(torch.tensor(0.975)).item() == pytest.approx(1.959964, abs=1e-5)


@pytest.mark.parametrize("d", [2, 3])
def test_cdf_and_icdf_are_of_one_number(d: int) -> None:
    with pytest.raises(NotImplementedError, match="marginal"):
        gaussian_mixture(d).cdf(torch.zeros(d))
    with pytest.raises(NotImplementedError, match="marginal"):
        gaussian_mixture(d).icdf(torch.tensor(0.5))


def test_packed_is_log_weight_mean_log_diagonal_and_what_is_below() -> None:
    mixture = gaussian_mixture(3)
    packed = mixture.packed()
    assert packed.shape == (2, 3, 3, 10)
    tril = mixture.scale_trils[1, 1, 2]
    below = [tril[1, 0], tril[2, 0], tril[2, 1]]
    expected = [mixture.log_weights[1, 1, 2], *mixture.means[1, 1, 2], *tril.diagonal().log(), *below]
    assert packed[1, 1, 2].tolist() == [number.item() for number in expected]
    assert_same(GaussianMixture.from_packed(packed, 3), mixture, **CLOSE)
    assert gaussian_mixture(1).packed().shape == (2, 3, 3, 3)


def test_from_moments_factors_covariances() -> None:
    mixture = gaussian_mixture(3)
    twin = GaussianMixture.from_moments(mixture.weights, mixture.means, mixture.covariances)
    assert_same(twin, mixture, rtol=1e-6, atol=1e-6)


def expected_log_prob(mixture: GaussianMixture, points: Tensor, weights: Tensor) -> Tensor:
    """By the definition."""
    return (weights * torch.stack([mixture.log_prob(point) for point in points.unbind(-2)], -1)).sum(-1)


def test_expected_log_prob_averages_over_points() -> None:
    mixture, points = gaussian_mixture(2), normal(2, 3, 5, 2)
    law = WeightedPoints(points, normal(2, 3, 5))
    assert_same(mixture.expected_log_prob(law), expected_log_prob(mixture, points, law.weights), **CLOSE)
    with pytest.raises(TypeError, match="WeightedPoints"):
        mixture.expected_log_prob(Normal(0.0, 1.0))


def test_gradients_are_finite_where_points_have_no_weight() -> None:
    given = gaussian_mixture(2)
    tensors = [part.float().requires_grad_() for part in (given.log_weights, given.means, given.scale_trils)]
    points, log_weights = normal(2, 3, 4, 2).float(), torch.zeros(2, 3, 4)
    points[..., 1, :], log_weights[..., 1] = 1e30, -torch.inf  # its log density is -inf
    points[..., 2, :], log_weights[..., 2] = torch.nan, -torch.inf
    loss = (
        GaussianMixture(tensors[0], tensors[1], tensors[2]).expected_log_prob(WeightedPoints(points, log_weights)).sum()
    )
    gradients = torch.autograd.grad(loss, tensors)
    kept = WeightedPoints(points[..., [0, 3], :], log_weights[..., [0, 3]])
    expected = torch.autograd.grad(
        GaussianMixture(tensors[0], tensors[1], tensors[2]).expected_log_prob(kept).sum(), tensors
    )
    assert_same(gradients, expected, rtol=1e-5, atol=1e-5)


def test_components_of_weight_zero_have_no_part_and_finite_gradients() -> None:
    log_weights = torch.tensor([0.0, -torch.inf], requires_grad=True)
    means = torch.zeros(2, 1, requires_grad=True)
    loss = GaussianMixture(log_weights, means, torch.ones(2, 1, 1)).log_prob(torch.ones(1))
    loss.backward()
    assert loss.item() == pytest.approx(Normal(0, 1).log_prob(torch.ones(())).item())
    assert means.grad is not None
    assert log_weights.grad is not None
    assert means.grad.flatten().tolist() == [1, 0]
    assert log_weights.grad.isfinite().all()


def build(weights: list, covariance: list) -> GaussianMixture:
    k = len(weights)
    matrices = torch.tensor(covariance).expand(k, 2, 2)
    return GaussianMixture.from_moments(torch.tensor(weights), torch.zeros(k, 2), matrices)


EYE = [[1.0, 0.0], [0.0, 1.0]]
HALF = torch.tensor([0.5, 0.5]).log()
TRILS = torch.eye(2).expand(2, 2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build([0.5, 0.6], EYE), "sum to one; their sums are between 1.1"),
        (lambda: build([1.5, -0.5], EYE), "negative"),
        (lambda: build([0.5, torch.nan], EYE), "sum to one"),
        (lambda: build([0.5, 0.5], [[1.0, 2.0], [2.0, 1.0]]), "2 of 2 covariance matrices are not positive definite"),
        (lambda: build([0.5, 0.5], [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: build([0.5, 0.5], [[1.0, torch.nan], [torch.nan, 1.0]]), "finite"),
        (lambda: GaussianMixture.from_moments(torch.ones(1), torch.zeros(1, 2), torch.eye(3)[None]), "covariances"),
        (lambda: GaussianMixture(HALF, torch.zeros(2, 2), torch.eye(2)), "scale_trils"),
        (lambda: GaussianMixture(HALF, torch.zeros(3, 2), torch.eye(2).expand(3, 2, 2)), "log_weights"),
        (lambda: GaussianMixture(HALF + 1, torch.zeros(2, 2), TRILS), "sum to one"),
        (lambda: GaussianMixture(HALF, torch.full((2, 2), torch.nan), TRILS), "finite"),
        (lambda: GaussianMixture(HALF, torch.zeros(2, 2), -TRILS), "positive diagonal"),
        (lambda: GaussianMixture(HALF, torch.zeros(2, 2), torch.ones(2, 2, 2)), "lower triangular"),
        (lambda: GaussianMixture.from_packed(torch.zeros(1, 5), 2), r"6 parameters"),
        (lambda: gaussian_mixture().marginal([]), "at least one"),
        (lambda: gaussian_mixture().marginal([0, 2]), "from 0 to 1"),
        (lambda: gaussian_mixture().condition([0, 1], torch.zeros(2)), "leave at least one"),
        (lambda: gaussian_mixture().condition([0], torch.zeros(2)), "values"),
        (lambda: gaussian_mixture().affine(torch.eye(3)), r"\(..., m, 2\), not \(3, 3\)"),
        (lambda: gaussian_mixture().update(torch.eye(2), torch.eye(2), torch.zeros(3)), "observation"),
        (lambda: gaussian_mixture().update(torch.eye(2), torch.eye(1), torch.zeros(2)), "noise covariance"),
    ],
)
def test_impossible_mixtures_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
