"""The contract of every distribution: torch's own conventions, checked without knowing the law."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.distributions import Distribution

from tests.cases import DISTRIBUTIONS, DistributionCase, assert_mean, assert_same

BATCH = (2, 3)


@pytest.fixture(params=DISTRIBUTIONS, ids=lambda case: case.id)
def distribution(request: pytest.FixtureRequest) -> Distribution:
    case: DistributionCase = request.param
    torch.manual_seed(0)
    return case.build()


def test_shapes_follow_torch(distribution: Distribution) -> None:
    event = distribution.event_shape
    assert distribution.batch_shape == BATCH
    assert distribution.sample().shape == BATCH + event
    assert distribution.sample((4,)).shape == (4, *BATCH, *event)
    assert distribution.sample((4, 5)).shape == (4, 5, *BATCH, *event)
    assert distribution.log_prob(distribution.sample((4,))).shape == (4, *BATCH)
    for moment in (distribution.mean, distribution.variance, distribution.stddev):
        assert moment.shape == BATCH + event


def test_draws_repeat_with_the_seed_and_carry_no_gradient(distribution: Distribution) -> None:
    torch.manual_seed(1)
    first = distribution.sample((3,))
    torch.manual_seed(1)
    assert_same(first, distribution.sample((3,)))
    assert not first.requires_grad
    assert first.dtype == distribution.mean.dtype


def test_draws_lie_in_the_support(distribution: Distribution) -> None:
    draws = distribution.sample((100,))
    assert distribution.support.check(draws).all()
    assert distribution.log_prob(draws).isfinite().all()


def test_moments_are_those_of_draws(distribution: Distribution) -> None:
    draws = distribution.sample((20_000,)).flatten(1).double()
    mean, variance = distribution.mean.flatten(), distribution.variance.flatten()
    for column, centre, spread in zip(draws.unbind(1), mean, variance, strict=True):
        assert_mean(column, centre.item())
        assert_mean((column - centre).square(), spread.item())


def test_entropy_is_that_of_draws(distribution: Distribution) -> None:
    try:
        entropy = distribution.entropy()
    except NotImplementedError:
        pytest.skip("no entropy in closed form")
    surprise = -distribution.log_prob(distribution.sample((20_000,))).flatten(1)
    for column, expected in zip(surprise.unbind(1), entropy.flatten(), strict=True):
        assert_mean(column, expected.item())


def test_expand_repeats(distribution: Distribution) -> None:
    large = distribution.expand(torch.Size((4, *BATCH)))
    assert large.batch_shape == (4, *BATCH)
    assert type(large) is type(distribution)
    value = distribution.sample()
    assert_same(large.log_prob(value), distribution.log_prob(value).expand(4, *BATCH), rtol=1e-12, atol=1e-12)
    assert_same(large.mean, distribution.mean.expand_as(large.mean), rtol=1e-12, atol=1e-12)


def test_copies_and_pickles(distribution: Distribution) -> None:
    value = distribution.sample()
    for twin in (copy.deepcopy(distribution), pickle.loads(pickle.dumps(distribution))):
        assert_same(twin.log_prob(value), distribution.log_prob(value))
    assert type(distribution).__name__ in repr(distribution)
