"""Laws of hyperparameters against SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats

from priorfit.priors.laws import LAWS, Law
from tests.cases import assert_same, assert_uniform, seeded

CASES: list[tuple[dict[str, Any], Any]] = [
    ({"law": "gamma", "concentration": 3.0, "rate": 6.0}, stats.gamma(3.0, scale=1 / 6.0)),
    ({"law": "gamma", "concentration": 0.3, "rate": 0.15}, stats.gamma(0.3, scale=1 / 0.15)),
    ({"law": "inverse_gamma", "concentration": 4, "rate": 6}, stats.invgamma(4.0, scale=6.0)),
    ({"law": "log_normal", "loc": -2.5, "scale": 1.2}, stats.lognorm(1.2, scale=np.exp(-2.5))),
    ({"law": "uniform", "low": 0.5, "high": 2.0}, stats.uniform(0.5, 1.5)),
]


def test_every_law_has_a_case() -> None:
    assert {spec["law"] for spec, _ in CASES} == set(LAWS)


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_draws_and_densities(spec: dict[str, Any], expected: Any) -> None:
    law = Law("noise", spec)
    draws = law.sample((40, 100), seeded())
    assert not law.fixed
    assert draws.shape == (40, 100)
    assert draws.dtype == torch.float64
    assert (draws > 0).all()
    assert_uniform(expected.cdf(draws.numpy()))
    np.testing.assert_allclose(law.distribution.log_prob(draws[0]), expected.logpdf(draws[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_order_and_container_of_the_parameters_do_not_matter(spec: dict[str, Any], expected: Any) -> None:
    law = Law("noise", spec).sample((20,), seeded())
    assert_same(Law("noise", dict(reversed(spec.items()))).sample((20,), seeded()), law)
    assert_same(Law("noise", OmegaConf.create(spec)).sample((20,), seeded()), law)


def test_draws_come_from_the_generator_alone() -> None:
    for spec, _ in CASES:
        torch.manual_seed(0)
        before = torch.get_rng_state()
        first = Law("noise", spec).sample((5,), seeded(3))
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(1)
        assert_same(first, Law("noise", spec).sample((5,), seeded(3)))
        assert not (first == Law("noise", spec).sample((5,), seeded(4))).any()


def test_a_number_is_fixed() -> None:
    law = Law("noise", 2)
    assert law.fixed
    assert_same(law.sample((3, 2), seeded()), torch.full((3, 2), 2.0, dtype=torch.float64))
    with pytest.raises(ValueError, match="noise is fixed"):
        _ = law.distribution


def test_tiny_concentrations_do_not_vanish() -> None:
    draws = Law("noise", {"law": "gamma", "concentration": 1e-4, "rate": 1.0}).sample((100,), seeded())
    assert (draws > 0).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (0, "positive"),
        (-1.0, "positive"),
        (float("nan"), "positive"),
        (float("inf"), "positive"),
        (True, "positive"),
        ("1.0", "positive"),
        (None, "positive"),
        ([1.0, 2.0], "positive"),
        ({}, "Unknown law"),
        ({"law": "lognormal", "loc": 0, "scale": 1}, "did you mean 'log_normal'"),
        ({"law": "gamma", "concentration": 1.0}, "takes concentration and rate"),
        ({"law": "gamma", "shape": 1.0, "rate": 1.0}, "takes concentration and rate"),
        ({"law": "gamma", "concentration": 1.0, "rate": 1.0, "scale": 1.0}, "takes concentration and rate"),
        ({"law": "gamma", "concentration": 0.0, "rate": 1.0}, "positive"),
        ({"law": "gamma", "concentration": "1", "rate": 1.0}, "concentration must be a number"),
        ({"law": "log_normal", "loc": None, "scale": 1.0}, "loc must be a number"),
        ({"law": "log_normal", "loc": float("nan"), "scale": 1.0}, "loc must be a number"),
        ({"law": "log_normal", "loc": 0.0, "scale": -1.0}, "positive"),
        ({"law": "uniform", "low": -1.0, "high": 1.0}, "low < high"),
        ({"law": "uniform", "low": 2.0, "high": 1.0}, "low < high"),
    ],
)
def test_impossible_laws_are_refused_by_name(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Law("noise", spec)
    assert "noise" in str(caught.value)
