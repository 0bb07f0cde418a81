"""The learning-curve prior against the published prior's known numbers, and an independent NumPy sampler."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from priorfit.priors import LearningCurve, Task
from priorfit.priors.curve_bases import BASES, Basis, Parameter
from priorfit.priors.curve_mixture import CurveMixture
from tests.cases import TINY, assert_mean, assert_same, assert_uniform, seeded

PUBLISHED = ["pow3", "ilog2", "janoschek"]
LOG_STEPS = torch.arange(1.0, 101).log()


@pytest.fixture(scope="module")
def drawn() -> tuple[Tensor, Tensor]:
    """Curves of the published prior and the standard deviations of their noise, (20000, 100) each."""
    return LearningCurve().sample_curves(20_000, seeded())


@pytest.fixture
def ramp(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A prior whose only regular curve is t / 1000: what bends time is seen in its curves."""
    curve = Basis(lambda x, c: 0 * c + torch.exp(x) / 1000, {"c": Parameter("uniform", 0, 1)})
    monkeypatch.setitem(BASES, "ramp", curve)
    return {"bases": "ramp", "weights": "normalized"}


def times(prior: LearningCurve, n: int = 4000) -> np.ndarray:
    """Where on its regular curve each step of a "ramp" is, (n, L)."""
    return 1000 * prior.sample_curves(n, seeded(1))[0].double().numpy()


def candidates(bases: list[str], weights: str, n: int = 20_000) -> Tensor:
    """Curves before any rejection, (n, 100), float64: in float32 some Hill curves do not rise that do by 1e-9."""
    mixture = CurveMixture(bases, weights, True)
    return mixture.curves(mixture.draw(n, seeded(2)).double(), LOG_STEPS.double())


def in_range(values: Tensor) -> Tensor:
    return ((values >= 0) & (values <= 1)).all(1)


def rises(values: Tensor) -> Tensor:
    return values[:, -1] > values[:, 0]


def assert_quantiles(draws: Tensor, expected: list[float], levels: list[float], rounding: float = 0.005) -> None:
    """Quantiles agree with published ones, which are rounded, up to 4.5 standard errors of the levels."""
    for value, level in zip(expected, levels, strict=True):
        error = 4.5 * math.sqrt(level * (1 - level) / len(draws))
        assert (draws < value - rounding).double().mean() < level + error, (value, level)
        assert (draws < value + rounding).double().mean() > level - error, (value, level)


# The published prior


def test_share_of_candidates_that_is_kept() -> None:
    values = candidates(PUBLISHED, "independent", 60_000)
    assert_mean(rises(values).double(), 0.336, 0.0005)
    assert_mean(in_range(values).double(), 0.451, 0.0005)
    assert_mean((rises(values) & in_range(values)).double(), 0.205, 0.0005)


def test_quantiles_of_the_curves(drawn: tuple[Tensor, Tensor]) -> None:
    clean, _ = drawn
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    assert_quantiles(clean[:, 0], [0.07, 0.24, 0.41, 0.59, 0.80], levels)
    assert_quantiles(clean[:, 9], [0.20, 0.41, 0.59, 0.76, 0.92], levels)
    assert_quantiles(clean[:, 99], [0.22, 0.44, 0.63, 0.80, 0.95], levels)
    assert_quantiles(clean[:, 99] - clean[:, 0], [0.01, 0.07, 0.16, 0.28, 0.50], levels)


def test_every_curve_rises_within_the_range_and_half_of_them_at_each_step(drawn: tuple[Tensor, Tensor]) -> None:
    clean, _ = drawn
    assert (in_range(clean) & rises(clean)).all()
    mixture = LearningCurve().mixture
    parameters, values = mixture.sample(5000, 100, seeded())
    exact = mixture.curves(parameters.double(), LOG_STEPS.double())
    assert_same(values.double(), exact, rtol=0, atol=1e-5)  # single precision is enough
    assert_mean((exact.diff(dim=1) >= 0).all(1).double(), 0.51, 0.005)


