"""The linear "BNN" against its published numbers, and against weighted draws of whole networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from priorfit.evaluation.scoring import effective_sample_size
from priorfit.priors import LinearBNN, Table, Task
from tests.cases import assert_mean, assert_same, assert_uniform, seeded


def small(**arguments: Any) -> LinearBNN:
    return LinearBNN(**{"sizes": {"points": 300, "features": 3}, "importance_draws": 400, **arguments})


@pytest.mark.parametrize(("n", "nll", "accuracy"), [(2, 0.589, 0.692), (10, 0.397, 0.822), (50, 0.265, 0.885)])
def test_reference_scores_what_is_published(n: int, nll: float, accuracy: float) -> None:
    prior = small()
    task = prior.with_context(n, 80).sample(100, generator=seeded(n))
    posterior = prior.posterior(task)
    assert_mean(-posterior.log_prob(task.hidden).mean(1), nll, 0.005)
    assert_mean((posterior.probs.argmax(-1) == task.hidden).double().mean(1), accuracy, 0.01)
    assert effective_sample_size(posterior).min() > 100


def test_oracle_scores_what_is_published() -> None:
    task = small().with_context(0, 20).sample(3000, generator=seeded())
    assert_mean(-task.law.log_prob(task.hidden).mean(1), 0.226, 0.0005)
    larger = small(sizes={"points": 300, "features": 8}, hidden=64)
    task = larger.with_context(0, 20).sample(3000, generator=seeded())
    assert_mean(-task.law.log_prob(task.hidden).mean(1), 0.043, 0.0005)


def test_importance_sampling_copes_with_the_larger_setting() -> None:
    prior = small(sizes={"points": 300, "features": 8}, hidden=64, importance_draws=1000)
    task = prior.with_context(50, 80).sample(25, generator=seeded())
    assert_mean(-prior.posterior(task).log_prob(task.hidden).mean(1), 0.161, 0.01)


def test_posterior_is_that_of_weighted_networks() -> None:
    prior = LinearBNN({"points": 6, "features": 2}, hidden=3, importance_draws=4000)
    task = prior.with_context(4, 2).sample(3, generator=seeded(3))
    random, draws = np.random.default_rng(0), 200_000
    first, second = random.normal(size=(draws, 3, 3)), random.normal(size=(draws, 4, 2))

    def chance(x: np.ndarray) -> np.ndarray:
        """Of class 1 at x (rows, 2) under each network, (draws, rows)."""
        logits = (x @ first[:, :2] + first[:, 2:]) @ second[:, :3] + second[:, 3:]
        return 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))

    for i, found in enumerate(prior.posterior(task).probs[..., 1]):
        y = task.observed.y_context[i].numpy()
        seen = chance(task.observed.x_context[i].double().numpy())
        weight = np.where(y == 1, seen, 1 - seen).prod(1)
        asked = chance(task.observed.x_query[i].double().numpy())
        np.testing.assert_allclose(found, weight @ asked / weight.sum(), rtol=0, atol=0.012)


@pytest.mark.parametrize("hidden", [1, 5, 64])
def test_density_of_the_coefficients_is_the_scale_mixture(hidden: int) -> None:
    prior = LinearBNN({"points": 6, "features": 3}, hidden=hidden)
    theta = 1.5 * torch.randn(5, 4, dtype=torch.float64, generator=seeded())
    w, b = theta[:, :3].square().sum(1).numpy(), theta[:, 3].square().numpy()

    def integrand(s: float, i: int) -> float:
        normal = np.exp(-w[i] / (2 * s) - b[i] / (2 * s + 4)) / np.sqrt((2 * np.pi) ** 4 * s**3 * (s + 2))
        return float(normal * stats.chi2(hidden, scale=2).pdf(s))

    expected = [np.log(integrate.quad(integrand, 0, 1000, args=(i,), limit=200, points=[1, 100])[0]) for i in range(5)]
    np.testing.assert_allclose(prior.log_prior(theta), expected, rtol=0, atol=3e-3)


def test_draws_are_a_mixture_of_logistic_regressions() -> None:
    """Given the weights, log odds are linear in x; over networks their variance is s |x|² + s + 2, E s = 2 H."""
    prior = LinearBNN({"points": 9, "features": 3}, hidden=5)
    task = prior.with_context(0, 9).sample(1500, generator=seeded())
    odds = task.law.logits[..., 1] - task.law.logits[..., 0]
    x = torch.nn.functional.pad(task.observed.x_query, (0, 1), value=1.0)
    solution = torch.linalg.lstsq(x.double(), odds[..., None].double()).solution
    assert_same(x.double() @ solution, odds[..., None].double(), rtol=0, atol=1e-3)
    assert_mean(solution[:, :3, 0].square().mean(1), 10.0)
    assert_mean(solution[:, 3, 0].square(), 12.0)


def test_layout_of_the_table() -> None:
    task = small().with_context(7, 5).sample(200, generator=seeded())
    assert isinstance(task.observed, Table)
    x_context, y_context, x_query, categorical, n_classes = task.observed
    assert x_context.shape == (200, 7, 3)
    assert x_query.shape == (200, 5, 3)
    assert_uniform(torch.special.ndtr(torch.cat([x_context, x_query], 1)))
    assert y_context.dtype == torch.float32
    assert set(y_context.unique().tolist()) == {0.0, 1.0}
    assert task.hidden.dtype == torch.int64
    assert (categorical.shape, categorical.any().item()) == ((200, 3), False)
    assert_same(n_classes, torch.full((200,), 2))


def test_reference_is_deterministic_and_ignores_other_queries_tasks_and_order() -> None:
    prior = small()
    task = prior.with_context(6, 3).sample(4, generator=seeded())
    whole = prior.posterior(task).probs
    assert_same(prior.posterior(task).probs, whole)
    x, y, x_query, categorical, n_classes = task.observed
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    part = Table(x[1:2, order], y[1:2, order], x_query[1:2, :1], categorical[1:2], n_classes[1:2])
    alone = prior.posterior(Task(part, task.hidden[1:2, :1])).probs
    assert_same(alone, whole[1:2, :1], rtol=0, atol=1e-6)


def test_nothing_is_known_without_context_but_the_symmetry() -> None:
    prior = small(importance_draws=4000)
    probs = prior.posterior(prior.with_context(0, 50).sample(2, generator=seeded())).probs
    assert_same(probs, torch.full_like(probs, 0.5), rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 0}, "hidden must"),
        ({"importance_draws": 1.5}, "importance_draws must"),
        ({"sizes": {"points": 5, "context": "prefix"}}, "no order"),
        ({"sizes": {"points": 0}}, "points must"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)
