"""A mixture of priors: which component a batch comes from, and that nothing else is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from priorfit.priors import GaussianProcess, LearningCurve, Mixture, StudentTProcess, priors
from tests.cases import assert_mean, assert_same, seeded

COMPONENTS: dict[str, dict[str, Any]] = {
    "narrow": {"prior": "gaussian_process", "weight": 3, "sizes": {"points": 8, "features": 1}},
    "wide": {"prior": "gaussian_process", "weight": 1.5, "sizes": {"points": 8, "features": 2}, "noise": 0.1},
    "heavy": {"prior": "student_t_process", "weight": 0.5, "sizes": {"points": 8, "features": 3}},
}


@pytest.fixture
def mixture() -> Mixture:
    return Mixture(COMPONENTS)


def test_components_come_with_their_weights(mixture: Mixture) -> None:
    generator = seeded()
    features = [mixture.sample(1, generator=generator).observed.x_query.shape[2] for _ in range(1000)]
    for n_features, weight in ((1, 0.6), (2, 0.3), (3, 0.1)):
        assert_mean((torch.tensor(features) == n_features).double(), weight)
    assert mixture.weights == pytest.approx({"narrow": 0.6, "wide": 0.3, "heavy": 0.1})


def test_a_batch_is_one_of_its_component() -> None:
    """The component costs one draw of the generator; the rest is the component's."""
    mixture = Mixture({"wide": COMPONENTS["wide"]})
    generator = seeded(4)
    torch.multinomial(torch.ones(1, dtype=torch.float64), 1, generator=generator)
    expected = GaussianProcess({"points": 8, "features": 2}, noise=0.1).sample(5, generator=generator)
    assert_same(mixture.sample(5, generator=seeded(4)), expected)


def test_components_are_the_priors_themselves(mixture: Mixture) -> None:
    assert list(mixture.components) == ["narrow", "wide", "heavy"]
    assert isinstance(mixture.component("heavy"), StudentTProcess)
    assert mixture.component("wide").arguments["noise"] == 0.1
    task = mixture.component("wide").sample(3, generator=seeded())
    assert mixture.component("wide").posterior(task).mean.shape == task.hidden.shape
    with pytest.raises(ValueError, match="Unknown component 'wid': did you mean 'wide'"):
        mixture.component("wid")


def test_there_is_no_reference(mixture: Mixture) -> None:
    assert mixture.reference is None
    with pytest.raises(NotImplementedError, match="mixture"):
        mixture.posterior(mixture.sample(1, generator=seeded()))


def test_context_reaches_every_component(mixture: Mixture) -> None:
    fixed = mixture.with_context(4, 2)
    assert fixed.weights == mixture.weights
    assert fixed.component("wide").arguments["noise"] == 0.1
    for prior in (*fixed.components.values(), fixed):
        task = prior.sample(2, generator=seeded())
        assert task.observed.y_context.shape == (2, 4)
        assert task.hidden.shape == (2, 2)
        assert prior.context_sizes() == [4]


def test_context_sizes_are_those_in_common(mixture: Mixture) -> None:
    assert mixture.context_sizes() == [0, 1, 2, 5]
    longer = {"narrow": COMPONENTS["narrow"], "long": {**COMPONENTS["wide"], "sizes": {"points": 60}}}
    assert Mixture(longer).context_sizes() == [0, 1, 2, 5]
    curves = {str(n): {"prior": "learning_curve", "length": n} for n in (7, 100)}
    with pytest.raises(ValueError, match="context_sizes="):
        Mixture(curves).context_sizes()


def test_order_of_the_components_does_not_matter(mixture: Mixture) -> None:
    text = json.dumps(mixture.arguments, sort_keys=True, allow_nan=False)
    twin = priors.build("mixture", json.loads(text))
    for seed in range(10):
        assert_same(mixture.sample(2, generator=seeded(seed)), twin.sample(2, generator=seeded(seed)))


def test_any_kind_of_task_and_mixtures_of_mixtures(mixture: Mixture) -> None:
    curves = Mixture({"short": {"prior": "learning_curve", "length": 10, "queries": 4}})
    assert isinstance(curves.component("short"), LearningCurve)
    assert curves.sample(2, generator=seeded()).hidden.shape == (2, 4)
    nested = Mixture({"many": {"prior": "mixture", "components": COMPONENTS}, "one": COMPONENTS["wide"]})
    assert nested.with_context(3, 2).sample(2, generator=seeded()).hidden.shape == (2, 2)


def test_weights_are_one_unless_given() -> None:
    bare = {name: {key: value for key, value in given.items() if key != "weight"} for name, given in COMPONENTS.items()}
    assert list(Mixture(bare).weights.values()) == [1 / 3] * 3


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ({}, "at least one"),
        (["gaussian_process"], "at least one"),
        ({"a": "gaussian_process"}, "Component 'a' must name its prior"),
        ({"a": {"weight": 1}}, "Component 'a' must name its prior"),
        ({"a": {"prior": "gausian_process"}}, "did you mean 'gaussian_process'"),
        ({"a": {"prior": "learning_curve", "lenght": 5}}, "did you mean 'length'"),
        ({"a": {"prior": "learning_curve", "weight": 0}}, "weight of component 'a' must be a positive number"),
        ({"a": {"prior": "learning_curve", "weight": -1}}, "positive number"),
        ({"a": {"prior": "learning_curve", "weight": True}}, "positive number"),
        ({"a": {"prior": "learning_curve", "weight": {"law": "uniform"}}}, "positive number"),
        ({"a": COMPONENTS["wide"], "b": {"prior": "learning_curve"}}, "a: Regression, b: Curves"),
    ],
)
def test_impossible_mixtures_are_refused(components: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(components)


def test_the_parts_of_a_mixture_are_its_components(mixture: Mixture) -> None:
    assert mixture.parts() == mixture.components
    assert GaussianProcess({"points": 8}).parts() == {}


def test_only_priors_that_count_are_counted(mixture: Mixture) -> None:
    assert mixture.counts == {}
    table = {"prior": "bnn", "sizes": {"points": 8, "features": 1}}
    tables = Mixture({"plain": {**table, "noise": 0.1}, "table": table})
    for seed in range(4):
        tables.sample(3, generator=seeded(seed))
    assert sum(counts["drawn"] for counts in tables.counts.values()) == 12
    assert set(tables.counts) == {"plain", "table"}
    assert GaussianProcess({"points": 8}).counts == {}