def test_curves_are_those_of_an_independent_sampler(drawn: tuple[Tensor, Tensor]) -> None:
    random, n, t = np.random.default_rng(5), 40_000, np.arange(1, 101.0)

    def uniform(low: float, high: float) -> np.ndarray:
        return random.uniform(low, high, (n, 1))

    def log_normal(mean: float, sd: float) -> np.ndarray:
        return random.lognormal(mean, sd, (n, 1))

    asymptote = uniform(0, 1)
    curves = uniform(0, 1) * (uniform(0, 1.25) - uniform(-0.6, 0.6) * t ** -log_normal(0, 2))
    curves += uniform(0, 1) * (uniform(0, 1) - uniform(-0.5, 0.5) / np.log(t + 1))
    decay = np.exp(-log_normal(-2, 1) * t ** log_normal(0, 0.5))
    curves += uniform(0, 1) * (asymptote - (asymptote - uniform(0, 2)) * decay)
    curves = curves[(curves[:, -1] > curves[:, 0]) & (curves.min(1) >= 0) & (curves.max(1) <= 1)]
    clean = drawn[0].double().numpy()
    for summary in (lambda f: f[:, 0], lambda f: f[:, 4], lambda f: f[:, -1], lambda f: f[:, 49] - f[:, 0]):
        assert stats.ks_2samp(summary(clean), summary(curves)).pvalue > TINY


def test_noise_is_log_normal_and_leaves_the_range(drawn: tuple[Tensor, Tensor]) -> None:
    clean, std = drawn
    assert (std == std[:, :1]).all()
    assert_uniform(stats.lognorm(1, scale=np.exp(-4)).cdf(std[:4000, 0].numpy()))
    assert_quantiles(std[:, 0], [0.0036, 0.0184, 0.096], [0.05, 0.5, 0.95], 0.0005)
    noisy = clean + std * torch.randn(clean.shape, generator=seeded(1))
    outside = (noisy < 0) | (noisy > 1)
    assert_mean(outside.double().mean(1), 0.011, 0.0005)
    assert_mean(outside.any(1).double(), 0.104, 0.0005)


def test_oracle_score_is_the_published_ceiling() -> None:
    task = LearningCurve().with_context(20, 10).sample(10_000, generator=seeded())
    assert_mean(task.law.log_prob(task.hidden).mean(1), 4 - 0.5 * math.log(2 * math.pi * math.e))
    assert 4 - 0.5 * math.log(2 * math.pi * math.e) == pytest.approx(2.581, abs=5e-4)


# Other bases and weights


@pytest.mark.parametrize(
    ("bases", "weights", "share", "rounding"),
    [
        (list(BASES), "normalized", 0.77, 0.005),
        (list(BASES), "dirichlet", 0.74, 0.005),
        (list(BASES), "independent", 0.001, 0.0005),
        (["exp4"], "normalized", 0.02, 0.005),
        (["log_power"], "normalized", 0.98, 0.005),
        (["mmf"], "normalized", 0.98, 0.005),
        (["hill3"], "normalized", 0.98, 0.005),
    ],
)
def test_share_of_candidates_that_other_bases_keep(
    bases: list[str], weights: str, share: float, rounding: float
) -> None:
    values = candidates(bases, weights)
    assert_mean((rises(values) & in_range(values)).double(), share, rounding)


def test_curves_are_the_weighted_sum_of_their_families() -> None:
    mixture = CurveMixture(["ilog2", "pow3"], "independent", True)
    parameters = torch.tensor([0.9, 0.3, 0.5, 0.2, 1.5, 0.7, 0.4], dtype=torch.float64)[:, None]
    t = np.arange(1, 101.0)
    expected = 0.7 * (0.9 - 0.3 / np.log(t + 1)) + 0.4 * (0.5 - 0.2 * t**-1.5)
    np.testing.assert_allclose(mixture.curves(parameters, LOG_STEPS.double())[0], expected, rtol=0, atol=1e-6)


def test_laws_of_the_weights() -> None:
    weights = {
        law: CurveMixture(PUBLISHED, law, True).draw(3000, seeded())[-3:].double()
        for law in ("independent", "normalized", "dirichlet")
    }
    assert_uniform(weights["independent"])
    assert_same(weights["normalized"], weights["independent"] / weights["independent"].sum(0), rtol=1e-6, atol=1e-6)
    assert_same(weights["dirichlet"].sum(0), torch.ones(3000).double(), rtol=1e-6, atol=1e-6)
    for weight in weights["dirichlet"]:
        assert_uniform(stats.beta(1, 2).cdf(weight.numpy()))


def test_all_families_with_normalized_weights() -> None:
    clean, _ = LearningCurve(bases=list(BASES), weights="normalized").sample_curves(500, seeded())
    assert (in_range(clean) & rises(clean)).all()


