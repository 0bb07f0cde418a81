"""Mixtures of Gaussians seen through bijections, against scipy and numerical integration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import InverseGamma, Normal

from priorfit.distributions import GaussianMixture, ScalarEvent, TransformedMixture, WeightedPoints
from priorfit.distributions.bijections import BIJECTIONS, from_real, log_slope, to_real
from tests.cases import assert_same, gaussian_mixture, seeded

ENDS = {"identity": (-40.0, 40.0), "log": (0.0, 400.0), "logit": (0.0, 1.0)}


def single(name: str, mean: float = 0.3, scale: float = 0.7) -> TransformedMixture:
    """Two components of one number, no batch, float64."""
    options: dict[str, Any] = {"dtype": torch.float64}
    means = torch.tensor([[mean], [mean - 1]], **options)
    scales = torch.tensor([[[scale]], [[scale / 2]]], **options)
    return TransformedMixture(GaussianMixture(torch.tensor([0.4, 0.6], **options).log(), means, scales), [name])


def integral(law: TransformedMixture, power: int, start: float, end: float) -> float:
    """Of x^power p(x) from start to end."""

    def integrand(x: float) -> float:
        return x**power * law.log_prob(torch.tensor([x], dtype=torch.float64)).exp().item()

    breaks = [point for point in (0.02, 0.1, 0.5, 2.0, 10.0) if start < point < end]
    return integrate.quad(integrand, start, end, points=breaks or None, limit=200, epsabs=1e-10)[0]


@pytest.mark.parametrize("name", BIJECTIONS)
def test_density_integrates_to_one_and_gives_the_moments_and_the_cdf(name: str) -> None:
    law, (start, end) = single(name), ENDS[name]
    assert integral(law, 0, start, end) == pytest.approx(1, abs=1e-7)
    mean = integral(law, 1, start, end)
    assert law.mean.item() == pytest.approx(mean, abs=1e-6)
    assert law.variance.item() == pytest.approx(integral(law, 2, start, end) - mean**2, abs=1e-5)
    value = torch.tensor([0.4], dtype=torch.float64)
    assert law.cdf(value).item() == pytest.approx(integral(law, 0, start, 0.4), abs=1e-7)


@pytest.mark.parametrize("name", BIJECTIONS)
def test_icdf_inverts_the_cdf(name: str) -> None:
    levels = torch.tensor([0.01, 0.5, 0.9], dtype=torch.float64)
    quantiles = single(name).icdf(levels)
    assert quantiles.shape == (3, 1)
    assert_same(single(name).cdf(quantiles), levels, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_moments_of_wide_logit_normals(scale: float) -> None:
    def moment(power: int) -> float:
        def integrand(z: float) -> float:
            return float(stats.norm.pdf(z)) / (1 + math.exp(-(0.3 + scale * z))) ** power

        return integrate.quad(integrand, -10, 10, points=[-0.3 / scale], epsabs=1e-12, limit=500)[0]

    base = GaussianMixture(torch.zeros(1), torch.tensor([[0.3]]), torch.tensor([[[scale]]]))
    law = TransformedMixture(base, ["logit"])
    assert law.mean.item() == pytest.approx(moment(1), abs=1e-6)
    assert law.variance.item() == pytest.approx(moment(2) - moment(1) ** 2, abs=1e-6)


def test_log_normal_is_scipys() -> None:
    base = GaussianMixture(torch.zeros(1), torch.tensor([[0.3]]), torch.tensor([[[0.7]]]))
    law, value = TransformedMixture(base, ["log"]), torch.tensor([[0.1], [1.0], [20.0]])
    expected: Any = stats.lognorm(0.7, scale=math.exp(0.3))
    np.testing.assert_allclose(law.log_prob(value), expected.logpdf(value[:, 0]), rtol=1e-5)
    assert law.mean.item() == pytest.approx(expected.mean(), rel=1e-5)
    assert law.variance.item() == pytest.approx(expected.var(), rel=1e-5)


def test_jacobians_are_those_of_automatic_differentiation() -> None:
    x = torch.tensor([0.3, 0.2, 0.9], dtype=torch.float64)
    names = ["identity", "log", "logit"]
    jacobian = torch.autograd.functional.jacobian(lambda value: to_real(names, value), x)
    assert log_slope(names, x).item() == pytest.approx(jacobian.det().log().item())  # type: ignore[union-attr]
    assert_same(from_real(names, to_real(names, x)), x, rtol=1e-12, atol=1e-12)


def test_nothing_lies_outside_the_support() -> None:
    law = single("logit")
    values = torch.tensor([[-0.1], [0.0], [1.0], [1.5]], dtype=torch.float64)
    assert law.log_prob(values).tolist() == [-torch.inf] * 4
    assert law.cdf(values).tolist() == [0, 0, 1, 1]
    assert law.support.check(values).tolist() == [False] * 4
    assert single("log").log_prob(values[:1]).item() == -torch.inf
    assert single("log").cdf(values[:2]).tolist() == [0, 0]


def test_draws_stay_inside_the_support_where_rounding_would_leave_it() -> None:
    far = GaussianMixture(torch.zeros(1), torch.tensor([[60.0, -200.0, 200.0]]), torch.eye(3)[None])
    law = TransformedMixture(far, ["logit", "log", "logit"])
    draws = law.sample((100,))
    assert law.support.check(draws).all()
    assert law.log_prob(draws).isfinite().all()


def test_marginal_keeps_the_bijections() -> None:
    law = TransformedMixture(gaussian_mixture(3), ["logit", "identity", "log"])
    marginal = law.marginal([2, 0])
    assert marginal.bijections == ("log", "logit")
    assert_same(marginal.mean, law.mean[..., [2, 0]], rtol=1e-9, atol=1e-9)


def test_expected_log_prob_averages_over_points_with_finite_gradients() -> None:
    given = gaussian_mixture(2)
    means = given.means.clone().requires_grad_()
    law = TransformedMixture(GaussianMixture(given.log_weights, means, given.scale_trils), ["log", "logit"])
    points = torch.rand(2, 3, 4, 2, generator=seeded(), dtype=torch.float64)
    weighted = WeightedPoints(points, torch.randn(2, 3, 4, generator=seeded(1), dtype=torch.float64))
    expected = (weighted.weights * torch.stack([law.log_prob(point) for point in points.unbind(-2)], -1)).sum(-1)
    assert_same(law.expected_log_prob(weighted), expected, rtol=1e-9, atol=1e-9)
    without = WeightedPoints(torch.zeros(2, 3, 4, 2), torch.tensor([0.0, *[-torch.inf] * 3]).expand(2, 3, 4))
    without.values[..., 0, :] = 0.5  # the others are outside the support
    law.expected_log_prob(without).sum().backward()
    assert means.grad is not None
    assert means.grad.isfinite().all()


@pytest.mark.parametrize(
    ("names", "message"),
    [(["log"], "2 latent numbers need 2 bijections"), (["log", "exp"], "Unknown bijection 'exp'"), ("log", "need 2")],
)
def test_impossible_bijections_are_refused(names: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformedMixture(gaussian_mixture(2), names)


def test_scalar_events_are_vectors_of_length_one() -> None:
    law = ScalarEvent(Normal(torch.zeros(4, 1), 2 * torch.ones(4, 1)))
    assert (law.batch_shape, law.event_shape) == ((4,), (1,))
    value = torch.ones(4, 1)
    assert_same(law.log_prob(value), Normal(0.0, 2.0).log_prob(torch.ones(4)))
    assert_same(law.cdf(value), Normal(0.0, 2.0).cdf(torch.ones(4)))
    assert_same(law.icdf(law.cdf(value)), value, rtol=1e-5, atol=1e-5)
    assert law.expand(torch.Size((2, 4))).log_prob(value).shape == (2, 4)
    for base in (Normal(0.0, 1.0), InverseGamma(torch.ones(2), torch.ones(2)), law):
        with pytest.raises(ValueError, match="batch shape"):
            ScalarEvent(base)
