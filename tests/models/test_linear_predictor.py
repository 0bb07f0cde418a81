"""The linear predictor against Gaussian-process regression by dense solves.

Letters: B curves, n observed steps, m queries, L whole steps, K basis functions, G noise levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from priorfit.models.linear_predictor import LinearPredictor, Prediction
from priorfit.priors import LearningCurve
from tests.cases import assert_same, seeded

LENGTH, N_BASIS, N_LEVELS = 25, 4, 6
EXACT = {"rtol": 1e-8, "atol": 1e-9}
Observed = tuple[Tensor, Tensor, Tensor, Tensor]
T = torch.arange(1.0, LENGTH + 1, dtype=torch.float64)
MEAN = 0.6 - 0.3 / T
BASIS = torch.stack([0.3 + 0 * T, 0.2 / T.sqrt(), 0.1 * (T / 4).sin(), 0.05 * (-T / 3).exp()], -1)  # (L, K)


def linear_laws(noise: Tensor, n: int = 400) -> Normal:
    """Laws of curves MEAN + BASIS c whose c have mean zero and unit covariance exactly, not just in the limit."""
    c = torch.randn(n, N_BASIS, generator=seeded(), dtype=torch.float64)
    c -= c.mean(0)
    c = torch.linalg.solve_triangular(torch.linalg.cholesky(c.T.cov()), c.T, upper=False).T
    return Normal(MEAN + c @ BASIS.T, noise.double().expand(n, LENGTH))


def log_normal_noise(n: int = 400) -> Tensor:
    """Quantiles of a log-normal law of standard deviations, median e^-3, in random order, (n, 1)."""
    levels = (torch.randperm(n, generator=seeded(1)).double() + 0.5) / n
    return Normal(-3.0, 0.8).icdf(levels).exp()[:, None]


def fitted(noise: Tensor | None = None) -> LinearPredictor:
    predictor = LinearPredictor(LENGTH, N_BASIS, N_LEVELS)
    predictor.fit([linear_laws(log_normal_noise() if noise is None else noise)])
    return predictor


@pytest.fixture(scope="module")
def predictor() -> LinearPredictor:
    return fitted()


def dense(predictor: LinearPredictor, observed: Observed) -> Prediction:
    """The same by textbook formulas, query by query: n × n solves with the covariance at the observed steps."""

    def at(steps: Tensor) -> tuple[Tensor, Tensor]:
        table = torch.cat([predictor.mean[:, None], predictor.basis], 1).T.numpy()
        columns = [np.interp(steps.double().numpy(), np.arange(1, LENGTH + 1), column) for column in table]
        return torch.from_numpy(columns[0]), torch.from_numpy(np.stack(columns[1:], -1))

    steps, values, query_steps, visible = observed
    found = []
    for b, q in np.ndindex(*query_steps.shape):
        n = int(visible[b, q])
        mean, basis = at(steps[b, :n])
        query_mean, query_basis = at(query_steps[b, q : q + 1])
        residual, cross = values[b, :n].double() - mean, basis @ query_basis.T  # (n,), (n, 1)
        log_weights, moments = [], []
        for log_level, log_weight in zip(predictor.log_levels, predictor.log_level_weights, strict=True):
            noise = (2 * log_level).exp()
            covariance = basis @ basis.T + noise * torch.eye(n, dtype=torch.float64)
            solved = torch.linalg.solve(covariance, torch.cat([residual[:, None], cross], 1))
            std = (query_basis @ query_basis.T - cross.T @ solved[:, 1:] + noise).sqrt()
            moments.append((query_mean + cross.T @ solved[:, 0], std, basis.T @ solved[:, 0]))
            evidence = MultivariateNormal(mean, covariance).log_prob(values[b, :n].double()) if n else 0.0
            log_weights.append(log_weight + evidence)
        means, stds, coefficients = (torch.stack(part).squeeze(-1).squeeze(-1) for part in zip(*moments, strict=True))
        found.append((means, stds, torch.stack(log_weights).log_softmax(-1), coefficients))
    return Prediction(*(torch.stack(part).unflatten(0, query_steps.shape) for part in zip(*found, strict=True)))


def curves(predictor: LinearPredictor, steps: Tensor, m: int = 5) -> Observed:
    """Curves of the prior seen on `steps` (B, n) under noise 0.05, queries anywhere, random numbers of them seen."""
    batch, n = steps.shape
    generator = seeded(2)
    c = torch.randn(batch, N_BASIS, generator=generator, dtype=torch.float64)
    mean, basis = predictor.at(steps)
    values = mean + (basis @ c[..., None]).squeeze(-1) + 0.05 * torch.randn(batch, n, generator=generator)
    query_steps = 1 + (LENGTH - 1) * torch.rand(batch, m, generator=generator)
    return steps, values.float(), query_steps, torch.randint(n + 1, (batch, m), generator=generator)


def regular(batch: int = 3, n: int = 9) -> Tensor:
    return torch.arange(1.0, n + 1).expand(batch, n)


def irregular(batch: int = 3, n: int = 9) -> Tensor:
    """Steps of no whole number, different in each curve."""
    return 1 + (LENGTH - 1) * torch.rand(batch, n, generator=seeded(3)).sort(1).values


def replaced(observed: Observed, **parts: Tensor) -> Observed:
    names = ("steps", "values", "query_steps", "visible")
    return tuple(parts.get(name, part) for name, part in zip(names, observed, strict=True))  # type: ignore[return-value]


def ragged(predictor: LinearPredictor, steps: Tensor) -> Observed:
    """One prefix per curve, of another length in each."""
    observed = curves(predictor, steps)
    return replaced(observed, visible=torch.tensor([4, 0, 9])[:, None].expand(3, 5))


LAYOUTS: dict[str, Callable[[LinearPredictor], Observed]] = {
    "regular": lambda p: curves(p, regular()),
    "irregular": lambda p: curves(p, irregular()),
    "unordered": lambda p: curves(p, irregular()[:, torch.randperm(9, generator=seeded())]),
    "repeated": lambda p: curves(p, torch.tensor([3.0, 3.0, 3.0, 7.0, 7.0]).expand(3, 5)),
    "beyond": lambda p: curves(p, irregular() + 10),
    "same-prefixes": lambda p: replaced(curves(p, regular()), visible=torch.tensor([0, 2, 2, 7, 9]).expand(3, 5)),
    "same-prefixes-irregular": lambda p: replaced(
        curves(p, irregular()), visible=torch.tensor([0, 2, 2, 7, 9]).expand(3, 5)
    ),
    "whole": lambda p: replaced(curves(p, regular()), visible=torch.full((3, 5), 9)),
    "ragged": lambda p: ragged(p, regular()),
    "ragged-irregular": lambda p: ragged(p, irregular()),
    "nothing-seen": lambda p: replaced(curves(p, irregular()), visible=torch.zeros(3, 5, dtype=torch.int64)),
    "nothing-there": lambda p: curves(p, regular(n=0)),
    "one-curve": lambda p: curves(p, irregular(batch=1)),
}


@pytest.fixture(params=LAYOUTS)
def observed(request: pytest.FixtureRequest, predictor: LinearPredictor) -> Observed:
    return LAYOUTS[request.param](predictor)


# Prediction


def test_predictions_are_those_of_dense_solves(predictor: LinearPredictor, observed: Observed) -> None:
    found, expected = predictor(*observed), dense(predictor, observed)
    assert_same(found[:3], expected[:3], **EXACT)
    assert_same(found.coefficients.expand(expected.coefficients.shape), expected.coefficients, rtol=1e-7, atol=1e-7)
    assert {part.dtype for part in found} == {torch.float64}


def test_what_is_not_seen_does_not_matter(predictor: LinearPredictor, observed: Observed) -> None:
    steps, values, _, visible = observed
    unseen = torch.arange(steps.shape[1]) >= visible.amax(1, keepdim=True)
    junk = 1e6 * torch.randn(2, *steps.shape, generator=seeded(5))
    steps, values = (torch.where(unseen, wild, part) for part, wild in zip((steps, values), junk, strict=True))
    assert_same(predictor(*replaced(observed, steps=steps, values=values)), predictor(*observed), **EXACT)


def test_each_prefix_is_read_as_if_there_was_no_more(predictor: LinearPredictor, observed: Observed) -> None:
    steps, values, query_steps, visible = observed
    whole = predictor(*observed)
    for b, q in np.ndindex(*visible.shape):
        n, row = int(visible[b, q]), slice(b, b + 1)
        alone = predictor(steps[row, :n], values[row, :n], query_steps[row, q : q + 1], visible[row, q : q + 1])
        assert_same(alone[:3], [part[row, q : q + 1] for part in whole[:3]], **EXACT)


def test_order_of_observations_does_not_matter(predictor: LinearPredictor) -> None:
    observed = LAYOUTS["same-prefixes-irregular"](predictor)
    observed = replaced(observed, visible=torch.tensor([7, 7, 9, 9, 9]).expand(3, 5))
    order = torch.tensor([6, 2, 0, 4, 5, 1, 3, 8, 7])
    shuffled = replaced(observed, steps=observed[0][:, order], values=observed[1][:, order])
    assert_same(predictor(*shuffled), predictor(*observed), **EXACT)


@pytest.mark.parametrize(
    ("layout", "prefixes", "different"),
    [("same-prefixes", 5, 1), ("whole", 1, 1), ("ragged", 1, 3), ("regular", 5, 3), ("same-prefixes-irregular", 5, 3)],
)
def test_work_is_shared_where_curves_see_the_same_steps(
    predictor: LinearPredictor, layout: str, prefixes: int, different: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    cholesky = torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda matrix: sizes.append(matrix.shape) or cholesky(matrix))
    predictor(*LAYOUTS[layout](predictor))
    assert sizes == [(different, prefixes, N_LEVELS, N_BASIS, N_BASIS)]


# Between and beyond the steps


def test_mean_and_basis_are_interpolated_and_constant_beyond_the_ends(predictor: LinearPredictor) -> None:
    mean, basis = predictor.at(torch.tensor([[1.0, 7.0, 7.25], [25.0, 26.0, 1e6]]))
    shares = torch.tensor([0.75, 0.25], dtype=torch.float64)
    expected = torch.stack([predictor.mean[0], predictor.mean[6], shares @ predictor.mean[6:8]])
    assert_same(mean[0], expected, **EXACT)
    assert_same(basis[0, 2], shares @ predictor.basis[6:8], **EXACT)
    assert_same(mean[1], predictor.mean[-1:].expand(3))
    assert_same(basis[1], predictor.basis[-1:].expand(3, N_BASIS))
    assert_same(predictor.at(torch.tensor(-4.0)), predictor.at(torch.tensor(1.0)))


# Fitting


def test_fitting_recovers_mean_and_covariance(predictor: LinearPredictor) -> None:
    assert_same(predictor.mean, MEAN, rtol=0, atol=1e-12)
    assert_same(predictor.basis @ predictor.basis.T, BASIS @ BASIS.T, rtol=0, atol=1e-12)
    sizes = predictor.basis.square().sum(0)
    assert (sizes.diff() < 0).all()  # largest first


def test_a_small_basis_is_the_best_of_its_size() -> None:
    predictor = LinearPredictor(LENGTH, 2, N_LEVELS)
    predictor.fit([linear_laws(log_normal_noise())])
    left, sizes, right = torch.linalg.svd(BASIS @ BASIS.T)
    best = left[:, :2] @ sizes[:2].diag() @ right[:2]
    assert_same(predictor.basis @ predictor.basis.T, best, rtol=0, atol=1e-12)


def test_more_basis_functions_than_the_curves_have_are_zero() -> None:
    predictor = LinearPredictor(LENGTH, LENGTH, N_LEVELS)
    predictor.fit([linear_laws(log_normal_noise())])
    assert predictor.basis[:, N_BASIS:].abs().max() < 1e-7
    assert_same(predictor.basis @ predictor.basis.T, BASIS @ BASIS.T, rtol=0, atol=1e-12)


def test_parts_are_fitted_as_one() -> None:
    whole, parts = fitted(), LinearPredictor(LENGTH, N_BASIS, N_LEVELS)
    law = linear_laws(log_normal_noise())
    parts.fit([Normal(law.mean[rows], law.stddev[rows]) for rows in (slice(150), slice(150, None))])
    assert_same(list(parts.buffers()), list(whole.buffers()))


def test_levels_cover_the_noise_and_weights_are_its_density() -> None:
    predictor = LinearPredictor(LENGTH, N_BASIS, 12)
    predictor.fit([linear_laws(log_normal_noise(20_000), 20_000)])
    levels, weights = predictor.log_levels, predictor.log_level_weights.exp()
    law = stats.norm(-3, 0.8)
    np.testing.assert_allclose(levels[[0, -1]], law.ppf([0.003, 0.997]), rtol=0, atol=0.01)
    np.testing.assert_allclose(levels.diff(), (levels[-1] - levels[0]) / 11, rtol=1e-9)
    borders = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    np.testing.assert_allclose(weights, np.diff(law.cdf(borders)), rtol=0, atol=1e-3)
    assert weights.sum().item() == pytest.approx(1, abs=1e-12)


def test_noise_that_changes_along_the_curve_counts_with_its_geometric_mean() -> None:
    predictor = fitted(log_normal_noise() * (0.3 * (T.log() - T.log().mean())).exp())
    assert_same(predictor.log_levels, fitted().log_levels, **EXACT)


def test_constant_noise_is_a_gaussian_process() -> None:
    predictor = fitted(torch.tensor(0.05))
    assert_same(predictor.log_levels, torch.full((N_LEVELS,), math.log(0.05)).double(), rtol=0, atol=1e-7)
    assert predictor.log_level_weights.logsumexp(0).item() == pytest.approx(0, abs=1e-12)
    observed = LAYOUTS["irregular"](predictor)
    found = predictor(*observed)
    assert_same(found[:3], dense(predictor, observed)[:3], **EXACT)
    assert_same(found.mean, found.mean[..., :1].expand_as(found.mean), **EXACT)


def test_untrained_it_predicts_within_the_unit_range() -> None:
    predictor = LinearPredictor(LENGTH, N_BASIS, N_LEVELS)
    found = predictor(*LAYOUTS["nothing-there"](predictor))
    assert_same(found.mean, torch.full_like(found.mean, 0.5))
    assert ((found.std > 1e-3) & (found.std < 1)).all()


# Robustness, with a hundred steps and noise down to 1e-5


@pytest.fixture(scope="module")
def sharp() -> LinearPredictor:
    """Fitted to the published curves with hardly any noise."""
    noise = {"law": "log_normal", "loc": -9.0, "scale": 1.0}
    task = LearningCurve(noise=noise).with_context(0, 100).sample(1000, generator=seeded())
    predictor = LinearPredictor(100, 12, 16)
    predictor.fit([task.law])
    return predictor


def test_points_with_hardly_any_noise_fix_the_curve(sharp: LinearPredictor) -> None:
    c = torch.randn(20, 12, generator=seeded(6), dtype=torch.float64)
    clean = sharp.mean + c @ sharp.basis.T  # (20, 100)
    values = clean + 1e-4 * torch.randn(clean.shape, generator=seeded(7))
    steps = torch.arange(1.0, 101).expand(20, 100)
    found = sharp(steps, values.float(), steps, torch.full((20, 100), 100))
    weights = found.log_weights.exp()
    mean = (weights * found.mean).sum(-1)
    assert (mean - clean).abs().max() < 4e-4
    assert ((mean - clean).square().mean() < 12 / 100 * 2e-4**2).item()  # K of n degrees of freedom
    assert_same((weights * sharp.log_levels).sum(-1), torch.full_like(mean, math.log(1e-4)), rtol=0, atol=0.4)


def test_three_points_with_hardly_any_noise_do_not_tell_its_level(sharp: LinearPredictor) -> None:
    """With more basis functions than points, rounding is magnified by the ratio of signal to noise, 10^9 here."""
    steps = torch.tensor([[1.0, 10.0, 100.0]])
    values = torch.tensor([[0.3, 0.5, 0.52]])
    found = sharp(steps, values, torch.tensor([[50.0]]), torch.tensor([[3]])).log_weights[0, 0]
    mean, basis = sharp.at(steps[0])
    noise = (2 * sharp.log_levels).exp()[:, None, None] * torch.eye(3, dtype=torch.float64)
    evidence = MultivariateNormal(mean, basis @ basis.T + noise).log_prob(values[0].double())
    assert_same(found, (sharp.log_level_weights + evidence).log_softmax(0), rtol=0, atol=1e-5)


def test_noise_below_the_precision_of_values_does_not_break() -> None:
    task = LearningCurve(length=LENGTH, noise=1e-10).with_context(0, LENGTH).sample(200, generator=seeded())
    predictor = LinearPredictor(LENGTH, LENGTH, 2)
    predictor.fit([task.law])
    steps, queries = torch.arange(1.0, LENGTH).expand(5, -1), torch.full((5, 1), float(LENGTH))
    found = predictor(steps, task.law.mean[:5, :-1], queries, torch.full((5, 1), LENGTH - 1))
    assert_same(found.mean[..., 0].float(), task.law.mean[:5, -1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0, 1e3, -1e3, 1e12])
@pytest.mark.parametrize("n", [1, 2, 100])
def test_constant_curves_anywhere_are_finite(sharp: LinearPredictor, value: float, n: int) -> None:
    steps = torch.arange(1.0, n + 1)[None]
    query_steps = torch.tensor([[1.0, 50.0, 100.0, 500.0]])
    found = sharp(steps, torch.full_like(steps, value), query_steps, torch.full((1, 4), n))
    assert all(part.isfinite().all() for part in found)
    assert (found.std > 0).all()
    assert_same(found.log_weights.logsumexp(-1), torch.zeros(1, 4).double(), rtol=0, atol=1e-12)