def test_rare_curves_are_found_and_hopeless_priors_refused() -> None:
    assert LearningCurve(bases="exp4", weights="normalized").sample_curves(300, seeded())[0].shape == (300, 100)
    with pytest.raises(ValueError, match='weights="normalized"'):
        LearningCurve(bases=list(BASES)).sample(200, generator=seeded())


@pytest.mark.parametrize("length", [2, 7, 300])
def test_any_length(length: int) -> None:
    clean, std = LearningCurve(length=length).sample_curves(50, seeded())
    assert clean.shape == std.shape == (50, length)
    assert (in_range(clean) & rises(clean)).all()
    task = LearningCurve(length=length, queries=9).sample(50, generator=seeded())
    assert task.observed.values.shape == (50, length - 1)


# What is observed, and what is asked


def check_layout(task: Task, length: int) -> None:
    """Queries lie after what they see, and whatever is both observed and asked about has one value."""
    steps, values, query_steps, visible = task.observed
    assert (steps == steps[:1]).all()
    assert (steps.diff(dim=1) > 0).all()
    assert ((visible >= 0) & (visible <= steps.shape[1])).all()
    last = torch.nn.functional.pad(steps, (1, 0)).gather(1, visible)
    assert (query_steps > last).all()
    assert (query_steps <= length).all()
    assert (query_steps == query_steps.round()).all()
    same = query_steps[:, :, None] == steps[:, None]  # (B, m, n)
    assert_same(task.hidden[same.any(2)], values[:, None].expand_as(same)[same])


def test_every_prefix_is_asked_about() -> None:
    length = 30
    task = LearningCurve(length=length, queries=900).sample(200, generator=seeded())
    check_layout(task, length)
    steps, _, query_steps, visible = task.observed
    assert_same(steps, torch.arange(1.0, length).expand(200, -1))
    assert_same(visible, visible[:1].expand(200, -1))  # shared by the batch
    assert_same(visible[0].unique(), torch.arange(length))
    jitter = torch.rand(visible.shape, generator=seeded(1))
    assert_uniform(((query_steps - visible - jitter) / (length - visible))[:, ::90])  # uniform on the later steps
    assert (query_steps[0] != query_steps[1]).any()


def test_short_prefixes_are_asked_about_more_often() -> None:
    """The number seen is the whole part of 12 u² with u uniform, so that P(number < k) = (k / 12)^½."""
    prior = LearningCurve(length=12, queries=1)
    visible = [int(prior.sample(1, generator=seeded(seed)).observed.visible) for seed in range(600)]
    expected = 600 * np.diff(np.sqrt(np.arange(13) / 12))
    assert stats.chisquare(np.bincount(visible, minlength=12), expected).pvalue > TINY


@pytest.mark.parametrize("queries", [1, 7, 200])
def test_prefixes_are_spread_evenly(queries: int) -> None:
    """One query in each of as many strata of u."""
    prior, borders = LearningCurve(length=12, queries=queries), 12 * np.linspace(0, 1, queries + 1) ** 2
    for seed in range(20):
        visible = prior.sample(1, generator=seeded(seed)).observed.visible[0].numpy()
        assert (np.floor(borders[:-1] - 1e-5) <= visible).all()
        assert (visible <= borders[1:] + 1e-5).all()


@pytest.mark.parametrize(("n", "queries", "m"), [(0, 30, 12), (0, 1, 1), (4, 8, 8), (4, 5, 5), (11, 1, 1), (11, 9, 1)])
def test_fixed_context_shows_the_first_steps(n: int, queries: int, m: int) -> None:
    task = LearningCurve(length=12, thinning=1.0).with_context(n, queries).sample(300, generator=seeded())
    check_layout(task, 12)
    steps, values, query_steps, visible = task.observed
    assert_same(steps, torch.arange(1.0, n + 1).expand(300, -1))
    assert values.shape == (300, n)
    assert visible.shape == query_steps.shape == task.hidden.shape == (300, m)
    assert (visible == n).all()
    assert (query_steps.diff(dim=1) > 0).all()


def test_fixed_context_asks_about_a_random_choice_of_later_steps() -> None:
    query_steps = LearningCurve(length=12).with_context(4, 5).sample(3000, generator=seeded()).observed.query_steps
    for step in range(5, 13):
        assert_mean((query_steps == step).any(1).double(), 5 / 8)


