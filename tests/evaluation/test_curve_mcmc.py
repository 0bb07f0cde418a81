"""The MCMC's density against torch and scipy, its predictions against what is known, and its diagnostics."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import RandomState
from scipy import stats

from priorfit.evaluation import curve_mcmc
from priorfit.evaluation.curve_mcmc import Chain, CurvePosterior, check_covered, curves, score_curve
from priorfit.priors import GaussianProcess, LearningCurve
from priorfit.priors.curve_bases import BASES
from tests.cases import seeded

LENGTH = 20
NAMES = ("pow3", "ilog2", "janoschek")
SMALL = Chain(walkers=40, burn_in=200, steps=1000, thin=10)


def natural(points: np.ndarray) -> torch.Tensor:
    """The parameters as the prior's own code takes them, (P - 1, S), float64."""
    parameters = torch.from_numpy(points[:, :-1].copy())
    parameters[:, [2, 7, 8]] = parameters[:, [2, 7, 8]].exp()
    return parameters.T


def expected_density(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Log density with all constants but the prior's acceptance rate."""
    mixture = LearningCurve(length=LENGTH).mixture
    f = mixture.curves(natural(points), torch.arange(1.0, LENGTH + 1).double().log()).numpy()
    laws = [law for name in NAMES for law in BASES[name].parameters.values()]
    density = np.zeros(len(points))
    for law, column in zip(laws, points.T, strict=False):
        uniform = law.law == "uniform"
        known = stats.uniform(law.first, law.second - law.first) if uniform else stats.norm(law.first, law.second)
        density += known.logpdf(column)
    density += stats.norm(-4, 1).logpdf(points[:, -1])
    density += stats.norm(f[:, : len(values)], np.exp(points[:, -1:])).logpdf(values).sum(1)
    good = (f.min(1) >= 0) & (f.max(1) <= 1) & (f[:, -1] > f[:, 0])
    return np.where(good & ((points[:, 9:12] >= 0) & (points[:, 9:12] <= 1)).all(1), density, -np.inf)


def some_points() -> np.ndarray:
    """Draws of the prior, most of them moved, so that some leave the support."""
    points = curve_mcmc.prior_draws(LENGTH).points[:300].copy()
    return points + 0.1 * np.random.default_rng(0).normal(size=points.shape) * (np.arange(300) % 3)[:, None]


@pytest.mark.parametrize("n", [0, 1, 7])
def test_density(n: int) -> None:
    points, values = some_points(), np.linspace(0.3, 0.5, n)
    density, expected = CurvePosterior(LENGTH, values)(points), expected_density(points, values)
    inside = np.isfinite(expected)
    assert 120 < inside.sum() < 290
    np.testing.assert_array_equal(np.isfinite(density), inside)
    constant = density[inside] - expected[inside]
    np.testing.assert_allclose(constant, constant[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("index", "value"), [(0, -0.01), (1, 0.61), (4, -0.51), (6, 2.1), (9, -0.01), (11, 1.01), (2, 800.0)]
)
def test_outside_of_the_support(index: int, value: float) -> None:
    """The last one makes the curve NaN at its first step."""
    points = np.tile(curve_mcmc.DEFAULT, (2, 1))
    points[0, index] = value
    density = CurvePosterior(LENGTH, np.array([0.3]))(points)
    assert np.isneginf(density[0])
    assert np.isfinite(density[1])


def test_curves_must_rise_and_stay_in_the_unit_range() -> None:
    falling, high, low = (curve_mcmc.DEFAULT.copy() for _ in range(3))
    falling[[1, 4, 5, 6]] = -0.3, -0.3, 0.1, 0.4
    high[9:12] = 1
    low[[0, 3, 5, 6]] = 0.3, 0.1, 0.2, 0
    f = curves(np.stack([falling, high, low]), np.log(np.arange(1.0, LENGTH + 1)))
    assert f[0, -1] < f[0, 0]
    assert f[1].max() > 1
    assert f[2].min() < 0
    assert np.isneginf(CurvePosterior(LENGTH, np.empty(0))(np.stack([falling, high, low]))).all()


def test_draws_of_the_prior() -> None:
    """Their curves and noise have the quantiles of what the prior samples."""
    draws = curve_mcmc.prior_draws(LENGTH)
    clean, std = LearningCurve(length=LENGTH).sample_curves(20_000, seeded(3))
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    for step in (0, LENGTH - 1):
        np.testing.assert_allclose(
            np.quantile(draws.curves[:, step], levels), np.quantile(clean[:, step], levels), atol=0.015
        )
    np.testing.assert_allclose(
        np.quantile(draws.points[:, -1], levels), np.quantile(std[:, 0].log(), levels), atol=0.06
    )
    assert np.isfinite(CurvePosterior(LENGTH, np.empty(0))(draws.points)).all()


@pytest.mark.parametrize("values", [[], [0.5], [0.9, 0.5, 0.3, 0.1], [1.3, 1.2, 1.4], [0.0] * 10, [0.2, 0.4, 0.5]])
def test_walkers_start_inside_the_support(values: list[float]) -> None:
    posterior = CurvePosterior(LENGTH, np.array(values))
    walkers = curve_mcmc.around_fit(posterior, 30, RandomState(0))
    assert np.isfinite(posterior(walkers)).all()
    assert 0 < walkers.std(0).max() < 1e-5


def test_walkers_start_at_the_fit() -> None:
    truth = curve_mcmc.prior_draws(LENGTH).points[5]
    x = np.log(np.arange(1.0, LENGTH + 1))
    values = curves(truth[None], x)[0]
    walkers = curve_mcmc.around_fit(CurvePosterior(LENGTH, values), 30, RandomState(0))
    np.testing.assert_allclose(curves(walkers, x), np.tile(values, (30, 1)), atol=0.003)


def test_walkers_start_at_likely_draws() -> None:
    posterior = CurvePosterior(LENGTH, np.array([0.31, 0.36, 0.4]))
    walkers = curve_mcmc.likeliest_draws(posterior, 50, RandomState(0))
    likelihood = stats.norm(curves(walkers, posterior.x)[:, :3], np.exp(walkers[:, -1:])).logpdf(posterior.values)
    assert (np.diff(likelihood.sum(1)) <= 1e-9).all()
    everyone = curve_mcmc.prior_draws(LENGTH)
    others = stats.norm(everyone.curves[:, :3], np.exp(everyone.points[:, -1:])).logpdf(posterior.values).sum(1)
    np.testing.assert_allclose(likelihood.sum(1), np.sort(others)[::-1][:50])


def test_nothing_observed_gives_back_the_prior() -> None:
    """The ensemble starts in its stationary law: the predictions are the prior's, whatever the mixing."""
    chain = Chain(walkers=500, burn_in=10, steps=40, thin=10, start="prior")
    steps = np.array([1.0, 10.0, 20.0])
    prior = LearningCurve(length=LENGTH).with_context(0, LENGTH).sample(5000, generator=seeded(1))
    values = prior.hidden[:, [0, 9, 19]].double().numpy()
    found = score_curve(LENGTH, np.empty(0), steps, np.array([0.3, 0.5, 0.7]), chain, (0,))
    np.testing.assert_allclose(found["median"], np.median(values, 0), atol=0.04)
    np.testing.assert_allclose(found["cdf"], (values < [0.3, 0.5, 0.7]).mean(0), atol=0.06)


def test_a_clean_curve_is_followed() -> None:
    point = curve_mcmc.DEFAULT.copy()
    point[-1] = -6
    f = curves(point[None], np.log(np.arange(1.0, LENGTH + 1)))[0]
    noisy = f + math.exp(-6) * np.random.default_rng(0).normal(size=LENGTH)
    found = score_curve(LENGTH, noisy[:15], np.arange(16.0, 21), noisy[15:], SMALL, (0, 1))
    np.testing.assert_allclose(found["median"], f[15:], atol=0.01)
    assert 2 < found["log_prob"].mean() < 5  # the oracle's expected score is 4.58
    assert 0.05 < found["acceptance"] < 0.6
    assert 0 < found["cpu_seconds"] < 20


def test_results_depend_on_the_seed_alone() -> None:
    arguments = LENGTH, np.array([0.3, 0.4]), np.array([3.0, 20.0]), np.array([0.5, 0.6]), Chain(26, 0, 20)
    first, again, other = (score_curve(*arguments, seed) for seed in ((0, 1), (0, 1), (0, 2)))
    for name in ("log_prob", "cdf", "median", "acceptance", "effective_sample_size"):
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["log_prob"] != other["log_prob"]).all()


def test_predictions_are_mixtures_over_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = np.stack([curve_mcmc.prior_draws(LENGTH).points[i : i + 40] for i in (0, 40, 80)])  # (3, 40, P)
    kept[..., -1] = np.maximum(kept[..., -1], -5)
    sampler = SimpleNamespace(get_chain=lambda: kept, acceptance_fraction=np.array([0.1, 0.3]))
    monkeypatch.setattr(curve_mcmc, "run", lambda *_: sampler)
    steps, hidden = np.array([4.0, 30.0]), np.array([0.4, 0.6])
    found = score_curve(LENGTH, np.array([0.5]), steps, hidden, SMALL, (0,))
    draws = kept.reshape(-1, 13)
    mixture = LearningCurve(length=LENGTH).mixture
    f = mixture.curves(natural(draws), torch.from_numpy(steps).log()).numpy()
    law = stats.norm(f, np.exp(draws[:, -1:]))
    np.testing.assert_allclose(found["log_prob"], np.log(law.pdf(hidden).mean(0)))
    np.testing.assert_allclose(found["cdf"], law.cdf(hidden).mean(0))
    np.testing.assert_allclose(law.cdf(found["median"]).mean(0), 0.5, atol=0.15)  # 120 draws
    assert found["acceptance"] == pytest.approx(0.2)


def test_effective_sample_size() -> None:
    random = np.random.default_rng(0)
    independent = random.normal(size=(400, 30, 2))
    assert curve_mcmc.effective_sample_size(independent) == pytest.approx(12_000, rel=0.1)
    correlated = independent.copy()  # AR(1): (1 + r) / (1 - r) steps per independent one, with r = 0.5
    for step in range(1, 400):
        correlated[step, :, 1] = 0.5 * correlated[step - 1, :, 1] + math.sqrt(0.75) * independent[step, :, 1]
    assert curve_mcmc.effective_sample_size(correlated) == pytest.approx(4000, rel=0.1)
    correlated[:, 15:] = correlated[0, 15:]
    assert curve_mcmc.effective_sample_size(correlated) == pytest.approx(2000, rel=0.15)
    assert curve_mcmc.effective_sample_size(np.ones((50, 26, 13))) == 0


@pytest.mark.parametrize("setting", [{"length": 50}, {"queries": 7}, {"thinning": 0.5}, {"context": 10}])
def test_priors_that_are_covered(setting: dict[str, Any]) -> None:
    prior = LearningCurve(**setting)
    assert check_covered(prior) is prior


@pytest.mark.parametrize(
    "setting",
    [
        {"bases": ["pow3"]},
        {"weights": "normalized"},
        {"noise": 0.1},
        {"noise_trend": 0.5},
        {"late_start": 0.1},
        {"divergence": 0.1},
        {"increasing": False},
    ],
)
def test_priors_that_are_not(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ValueError, match=f"differs in: {name}"):
        check_covered(LearningCurve(**setting))


def test_other_families_of_priors_are_not_covered() -> None:
    with pytest.raises(ValueError, match="not for 'gaussian_process'"):
        check_covered(GaussianProcess({"points": 5, "features": 1}))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"walkers": 24}, "even number from 26"),
        ({"walkers": 27}, "even number from 26"),
        ({"steps": 5}, "steps >= thin"),
        ({"burn_in": -1}, "burn_in >= 0"),
        ({"start": "here"}, "start must be"),
    ],
)
def test_impossible_chains(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Chain(**setting)
