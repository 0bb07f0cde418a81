"""Sizes of tasks: ranges, frequencies of the splits, and contexts that come first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats

from priorfit.priors import GaussianProcess
from priorfit.priors.sizes import SPLITS, Sizes
from tests.cases import TINY, seeded

N = 12
WEIGHTS = {
    "weighted": 1 / (N - np.arange(N)),
    "uniform": np.ones(N),
    "prefix": np.ones(N),
    "log_uniform": 1 / (1 + np.arange(N)),
}


def test_every_split_has_its_weights() -> None:
    assert set(WEIGHTS) == set(SPLITS)


@pytest.mark.parametrize("split", WEIGHTS)
def test_frequencies_of_context_sizes(split: str) -> None:
    generator, sizes = seeded(), Sizes(N, context=split)
    drawn = [sizes.draw(generator) for _ in range(4000)]
    assert all(n + m == N and m >= 1 for n, m, _ in drawn)
    counts = np.bincount([size.n_context for size in drawn], minlength=N)
    weights = WEIGHTS[split] / WEIGHTS[split].sum()
    assert stats.chisquare(counts, 4000 * weights).pvalue > TINY


def test_weighted_split_scores_every_context_size_equally_often() -> None:
    generator, sizes = seeded(), Sizes(N, context="weighted")
    scored = np.zeros(N)
    for _ in range(6000):
        n_context, n_query, _ = sizes.draw(generator)
        scored[n_context] += n_query
    assert scored / scored.mean() == pytest.approx(np.ones(N), abs=0.25)


def test_queries_are_capped_but_contexts_are_not() -> None:
    drawn = [Sizes(N, context="uniform", queries=3).draw(generator) for generator in [seeded()] for _ in range(300)]
    assert {size.n_context for size in drawn} == set(range(N))
    assert all(size.n_query == min(3, N - size.n_context) for size in drawn)
    capped = GaussianProcess({"points": 20, "context": 10, "queries": 3})
    assert capped.sample(2, generator=seeded()).hidden.shape == (2, 3)
    assert capped.with_context(4, 9).sample(2, generator=seeded()).hidden.shape == (2, 9)


def test_ranges_are_inclusive_and_uniform() -> None:
    generator, sizes = seeded(), Sizes([3, 7], OmegaConf.create([2, 4]), context=2)
    drawn = [sizes.draw(generator) for _ in range(3000)]
    assert {n_context for n_context, _, _ in drawn} == {2}
    points = np.bincount([n + m for n, m, _ in drawn])[3:]
    features = np.bincount([size.n_features for size in drawn])[2:]
    assert len(points) == 5
    assert len(features) == 3
    assert stats.chisquare(points).pvalue > TINY
    assert stats.chisquare(features).pvalue > TINY


def test_log_uniform_sizes_have_their_weights() -> None:
    generator = seeded()
    sizes = Sizes([4, 9], [1, 5], context=2, points_law="log_uniform", features_law="log_uniform")
    drawn = [sizes.draw(generator) for _ in range(3000)]
    points = np.bincount([n + m for n, m, _ in drawn], minlength=10)[4:]
    features = np.bincount([size.n_features for size in drawn], minlength=6)[1:]
    assert stats.chisquare(points, 3000 * np.diff(np.log(np.arange(4, 11))) / np.log(10 / 4)).pvalue > TINY
    assert stats.chisquare(features, 3000 * np.diff(np.log(np.arange(1, 7))) / np.log(6)).pvalue > TINY


def test_cells_are_capped_by_fewer_points() -> None:
    arguments: dict[str, Any] = {"points": [10, 100], "features": [1, 20], "context": 0}
    capped, free = Sizes(**arguments, cells=300), Sizes(**arguments)
    pairs = [(capped.draw(seeded(seed)), free.draw(seeded(seed))) for seed in range(300)]
    assert all(got.n_features == whole.n_features for got, whole in pairs)
    assert all(got.n_query == min(whole.n_query, max(10, 300 // got.n_features)) for got, whole in pairs)
    assert any(got.n_query * got.n_features < whole.n_query * whole.n_features for got, whole in pairs)
    prior = GaussianProcess({"points": [10, 100], "features": 8, "cells": 80})
    assert prior.with_context(30, 20).sample(2, generator=seeded()).hidden.shape == (2, 20)


def test_sizes_come_from_the_generator_alone() -> None:
    sizes = Sizes([3, 40], [1, 9])
    before = torch.get_rng_state()
    first = [sizes.draw(generator) for generator in [seeded(1)] for _ in range(5)]
    second = [sizes.draw(generator) for generator in [seeded(1)] for _ in range(5)]
    assert first == second
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("inputs", ["uniform", "normal"])
@pytest.mark.parametrize("sizes", [{"context": "prefix"}, {"context": 5, "ordered": True}])
def test_a_prefix_is_what_comes_first(sizes: dict[str, Any], inputs: str) -> None:
    prior = GaussianProcess({"points": 20, "features": 2, **sizes}, inputs=inputs)
    for each in (prior, prior.with_context(7, 5), prior.with_context(7, 5).with_context(3, 2)):
        x_context, _, x_query = each.sample(50, generator=seeded(2)).observed
        x = torch.cat([x_context, x_query], 1)
        assert (x[..., 0].diff(dim=1) >= 0).all()
        assert not (x[..., 1].diff(dim=1) >= 0).all()


def test_other_contexts_are_not_ordered() -> None:
    x_context, _, x_query = GaussianProcess({"points": 20, "context": 10}).sample(20, generator=seeded()).observed
    assert (x_context.amax(1) > x_query.amin(1)).any()
    assert x_context.mean().item() == pytest.approx(x_query.mean().item(), abs=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": 0}, "points"),
        ({"points": -3}, "points"),
        ({"points": 3.0}, "points"),
        ({"points": "10"}, "points"),
        ({"points": None}, "points"),
        ({"points": [5, 3]}, "points"),
        ({"points": [1, 2, 3]}, "points"),
        ({"points": [0, 3]}, "points"),
        ({"points": 10, "features": 0}, "features"),
        ({"points": 10, "features": [1, 2.5]}, "features"),
        ({"points": 10, "context": 10}, "leaves no query"),
        ({"points": [5, 10], "context": 5}, "leaves no query"),
        ({"points": 10, "context": -1}, "at least 0"),
        ({"points": 10, "context": 2.5}, "context"),
        ({"points": 10, "context": None}, "context"),
        ({"points": 10, "queries": 0}, "queries"),
        ({"points": 10, "queries": 2.5}, "queries"),
        ({"points": 10, "queries": "3"}, "queries"),
        ({"points": 10, "cells": 0}, "cells must"),
        ({"points": 10, "cells": 1e3}, "cells must"),
        ({"points": 10, "points_law": "log"}, "points_law must be uniform or log_uniform"),
        ({"points": 10, "features_law": None}, "features_law"),
        ({"points": 10, "context": "wieghted"}, "did you mean 'weighted'"),
    ],
)
def test_impossible_sizes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sizes(**arguments)
