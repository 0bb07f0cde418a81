"""Families of curves against NumPy formulas, and the priors of their parameters against SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from priorfit.priors.curve_bases import BASES, Parameter
from tests.cases import assert_same, assert_uniform, seeded

FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "pow3": lambda t, c, a, alpha: c - a * t**-alpha,
    "ilog2": lambda t, c, a: c - a / np.log(t + 1),
    "janoschek": lambda t, a, b, k, delta: a - (a - b) * np.exp(-k * t**delta),
    "log_power": lambda t, a, b, c: a / (1 + (t / np.exp(b)) ** c),
    "weibull": lambda t, alpha, beta, k, delta: alpha - (alpha - beta) * np.exp(-((k * t) ** delta)),
    "mmf": lambda t, alpha, beta, k, delta: alpha - (alpha - beta) / (1 + (k * t) ** delta),
    "vap": lambda t, a, b, c: np.exp(a + b / t + c * np.log(t)),
    "loglog_linear": lambda t, a, b: np.log(a * np.log(t) + b),
    "exp4": lambda t, c, a, alpha, b: c - np.exp(-a * t**alpha + b),
    "pow4": lambda t, c, a, b, alpha: c - (a * t + b) ** -alpha,
    "hill3": lambda t, theta, eta, kappa: theta * t**eta / (kappa**eta + t**eta),
}
e = np.exp
LAWS: dict[str, dict[str, Any]] = {
    "pow3": {"c": stats.uniform(0, 1.25), "a": stats.uniform(-0.6, 1.2), "alpha": stats.lognorm(2)},
    "ilog2": {"c": stats.uniform(0, 1), "a": stats.uniform(-0.5, 1)},
    "janoschek": {
        "a": stats.uniform(0, 1),
        "b": stats.uniform(0, 2),
        "k": stats.lognorm(1, scale=e(-2)),
        "delta": stats.lognorm(0.5),
    },
    "log_power": {"a": stats.norm(0.8, 0.1), "b": stats.norm(1, 1), "c": stats.uniform(-3, 3)},
    "weibull": {
        "alpha": stats.uniform(0, 1.5),
        "beta": stats.uniform(0, 1),
        "k": stats.lognorm(1, scale=e(-2)),
        "delta": stats.lognorm(0.5),
    },
    "mmf": {
        "alpha": stats.norm(0.8, 0.1),
        "beta": stats.norm(0.2, 0.1),
        "k": stats.lognorm(2),
        "delta": stats.lognorm(1),
    },
    "vap": {"a": stats.uniform(-2, 2), "b": stats.uniform(-4, 4), "c": stats.loguniform(e(-8), 1)},
    "loglog_linear": {"a": stats.lognorm(1, scale=e(-2)), "b": stats.loguniform(1, e(1))},
    "exp4": {
        "c": stats.norm(0.8, 0.1),
        "a": stats.lognorm(1, scale=e(-2)),
        "alpha": stats.lognorm(1),
        "b": stats.lognorm(0.5),
    },
    "pow4": {
        "c": stats.loguniform(e(-5), 1),  # of 1 - c
        "a": stats.lognorm(2, scale=e(-3)),
        "b": stats.loguniform(1, e(1)),
        "alpha": stats.lognorm(1),
    },
    "hill3": {
        "theta": stats.norm(0.8, 0.1),
        "eta": stats.lognorm(1, scale=e(1)),
        "kappa": stats.lognorm(2, scale=e(1)),
    },
}


def test_every_family_has_a_formula_and_laws() -> None:
    assert set(BASES) == set(FORMULAS) == set(LAWS)
    assert len(BASES) == 11


@pytest.mark.parametrize("name", BASES)
@pytest.mark.filterwarnings("ignore:overflow encountered")  # NumPy's, where a steep curve has long saturated
def test_curves_are_those_of_numpy(name: str) -> None:
    basis = BASES[name]
    t = np.arange(1, 101.0)
    generator = seeded(3)
    given = [law.sample(200, generator).double()[:, None] for law in basis.parameters.values()]
    expected = FORMULAS[name](t, *(value.numpy() for value in given))
    found = basis.curve(torch.from_numpy(t).log(), *given)
    assert found.shape == (200, 100)
    usable = np.isfinite(expected) & (abs(expected) < 10)
    assert usable.mean() > 0.9
    np.testing.assert_allclose(found.numpy()[usable], expected[usable], rtol=0, atol=1e-10)
    single = basis.curve(torch.from_numpy(t).float().log(), *(value.float() for value in given)).numpy()
    np.testing.assert_allclose(single[usable], expected[usable], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", BASES)
def test_parameters_follow_their_laws(name: str) -> None:
    laws = BASES[name].parameters
    assert list(laws) == list(LAWS[name])
    for index, (parameter, law) in enumerate(laws.items()):
        draws = law.sample(2000, seeded(index + 1)).double()
        draws = 1 - draws if (name, parameter) == ("pow4", "c") else draws
        assert_uniform(LAWS[name][parameter].cdf(draws.numpy()))


def test_draws_come_from_the_generator_alone() -> None:
    for law in (Parameter("uniform", 0, 1), Parameter("normal", 0, 1, "log")):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        first = law.sample(5, seeded(3))
        assert first.dtype == torch.float32
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(1)
        assert_same(first, law.sample(5, seeded(3)))