def test_law_and_observations_belong_to_the_curve() -> None:
    prior = LearningCurve(noise=1e-6, queries=50).replace(context=40)
    clean, std = prior.sample_curves(100, seeded())
    task = prior.sample(100, generator=seeded())  # the same curves: they are drawn first
    columns = task.observed.query_steps.long() - 1
    assert_same(task.law.mean, clean.gather(1, columns))
    assert_same(task.law.stddev, std.gather(1, columns))
    assert_same(task.observed.values, clean[:, :40], rtol=0, atol=1e-5)
    assert_same(task.hidden, task.law.mean, rtol=0, atol=1e-5)


def test_cutoffs_of_the_evaluation() -> None:
    assert LearningCurve().context_sizes() == [10, 20, 40, 80]
    assert LearningCurve(length=51).context_sizes() == [5, 10, 20, 41]
    assert LearningCurve(length=5).context_sizes() == [1, 2, 4]
    assert LearningCurve(length=2).context_sizes() == [1]


# Options


def test_options_that_hardly_ever_act_change_nothing(drawn: tuple[Tensor, Tensor]) -> None:
    prior = LearningCurve(late_start=1e-9, divergence=1e-9, narrowing=1e-9, noise_trend=1e-9)
    clean, std = prior.sample_curves(20_000, seeded())
    assert_same(clean, drawn[0], rtol=0, atol=1e-5)
    assert stats.ks_2samp(std[:, -1], drawn[1][:, -1]).pvalue > TINY


def test_noise_grows_or_shrinks_along_the_curve() -> None:
    _, std = LearningCurve(noise_trend=0.3).sample_curves(3000, seeded())
    t = torch.arange(1.0, 101)
    exponent = (std[:, -1:] / std[:, :1]).log() / math.log(100)
    centre = (std[:, -1:] * std[:, :1]).sqrt()
    assert_uniform(stats.norm(0, 0.3).cdf(exponent.numpy()))
    assert_uniform(stats.lognorm(1, scale=np.exp(-4)).cdf(centre.numpy()))
    assert_same(std, centre * (t / 10) ** exponent, rtol=1e-4, atol=0)


def test_narrowing_maps_curves_into_an_interval_between_two_uniform_numbers(ramp: dict[str, Any]) -> None:
    clean, _ = LearningCurve(narrowing=1.0, **ramp).sample_curves(4000, seeded(1))
    width = (clean[:, -1] - clean[:, 0]) / 0.099  # the ramp rises from .001 to .1
    low = clean[:, 0] - 0.001 * width
    beta = stats.beta(1, 2)  # of the smaller of two uniform numbers, and of their distance
    assert stats.kstest(low, beta.cdf).pvalue > TINY
    assert stats.kstest(width, beta.cdf).pvalue > TINY
    torch.testing.assert_close(clean, low[:, None] + width[:, None] * torch.arange(1, 101) / 1000)


def test_narrowing_spares_the_other_curves(ramp: dict[str, Any]) -> None:
    clean, _ = LearningCurve(narrowing=0.3, **ramp).sample_curves(4000, seeded(1))
    assert_mean(((clean[:, -1] - 0.1).abs() > 1e-6).float(), 0.3)


def test_late_start_waits(ramp: dict[str, Any]) -> None:
    found = times(LearningCurve(late_start=1.0, **ramp))
    t = np.arange(1, 101)
    start = 101 - found[:, -1:]
    np.testing.assert_allclose(found, np.maximum(1, t - start + 1), rtol=0, atol=1e-3)
    counts = np.bincount(start.round().astype(int).ravel())
    assert len(counts) <= 51
    np.testing.assert_allclose(start, start.round(), rtol=0, atol=1e-3)
    expected = np.log1p(1 / np.arange(1, 50)) / np.log(50)  # log-uniform on 1 … 50, rounded down
    coarse = [0, 1, 2, 4, 8, 16, 32]
    observed = np.add.reduceat(np.pad(counts[1:], (0, 49 - len(counts[1:]))), coarse)
    assert stats.chisquare(observed, len(found) * np.add.reduceat(expected, coarse)).pvalue > TINY


