"""Priors over tables: what all of them share, seen on tables whose law is known.

Letters: B tasks, n context rows, m queries, F features.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from priorfit.priors import Table, Task
from priorfit.priors.table_prior import ORDER, Raw, TablePrior
from tests.cases import TINY, assert_mean, assert_same, assert_uniform, cdf, seeded

SIZES = {"points": [30, 60], "features": [2, 5]}
EVERY_PIECE = {name: {"tables": 0.7} for name in ORDER}
CLASSES = {"kind": "classes"}


class Sums(TablePrior):
    """The target is the sum of normal features; `spoil` damages raw tables before anything is done to them."""

    registered_name = "sums"
    spoil: Callable[[Raw], Raw] | None = None

    def __init__(self, sizes: Any, target: Any = None, columns: Any = None, noise: float | None = None) -> None:
        super().__init__(sizes, target, columns)
        self.noise = noise

    def draw_table(self, batch_size: int, n_rows: int, n_features: int, generator: Generator) -> Raw:
        x = torch.randn(batch_size, n_rows, n_features, generator=generator, device=generator.device)
        noise = None if self.noise is None else x.new_full((batch_size,), self.noise)
        raw = Raw(x, x.sum(2), torch.zeros(batch_size, n_features, dtype=torch.bool, device=x.device), noise)
        return self.spoil(raw) if self.spoil else raw


def spoiled(spoil: Callable[[Raw], Raw], **arguments: Any) -> Sums:
    prior = Sums(SIZES, **arguments)
    prior.spoil = spoil
    return prior


def changed(tensor: Tensor, index: Any, value: Any) -> Tensor:
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


@pytest.mark.parametrize("target", [None, CLASSES])
def test_layout(target: dict[str, Any] | None) -> None:
    for seed in range(5):
        task = Sums(SIZES, target, EVERY_PIECE, 0.1).sample(8, generator=seeded(seed))
        x_context, y_context, x_query, categorical, n_classes = task.observed
        n, m, n_features = y_context.shape[1], task.hidden.shape[1], x_query.shape[2]
        assert isinstance(task.observed, Table)
        assert 30 <= n + m <= 60
        assert x_context.shape == (8, n, n_features)
        assert x_query.shape == (8, m, n_features)
        assert categorical.shape == (8, n_features)
        assert categorical.dtype == torch.bool
        assert n_classes.shape == (8,)
        assert n_classes.dtype == torch.int64
        assert x_context.dtype == x_query.dtype == y_context.dtype == torch.float32
        assert task.hidden.dtype == (torch.int64 if target else torch.float32)
        assert task.law.log_prob(task.hidden).isfinite().all()
        assert not x_context.isinf().any()


def test_numbers_without_pieces_are_the_sum() -> None:
    task = Sums(SIZES).with_context(20, 10).sample(50, generator=seeded())
    x = torch.cat([task.observed.x_context, task.observed.x_query], 1)
    y = torch.cat([task.observed.y_context, task.hidden], 1)
    assert_same(y, x.sum(2), rtol=0, atol=1e-5)
    assert task.law is None
    assert not task.observed.categorical.any()
    assert (task.observed.n_classes == 0).all()


def test_numbers_follow_their_law() -> None:
    task = Sums(SIZES, noise=0.5).with_context(20, 1).sample(3000, generator=seeded())
    assert_uniform(cdf(task.law, task.hidden))


@pytest.mark.parametrize("changes", [{}, {"nearest": 1.0}, {"nearest": 0.5, "flip": 0.5}])
@pytest.mark.parametrize("n_context", [0, 2, 12])
def test_classes_follow_their_law(n_context: int, changes: dict[str, float]) -> None:
    """Also where many draws were rejected, as what decides on that is never the noise of a query."""
    prior = Sums(SIZES, {**CLASSES, "number": 3, "balanced": 1.0, **changes}, noise=1.0).with_context(n_context, 3)
    task = prior.sample(4000, generator=seeded())
    surprise = task.law.log_prob(task.hidden) + task.law.entropy()
    assert_mean(surprise.mean(1), 0.0)
    rest = torch.nn.functional.one_hot(task.hidden, 3) - task.law.probs
    for j in range(3):
        assert_mean(rest[:, 0, j], 0.0)
        assert_mean((rest * task.law.probs)[:, 0, j], 0.0)
    assert (prior.counts["missing class"] > 0) == (n_context == 12)


def test_every_class_occurs_in_the_context_and_rejection_favours_no_number() -> None:
    prior = Sums(SIZES, CLASSES, noise=0.3).with_context(25, 2)
    task = prior.sample(3000, generator=seeded())
    found = torch.nn.functional.one_hot(task.observed.y_context.long(), 10).sum(1) > 0
    assert_same(found.sum(1), task.observed.n_classes)
    assert (task.hidden < task.observed.n_classes[:, None]).all()
    assert prior.counts["missing class"] > 500
    counts = torch.bincount(task.observed.n_classes, minlength=11)[2:].numpy()
    expected = 3000 * np.array([0.5 + 0.5 / 9] + [0.5 / 9] * 8)
    assert stats.chisquare(counts, expected).pvalue > TINY


def test_what_is_done_to_the_context_does_not_depend_on_the_queries() -> None:
    def other_queries(raw: Raw) -> Raw:
        x, y = raw.x.clone(), raw.y.clone()
        x[:, 20:], y[:, 20:] = 3 * x[:, 20:], y[:, 20:] ** 3
        return raw._replace(x=x, y=y)

    for target in ({**CLASSES, "balanced": 0.5}, None):
        first = Sums(SIZES, target).with_context(20, 10)
        second = Sums(SIZES, target).with_context(20, 10)
        second.spoil = other_queries
        one, two = (prior.sample(200, generator=seeded()).observed for prior in (first, second))
        assert_same(one.x_context, two.x_context)
        assert not torch.equal(one.x_query, two.x_query)
        assert_same(one.y_context, two.y_context)


def test_context_and_queries_have_the_same_law() -> None:
    prior = Sums(SIZES, CLASSES, {**EVERY_PIECE, "missing": {"tables": 1.0, "informative": 1.0}})
    task = prior.with_context(30, 30).sample(1500, generator=seeded())
    context, query = task.observed.x_context, task.observed.x_query
    assert_mean(context.isnan().double().mean((1, 2)) - query.isnan().double().mean((1, 2)), 0.0)
    assert_mean((context.nan_to_num().tanh().mean((1, 2)) - query.nan_to_num().tanh().mean((1, 2))).double(), 0.0)
    coded = task.observed.categorical
    assert coded.any()
    codes = torch.cat([context, query], 1).mT[coded].nan_to_num()
    assert_same(codes, codes.round())


@pytest.mark.parametrize("target", [None, CLASSES, {**CLASSES, "by_value": 0.5, "noise": 0.3, "warp": 0.5}])
def test_same_generator_same_tasks_whatever_was_drawn_before(target: dict[str, Any] | None) -> None:
    prior = Sums(SIZES, target, EVERY_PIECE, 0.2)

    def draw(generator: Generator) -> Task:
        task = prior.sample(6, generator=generator)
        x = [x.nan_to_num(99.0) for x in (task.observed.x_context, task.observed.x_query)]
        return Task(task.observed._replace(x_context=x[0], x_query=x[1]), task.hidden, task.law)

    first = draw(seeded(3))
    assert_same(first, draw(seeded(3)))
    assert_same(first, draw(seeded(3)))


def test_arguments_survive_json_in_any_order() -> None:
    columns = {name: {"tables": 0.7} for name in reversed(ORDER)}
    prior = Sums(SIZES, CLASSES, columns, 0.1)
    twin = Sums(**json.loads(json.dumps(prior.arguments, sort_keys=True, allow_nan=False)))
    assert twin.arguments == prior.arguments
    one, two = (p.sample(5, generator=seeded()) for p in (prior, twin))
    assert_same(one.hidden, two.hidden)
    assert_same(one.observed.x_query.nan_to_num(99), two.observed.x_query.nan_to_num(99))


def test_pieces_without_arguments_have_their_defaults() -> None:
    assert Sums(SIZES, columns={"missing": None}).pieces[0].arguments["rate"] == 0.3
    assert Sums(SIZES).pieces == []


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Sums(SIZES, {**CLASSES, "noise": {"law": "uniform", "low": 0.1, "high": 0.2}}, EVERY_PIECE).sample(
        4, generator=seeded()
    )
    assert_same(torch.get_rng_state(), before)


# Degenerate draws


def test_degenerate_tables_are_drawn_again_and_counted() -> None:
    remaining = [3]  # so many attempts spoil tables

    def spoil(raw: Raw) -> Raw:
        remaining[0] -= 1
        if remaining[0] == 2:  # the whole batch
            x = changed(raw.x, (0, 5, 1), float("nan"))
            return raw._replace(x=changed(x, (1, 0, 0), 1e20), y=changed(raw.y, 4, 7.0))
        if remaining[0] == 1:  # the three that were degenerate
            assert len(raw.x) == 3
            return raw._replace(y=changed(raw.y, (2, 3), float("inf")))
        return raw

    prior = spoiled(spoil)
    task = prior.sample(6, generator=seeded())
    expected = {"drawn": 6, "not finite": 3, "constant target": 1, "unrelated target": 0, "missing class": 0}
    assert prior.counts == expected
    assert task.observed.x_context.isfinite().all()
    assert (task.hidden.abs() < 1e3).all()
    assert len(torch.cat([task.observed.y_context, task.hidden], 1).unique(dim=0)) == 6


@pytest.mark.parametrize("target", [None, CLASSES])
def test_other_tasks_stay_as_they_were(target: dict[str, Any] | None) -> None:
    first = [True]

    def spoil(raw: Raw) -> Raw:
        damaged, first[0] = first[0], False
        return raw._replace(y=changed(raw.y, 1, 0.0)) if damaged else raw

    plain = Sums(SIZES, target).with_context(20, 10).sample(5, generator=seeded())
    prior = Sums(SIZES, target).with_context(20, 10)
    prior.spoil = spoil
    task = prior.sample(5, generator=seeded())
    assert prior.counts["constant target"] == 1
    same = (plain.observed.x_context == task.observed.x_context).flatten(1).all(1)
    assert same.tolist() == [True, False, True, True, True]


def test_a_target_that_is_constant_on_the_context_is_degenerate() -> None:
    prior = Sums(SIZES).with_context(5, 10)
    prior.spoil = lambda raw: raw._replace(y=changed(raw.y, (0, slice(5)), 2.0)) if len(raw.y) > 1 else raw
    prior.sample(3, generator=seeded())
    assert prior.counts["constant target"] == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda raw: raw._replace(y=torch.zeros_like(raw.y)), "constant target"),
        (lambda raw: raw._replace(y=raw.y * float("nan")), "not finite"),
        (lambda raw: raw._replace(x=raw.x / 0), "not finite"),
        (lambda raw: raw._replace(y=(raw.y > raw.y.mean()).float()), "missing class"),
    ],
)
def test_hopeless_priors_say_why(spoil: Callable[[Raw], Raw], reason: str) -> None:
    prior = spoiled(spoil, target={**CLASSES, "number": 3}).with_context(20, 5)
    prior.spoil = spoil
    with pytest.raises(ValueError, match=f"still degenerate after.*'{reason}': [1-9]"):
        prior.sample(4, generator=seeded())


def test_one_row_is_a_task_too() -> None:
    for target in (None, CLASSES):
        task = Sums(SIZES, target, EVERY_PIECE, 0.1).with_context(0, 1).sample(3, generator=seeded())
        assert task.hidden.shape == (3, 1)


# Sizes and bad input


def test_context_sizes() -> None:
    assert Sums(SIZES).context_sizes() == [0, 1, 2, 5, 10, 20, 50]
    assert Sums(SIZES, CLASSES).context_sizes() == [10, 20, 50]
    assert Sums({"points": 6}, CLASSES).context_sizes() == [5]
    assert Sums(SIZES, CLASSES).with_context(7, 3).context_sizes() == [7]


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "2", None])
def test_bad_batch_sizes_are_refused(batch_size: Any) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        Sums(SIZES).sample(batch_size, generator=seeded())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": {"points": 0}}, "points must"),
        ({"sizes": {**SIZES, "context": "prefix"}}, "no order"),
        ({"sizes": {**SIZES, "ordered": True}}, "no order"),
        ({"target": {"kind": "clases"}}, "did you mean 'classes'"),
        ({"target": {"number": 3}}, "Unknown kind of target ''"),
        ({"target": {"kind": "classes", "numbers": 3}}, "did you mean 'number'"),
        ({"columns": {"mising": {}}}, "did you mean 'missing'"),
        ({"columns": {"missing": {"rates": 0.2}}}, "did you mean 'rate'"),
        ({"columns": {"missing": 0.2}}, "missing"),
        ({"columns": ["missing"]}, "columns"),
        ({"target": "classes"}, "target"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sums(SIZES).replace(**changes)
