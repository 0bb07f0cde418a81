"""Laws of priors: moments of what they draw, and densities of the families against scipy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from priorfit.distributions import GaussianMixture
from priorfit.priors.component_covariances import build_component_covariances, wishart_factor
from priorfit.priors.latent_law import BetaLaw, InverseGammaLaw, MixtureLaw, NamedLaw, NormalLaw
from priorfit.priors.meta_priors import build_meta_prior
from priorfit.priors.mixture_meta_prior import MixtureMetaPrior
from tests.cases import assert_mean, assert_uniform, seeded


def test_wishart_factors_have_the_laws_moments() -> None:
    root = wishart_factor((20_000,), 3, 5.5, seeded())
    product = root @ root.mT
    assert_mean(product[:, 0, 0], 5.5)
    assert_mean(product[:, 2, 2], 5.5)
    assert_mean(product[:, 2, 0], 0.0)
    assert_mean(product[:, 1, 0].square(), 5.5)  # variance: freedom (s_ij² + s_ii s_jj)
    assert_mean((product[:, 2, 2] - 5.5).square(), 11.0)


def covariances(spec: dict[str, Any], n: int = 5000, k: int = 2, d: int = 2) -> Tensor:
    factors = build_component_covariances(spec, d).draw(n, k, seeded())
    assert factors.triu(1).eq(0).all()
    return factors @ factors.mT  # (n, k, d, d)


def test_precisions_are_wishart() -> None:
    precision = torch.linalg.inv(covariances({"law": "wishart", "freedom": 4.0, "scale": 0.5, "jitter": 0.25}))
    assert_mean(precision[:, 0, 1, 1], 2.25)
    assert_mean(precision[:, 1, 0, 1], 0.0)
    assert precision.diagonal(dim1=-2, dim2=-1).min() > 0.25


def test_default_wishart_correlations_are_uniform() -> None:
    matrix = covariances({"law": "wishart", "jitter": 0.0})[:, 0]
    correlation = matrix[:, 0, 1] / (matrix[:, 0, 0] * matrix[:, 1, 1]).sqrt()
    assert_uniform((1 + correlation) / 2)


def test_variances_are_inverse_gamma() -> None:
    matrix = covariances({"law": "inverse_gamma", "concentration": 2.0, "rate": 3.0})
    assert_uniform(stats.invgamma.cdf(matrix.diagonal(dim1=-2, dim2=-1)[:, 1], 2.0, scale=3.0))
    assert matrix[..., 0, 1].eq(0).all()


def test_scales_are_log_uniform_and_components_differ_by_ratios() -> None:
    matrix = covariances({"law": "log_uniform", "scale": [0.1, 2.0], "ratio": 1.0})
    scale = matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    assert_uniform((scale[:, 0, 1] / 0.1).log() / np.log(20))
    torch.testing.assert_close(scale[:, 0], scale[:, 1])
    ratio = covariances({"law": "log_uniform", "scale": [0.1, 2.0], "ratio": 3.0})[..., 0, 0].sqrt()
    change = (ratio[:, 1] / ratio[:, 0]).log().abs()
    assert change.max() < 2 * np.log(3)
    assert_mean(change, 2 * np.log(3) / 3)  # of two uniform numbers on an interval, a third of its length
    correlation = matrix[:, 0, 0, 1] / scale[:, 0].prod(-1)
    assert_uniform((1 + correlation) / 2)


def mixtures(n: int = 4000, **arguments: Any) -> GaussianMixture:
    law = build_meta_prior({"family": "mixture", **arguments}).draw(n, seeded())
    assert isinstance(law, MixtureLaw)
    return law.mixture


def test_weights_are_dirichlet() -> None:
    weights = mixtures(dimension=1, components=4, concentration=0.25).weights.double()
    assert_mean(weights[:, 3], 0.25)
    assert_mean((weights[:, 0] - 0.25).square(), 0.25 * 0.75 / 2)  # p (1 - p) / (1 + sum of concentrations)
    assert weights.min() > 0.9e-6
    ranged = mixtures(dimension=1, components=4, concentration=[0.01, 100.0]).weights.double()
    share = (np.log(100 / 401) - np.log(0.01 / 1.04)) / np.log(1e4)  # E[1 / (1 + 4 c)] for log-uniform c
    assert_mean((ranged[:, 0] - 0.25).square(), 0.25 * 0.75 * share)


def test_means_are_normal_around_a_common_centre() -> None:
    published = [[2.0, 1.0], [1.0, 2.0]]
    means = mixtures(dimension=2, components=3, mean_covariance=published).means.double()
    assert_mean(means[:, 0, 0] * means[:, 0, 1], 1.0)
    assert_mean(means[:, 1, 0].square(), 2.0)
    assert_mean(means[:, 1, 0] * means[:, 2, 0], 0.0)
    shifted = mixtures(dimension=2, components=3, centre=[3.0, 0.0], spread=0.5).means.double()
    assert_mean(shifted[:, 0, 0] * shifted[:, 1, 0], 9.0)
    assert_mean(shifted[:, 0, 1] * shifted[:, 1, 1], 0.0)
    assert_mean((shifted[:, 0, 0] - shifted[:, 1, 0]).square(), 0.5)
    ranged = mixtures(dimension=2, components=2, spread=[0.01, 1.0]).means.double()
    assert_mean(ranged[:, 0, 0].square(), (1 - 0.01**2) / 2 / np.log(100))


def test_number_of_components_is_drawn_per_batch() -> None:
    meta_prior, generator = MixtureMetaPrior(1, components=[2, 4]), seeded()
    counts = [meta_prior.draw(1, generator).tokens.shape[1] for _ in range(60)]
    assert set(counts) == {2, 3, 4}


def test_mixture_laws_are_what_their_tokens_say() -> None:
    law = MixtureMetaPrior(2, components=3).draw(4, seeded())
    points = law.draw(5, seeded(1))
    twin = GaussianMixture.from_packed(law.tokens, 2)
    assert points.shape == (4, 5, 2)
    torch.testing.assert_close(law.log_prob(points), twin.log_prob_of_points(points))
    assert law.draw(1, seeded()).dtype == law.tokens.dtype == torch.float32


FAMILIES: list[tuple[type[NamedLaw], Callable[[float, float], Any], tuple[float, float]]] = [
    (NormalLaw, lambda mean, variance: stats.norm(mean, variance**0.5), (-1.0, 4.0)),
    (BetaLaw, stats.beta, (0.7, 2.5)),
    (InverseGammaLaw, lambda a, b: stats.invgamma(a, scale=b), (1.5, 0.8)),
]


@pytest.mark.parametrize(("cls", "scipys", "parameters"), FAMILIES, ids=lambda value: getattr(value, "__name__", ""))
def test_families_draw_from_their_density(
    cls: type[NamedLaw], scipys: Callable, parameters: tuple[float, float]
) -> None:
    law = cls(*(torch.tensor([value, value]) for value in parameters))
    draws, expected = law.draw(2000, seeded()), scipys(*parameters)
    assert draws.shape == (2, 2000, 1)
    assert_uniform(expected.cdf(draws.double()))
    np.testing.assert_allclose(law.log_prob(draws), expected.logpdf(draws[..., 0].double()), rtol=1e-4, atol=1e-5)
    twin = cls.from_tokens(law.tokens)
    assert twin.first[0].item() == pytest.approx(parameters[0], rel=1e-6)
    assert twin.second[1].item() == pytest.approx(parameters[1], rel=1e-6)


def test_draws_of_extreme_families_stay_inside() -> None:
    small = torch.full((1,), 0.01)
    beta, inverse = BetaLaw(small, small).draw(1000, seeded()), InverseGammaLaw(small, small).draw(1000, seeded())
    assert ((beta > 0) & (beta < 1)).all()
    assert ((inverse > 0) & inverse.isfinite()).all()


def test_parameters_of_families_have_their_laws() -> None:
    laws = {"concentration": {"law": "gamma", "concentration": 3.0, "rate": 6.0}, "rate": 2.0}
    drawn = build_meta_prior({"family": "inverse_gamma", **laws}).draw(2000, seeded())
    assert_uniform(stats.gamma.cdf(drawn.tokens[:, 0, 0].double().exp(), 3.0, scale=1 / 6))
    assert drawn.tokens[:, 0, 1].exp().tolist() == pytest.approx([2.0] * 2000)
    normal = build_meta_prior({"family": "normal", "mean": {"loc": 1.0, "scale": 3.0}, "variance": 2.0})
    assert_uniform(stats.norm.cdf(normal.draw(2000, seeded()).tokens[:, 0, 0], 1.0, 3.0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "Unknown family"),
        ({"family": "inverse_gama"}, "did you mean 'inverse_gamma'"),
        ({"family": "beta", "alpha": 1.0}, "takes alpha and beta, not alpha"),
        ({"family": "beta", "alpha": 1.0, "beta": -1.0}, "beta must be a positive number"),
        ({"family": "normal", "mean": 1.0, "variance": 1.0}, "loc and scale"),
        ({"family": "mixture"}, "dimension"),
        ({"family": "mixture", "dimension": 2, "sigma": 1.0}, "sigma"),
        ({"family": "mixture", "dimension": 2, "components": 0}, "components must"),
        ({"family": "mixture", "dimension": 2, "concentration": -1.0}, "concentration must"),
        ({"family": "mixture", "dimension": 2, "spread": [2.0, 1.0]}, "spread must"),
        ({"family": "mixture", "dimension": 2, "centre": [1.0, 2.0, 3.0]}, "centre must"),
        ({"family": "mixture", "dimension": 2, "mean_covariance": [[1.0]]}, "2 x 2"),
        ({"family": "mixture", "dimension": 2, "mean_covariance": -1.0}, "not positive definite"),
        ({"family": "mixture", "dimension": 2, "covariance": {"law": "wischart"}}, "did you mean 'wishart'"),
        ({"family": "mixture", "dimension": 2, "covariance": {"law": "wishart", "freedom": 1.0}}, "freedom > d - 1"),
        ({"family": "mixture", "dimension": 2, "covariance": {"law": "wishart", "df": 4.0}}, "df"),
        ({"family": "mixture", "dimension": 2, "covariance": {"law": "log_uniform", "scale": [0.0, 1.0]}}, "scale"),
        ({"family": "mixture", "dimension": 2, "covariance": {"law": "log_uniform", "ratio": 0.5}}, "ratio"),
        ({"family": "mixture", "dimension": 2, "covariance": {"law": "log_uniform", "freedom": 0.5}}, "freedom"),
        ({"family": "mixture", "dimension": 2, "covariance": {"law": "inverse_gamma", "rate": 0.0}}, "positive"),
    ],
)
def test_impossible_specs_are_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_meta_prior(spec)
