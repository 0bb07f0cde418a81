"""Names for classes, and the arguments that rebuild them."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from priorfit.priors import GaussianProcess
from priorfit.registry import Registered, Registry, closest, plain


class Shape(Registered):
    """Anything with a constructor."""

    def __init__(self, size: int, colour: str = "red", *, corners: Any = (), options: Any = None) -> None:
        self.size, self.options = size, options


@pytest.fixture
def shapes() -> Registry:
    registry: Registry = Registry("shape")
    registry.register("square")(Shape)
    return registry


def test_builds_by_name(shapes: Registry) -> None:
    shape = shapes.build("square", {"size": 3, "colour": "blue"})
    assert isinstance(shape, Shape)
    assert shape.size == 3
    assert shape.registered_name == "square"


def test_register_returns_the_class_and_two_names_are_allowed(shapes: Registry) -> None:
    assert shapes.register("other")(Shape) is Shape
    assert shapes.register("square")(Shape) is Shape
    assert set(shapes.classes) == {"square", "other"}


def test_a_taken_name_is_refused(shapes: Registry) -> None:
    class Intruder(Shape):
        pass

    with pytest.raises(ValueError, match="shape name 'square' is taken by Shape"):
        shapes.register("square")(Intruder)
    assert shapes.classes["square"] is Shape
    assert "registered_name" not in vars(Intruder)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sqare", {"size": 1}, "Unknown shape 'sqare': did you mean 'square'. Known: square"),
        ("os.system", {}, "Unknown shape 'os.system'"),
        (
            "square",
            {"size": 1, "color": "red"},
            "'square' takes no argument 'color': did you mean 'colour'",
        ),
        ("square", {"size": 1, "self": 2}, "takes no argument 'self'"),
    ],
)
def test_unknown_names_and_arguments_name_the_nearest(
    shapes: Registry, name: str, arguments: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        shapes.build(name, arguments)


def test_closest_without_a_near_or_any_name() -> None:
    assert closest("zzz", ["abc", "abd"]) == "Known: abc, abd."
    assert closest("zzz", []) == "Known: none."


def test_arguments_are_recorded_with_defaults() -> None:
    expected = {"size": 3, "colour": "red", "corners": [1, [2, 3]], "options": {"a": [1]}}
    assert Shape(3, corners=(1, (2, 3)), options={"a": (1,)}).arguments == expected
    assert Shape(size=3, colour="green").arguments["colour"] == "green"
    assert Shape(3, "green").arguments["colour"] == "green"


def test_arguments_do_not_change_with_what_was_passed() -> None:
    options = {"a": [1]}
    shape = Shape(1, options=options)
    options["a"].append(2)
    assert shape.arguments["options"] == {"a": [1]}


def test_wrong_arguments_are_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match="size"):
        Shape()
    with pytest.raises(TypeError, match="weight"):
        Shape(1, weight=2)  # type: ignore[call-arg]


def test_replace_changes_some_arguments_of_a_new_object() -> None:
    shape = Shape(3, "green")
    larger = shape.replace(size=4)
    assert type(larger) is Shape
    assert (larger.size, larger.arguments["colour"], shape.size) == (4, "green", 3)
    with pytest.raises(TypeError, match="sizes"):
        shape.replace(sizes=4)


def test_copies_and_pickles_keep_the_arguments() -> None:
    shape = Shape(3, options={"a": 1})
    for twin in (copy.copy(shape), copy.deepcopy(shape), pickle.loads(pickle.dumps(shape))):
        assert twin.arguments == shape.arguments
        assert twin.size == 3


def test_containers_of_hydra_become_plain() -> None:
    config = OmegaConf.create({"size": 2, "corners": [1, [2, "${size}"]], "options": {"a": {"b": [None, True]}}})
    shape = Shape(**config)  # type: ignore[arg-type]
    expected = {"size": 2, "colour": "red", "corners": [1, [2, 2]], "options": {"a": {"b": [None, True]}}}
    assert shape.arguments == expected
    assert json.loads(json.dumps(shape.arguments)) == expected
    assert type(plain(config["options"])["a"]) is dict


def test_a_prior_built_by_hydra_records_what_a_checkpoint_can_hold() -> None:
    law = {"law": "gamma", "concentration": 3.0, "rate": 6.0}
    content = {
        "_target_": "priorfit.priors.GaussianProcess",
        "sizes": {"points": [4, 8], "features": "${.points.0}"},
        "kernel": ["rbf", "matern32"],
        "lengthscale": law,
    }
    prior = instantiate(OmegaConf.create(content))
    assert isinstance(prior, GaussianProcess)
    assert prior.arguments["sizes"] == {"points": [4, 8], "features": 4}
    assert prior.arguments["kernel"] == ["rbf", "matern32"]
    assert json.loads(json.dumps(prior.arguments))["lengthscale"] == law