def test_divergence_runs_at_another_rate(ramp: dict[str, Any]) -> None:
    found = times(LearningCurve(divergence=1.0, **ramp))
    t = np.arange(1, 101)
    slope = np.diff(found, append=0)
    turn = (abs(slope - 1) > 1e-3).argmax(1)[:, None]  # index of the last regular step
    rate = np.take_along_axis(slope, turn, 1)
    inner = (turn >= 10).ravel() & (turn < 99).ravel()
    bent = (turn + 1 + rate * (t - turn - 1))[inner]
    np.testing.assert_allclose(found[inner], np.where(t > turn[inner] + 1, np.maximum(1, bent), t), rtol=0, atol=0.02)
    assert_uniform(stats.expon.cdf(1 - rate[inner]))
    assert stats.chisquare(np.bincount(turn.ravel(), minlength=100)).pvalue > TINY


def test_options_act_on_the_share_of_curves_that_was_asked_for(ramp: dict[str, Any]) -> None:
    def share(**options: float) -> Tensor:
        found = times(LearningCurve(**options, **ramp), 10_000)
        return torch.from_numpy(abs(found - np.arange(1, 101)).max(1) > 1e-3).double()

    assert_mean(share(late_start=0.3), 0.3 * (1 - math.log(2) / math.log(50)))  # a start at the first step is no delay
    assert_mean(share(divergence=0.3), 0.3 * 0.99, 0.001)  # nor is a turn at the last step any


def test_diverging_curves_may_end_below_where_they_start_and_stay_in_the_range() -> None:
    clean, _ = LearningCurve(divergence=1.0, late_start=0.5).sample_curves(3000, seeded())
    assert in_range(clean).all()
    assert (clean[:, -1] < clean.amax(1) - 0.05).double().mean() > 0.1
    assert not rises(clean).all()


def test_falling_curves_are_kept_where_they_are_asked_for() -> None:
    clean, _ = LearningCurve(increasing=False).sample_curves(10_000, seeded())
    assert in_range(clean).all()
    assert_mean(rises(clean).double(), 0.205 / 0.451, 0.002)


def test_thinned_batches_share_a_random_choice_of_steps() -> None:
    prior = LearningCurve(length=20, queries=40, thinning=1.0)
    sizes, chosen = torch.zeros(20), torch.zeros(20)
    for seed in range(300):
        task = prior.sample(3, generator=seeded(seed))
        check_layout(task, 20)
        assert task.observed.steps.max() < 20
        sizes[task.observed.steps.shape[1]] += 1
        chosen[task.observed.steps[0].long()] += 1
    assert stats.chisquare(sizes[1:].numpy()).pvalue > TINY
    assert ((chosen[1:] / 300 - 10 / 19).abs() < 4.5 * 0.5 / 300**0.5).all()


def test_only_some_batches_are_thinned() -> None:
    prior = LearningCurve(length=20, queries=2, thinning=0.25)
    plain = [prior.sample(1, generator=seeded(seed)).observed.steps.shape[1] == 19 for seed in range(600)]
    assert_mean(torch.tensor(plain).double(), 1 - 0.25 * 18 / 19)  # one thinned batch in 19 keeps all steps


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "length"),
        ({"length": 10.0}, "length"),
        ({"bases": []}, "Unknown basis"),
        ({"bases": ["pow3", "ilog"]}, "did you mean 'ilog2'"),
        ({"bases": "janoshek"}, "did you mean 'janoschek'"),
        ({"weights": "normalised"}, "did you mean 'normalized'"),
        ({"noise": 0}, "noise"),
        ({"noise": {"law": "lognormal", "loc": -4, "scale": 1}}, "did you mean 'log_normal'"),
        ({"queries": 0}, "queries"),
        ({"queries": None}, "queries"),
        ({"context": "all"}, "every"),
        ({"context": 100}, "from 0 to length - 1 = 99"),
        ({"context": -1}, "context"),
        ({"context": 0.5}, "context"),
        ({"noise_trend": -0.1}, "noise_trend is a standard deviation"),
        ({"noise_trend": float("inf")}, "noise_trend is a standard deviation"),
        ({"late_start": 1.5}, "late_start is a probability"),
        ({"narrowing": -0.5}, "narrowing is a probability"),
        ({"divergence": -0.1}, "divergence is a probability"),
        ({"thinning": float("nan")}, "thinning is a probability"),
        ({"thinning": "0.5"}, "thinning is a probability"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearningCurve(**arguments)


@pytest.mark.parametrize(("n_context", "n_query"), [(12, 1), (50, 1), (-1, 1), (3, 0)])
def test_impossible_contexts_are_refused(n_context: int, n_query: int) -> None:
    with pytest.raises(ValueError, match=r"context|queries"):
        LearningCurve(length=12).with_context(n_context, n_query)
