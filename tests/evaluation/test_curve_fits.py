"""Parametric fits and the last value: formulas against the prior's, closed forms, and curves that they must find."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from priorfit.evaluation import curve_fits
from priorfit.evaluation.curve_fits import FAMILIES, last_value, parametric_fits
from priorfit.evaluation.quantiles import quantile
from priorfit.priors import Curves, LearningCurve
from priorfit.priors.curve_bases import BASES
from tests.cases import seeded

X = np.log(np.arange(1.0, 61))


def observe(curve: np.ndarray, n: int) -> Curves:
    """A curve (L,) seen on its first n steps, with all later steps asked about."""
    steps = torch.arange(1.0, len(curve) + 1, dtype=torch.float64)[None]
    values = torch.from_numpy(curve)[None]
    return Curves(steps[:, :n], values[:, :n], steps[:, n:], torch.full((1, len(curve) - n), n))


def prior_curves(n: int = 10, batch: int = 4) -> tuple[Curves, Tensor]:
    task = LearningCurve(length=30).with_context(n, 30).sample(batch, generator=seeded(5))
    return task.observed, task.hidden


def test_formulas_are_those_of_the_prior() -> None:
    cases = [
        (curve_fits.pow3(X, 0.8, 0.5, -1.2), BASES["pow3"].curve, (0.8, 0.5, math.exp(-1.2))),
        (curve_fits.ilog2(X, 0.8, 0.5), BASES["ilog2"].curve, (0.8, 0.5)),
        (curve_fits.janoschek(X, 0.8, 0.1, -2, 0.3), BASES["janoschek"].curve, (0.8, 0.1, math.exp(-2), math.exp(0.3))),
        # c - (a t + b)^-alpha has the amplitude b^-alpha and the scale b / a
        (curve_fits.pow4(X, 0.9, 1.5**-0.7, math.log(0.7), math.log(15)), BASES["pow4"].curve, (0.9, 0.1, 1.5, 0.7)),
    ]
    for values, curve, parameters in cases:
        expected = curve(torch.from_numpy(X), *(torch.tensor(p, dtype=torch.float64) for p in parameters))
        np.testing.assert_allclose(values, expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("pow3", (0.9, 0.6, -0.3)),
        ("pow3", (0.9, 0.5, -2.5)),
        ("ilog2", (0.85, 0.4)),
        ("janoschek", (0.75, 0.1, -2.5, 0.1)),
        ("janoschek", (0.95, 0.3, -1, -0.7)),
        ("pow4", (0.9, 0.7, 0.5, 2.0)),
    ],
)
def test_clean_curves_of_the_families_are_found(name: str, parameters: tuple[float, ...]) -> None:
    curve = FAMILIES[name].curve(X, *parameters)
    predicted = parametric_fits(*observe(curve, 30))
    np.testing.assert_allclose(quantile(predicted, 0.5)[0].numpy(), curve[30:], atol=0.006)
    assert (predicted.stddev < 0.05).all()
    fit = curve_fits.fit_family(FAMILIES[name], X[:30], curve[:30], np.ones(30))
    np.testing.assert_allclose(FAMILIES[name].curve(X, *fit.parameters), curve, atol=0.002)


def test_a_linear_family_in_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """c - a / ln(t + 1) is weighted linear regression with a Gaussian law of width / √12 on both parameters."""
    monkeypatch.setattr(curve_fits, "FAMILIES", {"ilog2": FAMILIES["ilog2"]})
    y = 0.8 - 0.4 / np.log1p(np.arange(1.0, 13)) + 0.03 * np.random.default_rng(0).normal(size=12)
    n = 8
    predicted = parametric_fits(*observe(y, n))
    design = np.stack([np.ones(12), -1 / np.log1p(np.arange(1.0, 13))], 1)
    weights = 10 ** (np.arange(1, n + 1) / n)
    weights *= n / weights.sum()
    gram = design[:n].T @ (weights[:, None] * design[:n])
    solution = np.linalg.solve(gram, design[:n].T @ (weights * y[:n]))
    squares = (weights * (y[:n] - design[:n] @ solution) ** 2).sum()
    variance = (squares + 0.05**2) / (n - 2 + 1) + 0.001**2
    covariance = np.linalg.inv(gram / variance + np.diag([12 / 2**2, 12 / 6**2]))
    growth = 1 + np.log(np.arange(n + 1, 13) / n)
    expected = variance * growth + np.einsum("ij,jk,ik->i", design[n:], covariance, design[n:])
    np.testing.assert_allclose(predicted.mean[0].numpy(), design[n:] @ solution, atol=1e-6)
    np.testing.assert_allclose(predicted.variance[0].numpy(), expected, rtol=1e-5)


def test_families_are_weighed_by_their_criteria() -> None:
    observed, _ = prior_curves(n=12, batch=1)
    mixing = parametric_fits(*observed).mixture_distribution.probs[0]  # (m, K)
    x, y = np.log(np.arange(1.0, 13)), observed.values[0].double().numpy()
    weights = 10 ** (np.arange(1, 13) / 12)
    weights *= 12 / weights.sum()
    fits = [curve_fits.fit_family(family, x, y, weights) for family in FAMILIES.values()]
    likely = np.array([(fit.squares + 0.05**2) / 13 + 0.001**2 for fit in fits])
    sizes = np.array([3, 2, 4, 4])
    expected = np.exp(-(12 * np.log(likely) + sizes * math.log(12)) / 2)
    np.testing.assert_allclose(mixing, np.tile(expected / expected.sum(), (18, 1)), rtol=1e-6)


def test_last_value_by_hand() -> None:
    steps = torch.tensor([[1.0, 2, 4, 8, 16]])
    values = torch.tensor([[0.1, 0.9, 0.5, 0.6, 0.4]], dtype=torch.float64)
    predicted = last_value(steps, values, torch.tensor([[17.0, 32]]), torch.full((1, 2), 5))
    rate = (0.1**2 + (0.1**2 + 0.2**2) / math.log(2)) / 3  # the last two increments
    assert predicted.mean.tolist() == [[0.4, 0.4]]
    expected = [rate * math.log(17 / 16) + 1e-6, rate * math.log(2) + 1e-6]
    assert predicted.variance[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_last_value_of_a_single_one() -> None:
    predicted = last_value(*observe(np.array([0.3, 0.5, 0.9]), 1))
    assert predicted.variance[0].tolist() == pytest.approx([0.01 * math.log(t) + 1e-6 for t in (2, 3)], rel=1e-12)


@pytest.mark.parametrize("method", [parametric_fits, last_value])
@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_predictions_are_distributions(method: curve_fits.Method, n: int) -> None:
    observed, hidden = prior_curves(n)
    predicted = method(*observed)
    assert predicted.batch_shape == hidden.shape
    assert torch.isfinite(predicted.log_prob(hidden)).all()
    median = quantile(predicted, 0.5)
    np.testing.assert_allclose(predicted.cdf(median), 0.5, atol=1e-9)
    assert ((median > -0.5) & (median < 1.5)).all()


@pytest.mark.parametrize("method", [parametric_fits, last_value])
def test_what_is_not_visible_does_not_matter(method: curve_fits.Method) -> None:
    observed, _ = prior_curves()
    visible = torch.tensor([10, 4, 1, 7])
    values = observed.values.clone()
    values[torch.arange(10) >= visible[:, None]] = 77.0
    ragged = Curves(observed.steps, values, observed.query_steps, visible[:, None].expand(4, 20))
    together = method(*ragged)
    for index, n in enumerate(visible.tolist()):
        one = Curves(*(part[index : index + 1] for part in ragged))
        alone = method(one.steps[:, :n], one.values[:, :n], one.query_steps, one.visible)
        np.testing.assert_array_equal(together.mean[index], alone.mean[0])
        np.testing.assert_array_equal(together.variance[index], alone.variance[0])


def test_fits_beat_the_last_value_on_rising_curves() -> None:
    task = LearningCurve(length=50).with_context(20, 50).sample(30, generator=seeded(1))
    fits, last = (method(*task.observed).log_prob(task.hidden).mean() for method in (parametric_fits, last_value))
    assert fits > last + 0.2


@pytest.mark.parametrize("method", [parametric_fits, last_value])
def test_unusable_curves(method: curve_fits.Method) -> None:
    observed, _ = prior_curves()
    with pytest.raises(ValueError, match="at least one observed value"):
        method(*observed._replace(visible=torch.zeros(4, 20, dtype=torch.int64)))
    mixed = observed.visible.clone()
    mixed[0, 0] = 3
    with pytest.raises(ValueError, match="as many for every query"):
        method(*observed._replace(visible=mixed))
    with pytest.raises(ValueError, match="positive and increase"):
        method(*observed._replace(steps=observed.steps.flip(1)))
    with pytest.raises(ValueError, match="queries must come after"):
        method(*observed._replace(query_steps=observed.query_steps - 10))
