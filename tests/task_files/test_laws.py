"""Laws of tasks as plain tensors and back, bit for bit."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch.distributions import (
    Beta,
    Categorical,
    Distribution,
    Gamma,
    InverseGamma,
    LogNormal,
    MixtureSameFamily,
    Normal,
    Poisson,
    StudentT,
)

from priorfit.distributions import ClassDistribution, ScalarEvent, TransformedMixture, WeightedPoints
from priorfit.task_files.laws import pack_law, unpack_law
from tests.cases import assert_same, gaussian_mixture, rate_law, seeded


def numbers(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(3)) + 0.1


class Named(Normal):
    """A class of somebody's own."""


LAWS: list[Distribution] = [
    Normal(numbers(3, 4), numbers(3, 4).double()),
    StudentT(numbers(3, 1).expand(3, 4), numbers(3, 4), numbers(3, 4)),
    LogNormal(numbers(3, 4), numbers(3, 4)),
    Gamma(numbers(3, 4), numbers(3, 4)),
    InverseGamma(numbers(3, 4), numbers(3, 4)),
    Beta(numbers(3, 4), numbers(3, 4)),
    Categorical(logits=numbers(3, 4, 5)),
    Categorical(probs=numbers(3, 4, 7)),
    ClassDistribution(numbers(3, 5), torch.tensor([2, 5, 3])),
    MixtureSameFamily(Categorical(probs=numbers(3, 4, 6)), Normal(numbers(3, 4, 6), numbers(3, 4, 6))),
    ScalarEvent(InverseGamma(numbers(3, 1), numbers(3, 1))),
    WeightedPoints(numbers(3, 6, 2), torch.cat([numbers(3, 5).log(), torch.full((3, 1), -torch.inf)], 1)),
    gaussian_mixture(),
    TransformedMixture(gaussian_mixture(), ["log", "logit"]),
    rate_law(),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_a_law_comes_back_bit_for_bit(law: Distribution) -> None:
    description, tensors = pack_law(law)
    back = unpack_law(json.loads(json.dumps(description)), {name: tensor.clone() for name, tensor in tensors.items()})
    assert type(back) is type(law)
    assert back.batch_shape == law.batch_shape
    assert back.event_shape == law.event_shape
    again = pack_law(back)[1]
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    assert_same(back, law)
    if not isinstance(law, WeightedPoints):
        torch.manual_seed(0)
        value = law.sample()
        assert_same(back.log_prob(value), law.log_prob(value), rtol=0, atol=0, equal_nan=True)
        torch.manual_seed(0)
        assert_same(back.sample(), value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("law", [Poisson(torch.ones(3)), Named(0.0, 1.0)], ids=["Poisson", "subclass"])
def test_an_unknown_class_is_named(law: Any) -> None:
    with pytest.raises(ValueError, match=rf"class {type(law).__name__} cannot be stored: known are .*Normal"):
        pack_law(law)
    with pytest.raises(ValueError, match=type(law).__name__):
        pack_law(MixtureSameFamily(Categorical(torch.ones(3)), law.expand((3,)), validate_args=False))
