"""Structural causal models: the laws of their hyperparameters, and what linear ones must do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from priorfit.priors import SCM
from priorfit.priors.scm_causes import draw_causes
from priorfit.priors.scm_laws import Hyper, draw_shares
from priorfit.priors.scm_layered import Layered, draw_positions
from tests.cases import TINY, assert_mean, assert_same, seeded

LINEAR = {"activations": "identity", "noise": 1e-6, "causes": 3, "sparsity": 0.0}


def scm(**arguments: Any) -> SCM:
    return SCM(**{"sizes": {"points": 30, "features": 6}, **arguments})


# Laws


def test_spread_is_a_truncated_normal_law_with_log_uniform_mean_and_deviation() -> None:
    found = Hyper("x", {"law": "spread", "low": 0.01, "high": 10.0}).sample(5000, seeded())
    random = np.random.default_rng(0)
    mean = 0.01 * 1000 ** random.uniform(size=5000)
    scale = mean * 0.01 * 100 ** random.uniform(size=5000)
    expected = stats.truncnorm(-mean / scale, np.inf, mean, scale).rvs(random_state=random)
    assert stats.ks_2samp(found.numpy(), expected).pvalue > TINY


def test_minimum_is_added_and_maximum_never_exceeded() -> None:
    found = Hyper("x", {"law": "spread", "low": 1, "high": 9, "minimum": 2, "maximum": 7}, whole=True).sample(
        2000, seeded()
    )
    assert found.dtype == torch.int64
    assert set(found.tolist()) == {2, 3, 4, 5, 6, 7}
    assert set(Hyper("x", 3, whole=True).sample(5, seeded()).tolist()) == {3}
    gamma = Hyper("x", {"law": "gamma", "concentration": 2.0, "rate": 0.5, "minimum": 1.0}).sample(4000, seeded())
    assert stats.kstest(gamma - 1, stats.gamma(2, scale=2).cdf).pvalue > TINY


def test_shares_are_beta_with_parameters_of_their_own() -> None:
    random = np.random.default_rng(0)
    expected = 0.9 * random.beta(*random.uniform(0.1, 5, (2, 5000)))
    assert stats.ks_2samp(draw_shares(0.9, 5000, seeded()).numpy(), expected).pvalue > TINY


def test_plans_are_those_that_were_asked_for() -> None:
    model = Layered(layers=3, width=5, causes=2, gain=1.0, noise=0.1)
    plan = model.draw_plan(2000, 20, seeded())
    assert set(plan.layers.tolist()) == {3}
    assert set(plan.width.tolist()) == {21}  # 2 layers hold twice the features and the target
    assert set(model.draw_plan(9, 3, seeded()).width.tolist()) == {5}
    assert_mean(plan.blocked.double(), 0.5)
    assert_mean(plan.own_noise.double(), 0.5)
    assert (plan.dropped[plan.blocked] == 0).all()
    assert len(plan.activation.unique()) == 4


# Causes


def test_normal_causes_have_moments_of_their_own() -> None:
    causes = draw_causes(2000, 400, 2, ["normal"], seeded())
    mean, deviation = causes.mean(1).flatten().double(), causes.std(1).flatten().double()
    random = np.random.default_rng(0)
    level = random.normal(size=4000)
    spread = np.abs(level * random.normal(size=4000))
    assert stats.ks_2samp(mean, level + spread * random.normal(size=4000) / 20).pvalue > TINY
    assert stats.ks_2samp(deviation, spread).pvalue > TINY


def test_categorical_causes_are_standardised_codes() -> None:
    causes = draw_causes(600, 500, 3, ["mixed"], seeded()).mT.flatten(0, 1)  # (1800, 500)
    counts = torch.tensor([len(c.unique()) for c in causes])
    codes = counts <= 10
    assert_mean(codes.double(), 2 / 3)
    assert_mean(causes[codes].mean(1), 0.0)
    assert_mean(causes[codes].square().mean(1), 1.0)


def test_clustered_causes_have_the_moments_of_their_mixture() -> None:
    """Standard normal centres, variance 1/4 around them on average; rows share a cluster with a known probability.

    They share it in all causes at once: products over two causes have that probability as their mean, not its square.
    """
    causes = draw_causes(20_000, 10, 2, ["mixture"], seeded()).double()
    assert_mean(causes[:, 0, 0].square(), 1.25)
    weights = torch.rand(200_000, 5, 6, generator=seeded(1)).clamp(min=1e-3)
    weights = weights * (torch.arange(6) < torch.arange(2, 7)[:, None])
    shared = (weights / weights.sum(-1, keepdim=True)).square().sum(-1).mean().item()
    assert 0.3 < shared < 0.5
    pairs = causes[:, ::2] * causes[:, 1::2]  # (B, 5, 2)
    assert_mean(pairs[..., 0].mean(1), shared)
    assert_mean(pairs.prod(-1).mean(1), shared)
    assert_mean((causes[..., 0] * causes[..., 1]).mean(1), 0.0)


def test_uniform_causes() -> None:
    assert stats.kstest(draw_causes(3, 500, 2, ["uniform"], seeded()).flatten(), "uniform").pvalue > TINY


# Which nodes are seen


def test_positions_are_distinct_nodes() -> None:
    total = torch.randint(13, 200, (3000,), generator=seeded())
    positions = draw_positions(total, 6, seeded())
    assert positions.shape == (3000, 7)
    assert ((positions >= 0) & (positions < total[:, None])).all()
    assert (positions.sort(1).values.diff(dim=1) > 0).all()
    last = positions[:, -1] == total - 1
    assert_mean(last.double() - (0.5 + 0.5 / total.double()), 0.0)


def test_features_are_adjacent_or_scattered_and_ordered_or_not() -> None:
    total = torch.full((4000,), 400)
    features = draw_positions(total, 6, seeded())[:, :-1]
    extent = features.amax(1) - features.amin(1)
    assert_mean((extent <= 6).double(), 0.5, 0.001)
    assert_mean(((features.diff(dim=1) < 0).sum(1) <= 1).double(), 0.5, 0.03)  # in order, up to a rotation


# Models


def test_correlations_of_linear_units_are_the_angles_of_their_weights() -> None:
    model = Layered(**LINEAR, width=6, cause_laws=["uniform"])  # causes of equal variance
    plan = model.draw_plan(4, 2, seeded(1))
    causes = draw_causes(4, 20_000, 3, ["uniform"], seeded())
    units, weights = model.units(causes, plan, seeded(2))
    direction = torch.nn.functional.normalize(weights, dim=1)
    connected = (weights != 0).any(1)
    expected = direction.mT @ direction * connected[:, None]
    assert_same(units.mT @ units / 20_000, expected, rtol=0, atol=0.03)


def test_linear_models_have_the_rank_of_their_causes() -> None:
    nodes = Layered(**LINEAR).draw(30, 200, 12, seeded()).values.double()
    values = torch.linalg.svdvals(nodes - nodes.mean(1, keepdim=True))
    assert (values[:, 3] < 1e-3 * values[:, 0]).all()
    assert (values[:, 2] > 1e-3 * values[:, 0]).double().mean() > 0.8


def test_bent_models_have_a_higher_rank() -> None:
    nodes = Layered(**{**LINEAR, "activations": "sine", "gain": 3.0}).draw(30, 200, 12, seeded()).values.double()
    values = torch.linalg.svdvals(nodes - nodes.mean(1, keepdim=True))
    assert (values[:, 5] > 1e-3 * values[:, 0]).double().mean() > 0.8


def test_noise_hides_what_nodes_have_in_common() -> None:
    nodes = Layered(noise=1e3).draw(200, 100, 4, seeded()).values
    nodes = torch.nn.functional.normalize(nodes - nodes.mean(1, keepdim=True), dim=1)
    correlation = (nodes.mT @ nodes).triu(1).square().flatten(1).sum(1) / 10
    assert_mean(correlation, 1 / 99, 0.003)  # of independent columns


def test_noise_of_nodes_adds_to_their_unit_variance() -> None:
    model = Layered(layers=2, noise=0.5, sparsity=0.0, activations="identity", causes=5)
    variance = model.draw(500, 300, 1, seeded()).values.var(1).flatten()
    assert_mean(variance, 1.25, 0.01)  # E N(0, .5)² is .25 too, where nodes have levels of their own


def test_layout_and_range_over_many_draws() -> None:
    prior = scm()
    raw = prior.draw_table(1000, 70, 6, seeded())
    assert raw.x.shape == (1000, 70, 6)
    assert raw.y.shape == (1000, 70)
    for values in (raw.x, raw.y[..., None]):
        assert values.isfinite().all()
        assert_mean(values.square().mean((1, 2)), 1.0)
    assert raw.noise is None
    assert not raw.categorical.any()


def test_targets_can_be_told_from_features() -> None:
    """A linear fit on all features explains part of most targets, and few of them fully."""
    raw = scm().draw_table(300, 128, 6, seeded())
    x, y = raw.x.double(), raw.y[..., None].double()
    left = (y - x @ torch.linalg.lstsq(x, y).solution).square().mean(1)
    assert 0.02 < left.median() < 0.8
    assert (left < 0.9).double().mean() > 0.6


def test_the_mean_of_the_rows_does_not_tell_the_last_one() -> None:
    y = scm().draw_table(400, 64, 4, seeded()).y
    assert y.mean(1).abs().median() > 0.02


def test_tasks_are_independent() -> None:
    y = scm().draw_table(400, 64, 3, seeded()).y
    assert_mean((y[:-1] * y[1:]).mean(1), 0.0)


def test_noise_of_the_target_makes_its_law_known() -> None:
    assert scm().sample(3, generator=seeded()).law is None
    task = scm(noise=0.5).with_context(2, 62).sample(300, generator=seeded())
    assert task.law is not None
    assert_mean(((task.hidden - task.law.mean) / task.law.stddev).square().mean(1), 1.0)
    assert_same(task.law.stddev, torch.full((300, 62), 0.5), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "mpl"}, "did you mean 'mlp'"),
        ({"model": {"layer": 3}}, "layer"),
        ({"model": {"activations": "rellu"}}, "did you mean 'relu'"),
        ({"model": {"cause_laws": ["norml"]}}, "did you mean 'normal'"),
        ({"model": {"cause_laws": []}}, "Unknown law of causes"),
        ({"model": {"sparsity": 1}}, "below 1"),
        ({"model": {"layers": {"law": "spread"}}}, "low and high"),
        ({"noise": 0}, "noise"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scm(**changes)
