"""The contract of every prior: add one line to `tests/cases.py` to put a new one through it."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from priorfit.distributions import WeightedPoints
from priorfit.priors import Prior, Regression, Task, priors
from priorfit.priors.regression_prior import RegressionPrior
from tests.cases import (
    PRIORS,
    REGRESSION_PRIORS,
    assert_mean,
    assert_same,
    assert_uniform,
    cdf,
    leaves,
    seeded,
)


@pytest.fixture(params=PRIORS, ids=lambda case: case.id)
def prior(request: pytest.FixtureRequest) -> Prior:
    return request.param.build()


@pytest.fixture(params=REGRESSION_PRIORS, ids=lambda case: case.id)
def regression(request: pytest.FixtureRequest) -> RegressionPrior:
    return request.param.build()


def fixed(prior: Prior, n_context: int, n_query: int) -> Prior:
    """The prior with fixed sizes, the context no larger than the prior has it."""
    return prior.with_context(min(n_context, getattr(prior, "most_rows", None) or n_context), n_query)


def law_with_density(task: Task) -> Distribution:
    """The law that a task carries."""
    if task.law is None or isinstance(task.law, WeightedPoints):
        pytest.skip("no law, or one without a density")
    return task.law


def test_every_prior_has_a_case() -> None:
    ours = {name for name, cls in priors.classes.items() if cls.__module__.startswith("priorfit.")}
    assert ours == {case.name for case in PRIORS}


def test_draws_a_batch_of_finite_float32(prior: Prior) -> None:
    task = prior.sample(4, generator=seeded())
    assert isinstance(task, Task)
    assert len(task) == 4
    assert isinstance(task.observed, tuple)
    for tensor in leaves((task.observed, task.hidden)):
        assert tensor.shape[0] == 4
        assert tensor.dtype in (torch.float32, torch.int64, torch.bool)
        assert tensor.isfinite().all()
        assert not tensor.requires_grad
        assert tensor.device.type == "cpu"


def test_law_fits_the_hidden_part(prior: Prior) -> None:
    task = prior.sample(4, generator=seeded())
    if task.law is None:
        pytest.skip("no law")
    assert task.law.batch_shape + task.law.event_shape == task.hidden.shape
    assert isinstance(task.law, Categorical) or task.law.mean.isfinite().all()  # classes have no mean
    log_density = law_with_density(task).log_prob(task.hidden)
    assert log_density.dtype == torch.float32
    assert log_density.isfinite().all()


def test_same_generator_same_tasks(prior: Prior) -> None:
    assert_same(prior.sample(3, generator=seeded(5)), prior.sample(3, generator=seeded(5)))


def flat(task: Task) -> Tensor:
    """All numbers of each task, (B, …)."""
    return torch.cat([part.double().reshape(len(task), -1) for part in leaves((task.observed, task.hidden))], 1)


def differ(first: Task, second: Task) -> bool:
    """Whether two batches have no task in common, or not even their sizes."""
    a, b = flat(first), flat(second)
    return a.shape != b.shape or bool((a != b).any(1).all())


def test_draws_depend_on_the_generator_and_advance_it(prior: Prior) -> None:
    generator, prior = seeded(5), fixed(prior, 2, 2)
    first, second = (prior.sample(3, generator=generator) for _ in range(2))
    assert first.hidden.shape == second.hidden.shape
    assert differ(first, second)
    assert differ(first, prior.sample(3, generator=seeded(6)))


def test_tasks_of_a_batch_differ(prior: Prior) -> None:
    assert len(flat(prior.sample(5, generator=seeded())).unique(dim=0)) == 5


def global_states() -> list[Any]:
    return [torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()]  # noqa: NPY002


def test_global_random_state_is_neither_read_nor_written(prior: Prior) -> None:
    torch.manual_seed(0)
    before = global_states()
    task = fixed(prior, 3, 2).sample(2, generator=seeded())
    if prior.reference is not None:
        reference = prior.posterior(task).log_prob(task.hidden)
        assert_same(reference, prior.posterior(task).log_prob(task.hidden))
    assert global_states() == before
    torch.manual_seed(1)
    assert_same(task, fixed(prior, 3, 2).sample(2, generator=seeded()))


def test_arguments_survive_json(prior: Prior) -> None:
    text = json.dumps(prior.arguments, sort_keys=True, allow_nan=False)
    twin = priors.build(prior.registered_name, json.loads(text))
    assert type(twin) is type(prior)
    assert twin.arguments == prior.arguments
    assert_same(prior.sample(2, generator=seeded()), twin.sample(2, generator=seeded()))


def test_building_does_not_change_what_it_was_given(prior: Prior) -> None:
    arguments = json.loads(json.dumps(prior.arguments))
    twin = priors.build(prior.registered_name, arguments)
    twin.with_context(1, 1).sample(1, generator=seeded())
    assert arguments == prior.arguments == twin.arguments


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "2", None])
def test_bad_batch_sizes_are_refused(prior: Prior, batch_size: Any) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        prior.sample(batch_size, generator=seeded())


def test_one_task_is_a_batch_too(prior: Prior) -> None:
    assert len(prior.sample(1, generator=seeded())) == 1


def test_tasks_are_frozen_and_move(prior: Prior) -> None:
    task = prior.sample(2, generator=seeded())
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.hidden = task.hidden  # type: ignore[misc]
    moved = task.to("meta")
    assert type(moved.observed) is type(task.observed)
    assert type(moved.law) is type(task.law)
    assert {tensor.device.type for tensor in leaves(moved)} == {"meta"}
    assert_same(task.to("cpu"), task)
    if task.law is not None:
        assert moved.law.batch_shape == task.law.batch_shape


def test_hidden_follows_its_law(prior: Prior) -> None:
    task = fixed(prior, 3, 1).sample(3000, generator=seeded())
    law = law_with_density(task)
    assert_uniform(cdf(law, task.hidden))
    surprise = law.log_prob(task.hidden) + law.entropy()
    assert_mean(surprise.flatten(1).mean(1), 0.0)


@pytest.mark.parametrize("n_context", [0, 1, 4])
def test_posterior_is_calibrated(prior: Prior, n_context: int) -> None:
    if prior.reference is None:
        pytest.skip("no reference")
    task = fixed(prior, n_context, 1).sample(400, generator=seeded(n_context))
    posterior = prior.posterior(task)
    try:
        levels = cdf(posterior, task.hidden.double())
    except NotImplementedError:
        pytest.skip("a posterior of several numbers")
    assert_uniform(levels)


def test_law_knows_at_least_what_the_posterior_knows(prior: Prior) -> None:
    task = fixed(prior, 3, 1).sample(400, generator=seeded())
    if prior.reference is None:
        pytest.skip("no reference")
    gain = law_with_density(task).log_prob(task.hidden) - prior.posterior(task).log_prob(task.hidden.double())
    assert gain.mean() > -4 * gain.std() / len(task) ** 0.5 - 1e-4


def test_posterior_fits_the_hidden_part(prior: Prior) -> None:
    if prior.reference is None:
        with pytest.raises(NotImplementedError, match=prior.registered_name):
            prior.posterior(prior.sample(1, generator=seeded()))
        return
    task = fixed(prior, 3, 2).sample(4, generator=seeded())
    posterior = prior.posterior(task)
    assert isinstance(posterior, Distribution)
    assert posterior.batch_shape + posterior.event_shape == task.hidden.shape
    assert posterior.log_prob(task.hidden.double()).isfinite().all()


# Priors over functions


@pytest.mark.parametrize(("n_context", "n_query"), [(0, 1), (0, 7), (1, 1), (30, 5)])
def test_with_context_fixes_the_sizes(regression: RegressionPrior, n_context: int, n_query: int) -> None:
    for seed in range(3):
        task = regression.with_context(n_context, n_query).sample(2, generator=seeded(seed))
        x_context, y_context, x_query = task.observed
        assert isinstance(task.observed, Regression)
        assert y_context.shape == (2, n_context)
        assert task.hidden.shape == (2, n_query)
        assert x_context.shape[:2] == (2, n_context)
        assert x_query.shape[:2] == (2, n_query)
        assert x_context.shape[2] == x_query.shape[2]


def test_sizes_are_those_asked_for(regression: RegressionPrior) -> None:
    shapes = [regression.sample(1, generator=seeded(seed)).observed for seed in range(60)]
    n_points = {context.shape[1] + query.shape[1] for context, _, query in shapes}
    assert n_points == set(range(regression.sizes.points[0], regression.sizes.points[1] + 1))
    assert {query.shape[2] for _, _, query in shapes} == {1, 2, 3}
    assert len({context.shape[1] for context, _, _ in shapes}) > 3


def test_inputs_have_their_law(regression: RegressionPrior) -> None:
    x = regression.with_sizes(features=3).with_context(2, 2).sample(800, generator=seeded()).observed.x_query
    free = x[..., 1:]  # the first feature may be ordered
    levels = free if regression.inputs == "uniform" else torch.special.ndtr(free)
    assert_uniform(levels)


def test_posterior_depends_on_the_context_but_not_on_its_order(regression: RegressionPrior) -> None:
    task = regression.with_context(5, 3).sample(4, generator=seeded())
    x, y, x_query = task.observed
    order = torch.tensor([3, 0, 4, 1, 2])

    def density(x: Tensor, y: Tensor) -> Tensor:
        return regression.posterior(Task(Regression(x, y, x_query), task.hidden)).log_prob(task.hidden.double())

    assert_same(density(x, y), density(x[:, order], y[:, order]), rtol=1e-6, atol=1e-6)
    assert (density(x, y) - density(x, y[:, order])).abs().max() > 1e-3


def test_posterior_of_a_query_ignores_the_others(regression: RegressionPrior) -> None:
    task = regression.with_context(4, 3).sample(4, generator=seeded())
    together = regression.posterior(task).log_prob(task.hidden.double())
    one = Task(task.observed._replace(x_query=task.observed.x_query[:, 1:2]), task.hidden[:, 1:2])
    alone = regression.posterior(one).log_prob(one.hidden.double())
    assert_same(alone, together[:, 1:2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": "unifrom"}, "did you mean 'uniform'"),
        ({"sizes": {"points": 0}}, "points must"),
        ({"sizes": {}}, "points"),
        ({"sizes": {"points": 5, "feature": 2}}, "feature"),
    ],
)
def test_impossible_arguments_are_refused(regression: RegressionPrior, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regression.replace(**changes)
