"""Posteriors of Bayesian neural networks by HMC, against quadrature, importance sampling and simulation.

Letters: B tasks, n context rows, m queries, R radii.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from priorfit.evaluation.bnn_mcmc import LABELS, sampled_label_scores, score_cached, score_tasks
from priorfit.evaluation.hmc import Chain
from priorfit.evaluation.known_posteriors import weight_posterior
from priorfit.evaluation.settings import Settings
from priorfit.priors import BNN, GaussianProcess, LinearBNN, Table, Task
from tests.cases import seeded

QUICK = Chain(chains=4, warmup=150, draws=200, leapfrogs=12)
CLASSES = {"kind": "classes", "number": 2, "by_value": 1.0, "balanced": 0.0}
PLAIN: dict[str, Any] = {
    "sizes": {"points": 12, "features": 2, "context": 8},
    "depth": 1,
    "width": 3,
    "activations": "tanh",
    "weight_scale": 1.5,
    "sparsity": 0.0,
    "unit_noise": None,
    "noise": 0.3,
    "standardized": False,
}


def plain(**changes: Any) -> BNN:
    return BNN(**{**PLAIN, **changes})


def linear_predictive(x: np.ndarray, y: np.ndarray, query: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean and log density of the queries' targets of one task, for one hidden layer with nothing behind it.

    Given r = |v|², which is chi²(H) / H, coefficients of (x / √F, 1) are N(0, s² r I): linear regression; r by sums.
    """
    radius = stats.chi2(3).ppf((np.arange(400) + 0.5) / 400) / 3  # (R,), equally likely
    phi, psi = (np.pad(a / np.sqrt(2), ((0, 0), (0, 1)), constant_values=1.0) for a in (x, query))
    weights, means, densities = [], [], []
    for r in radius:
        scale, noise = 1.5**2 * r, 0.3**2
        evidence = scale * phi @ phi.T + noise * np.eye(len(y))
        gain = scale * psi @ phi.T @ np.linalg.inv(evidence)
        mean = gain @ y
        variance = scale * (psi**2).sum(1) + noise - (gain * (scale * psi @ phi.T)).sum(1)
        weights.append(stats.multivariate_normal(np.zeros(len(y)), evidence).logpdf(y))
        means.append(mean)
        densities.append(stats.norm(mean, np.sqrt(variance)).logpdf(hidden))
    log_weight = np.array(weights) - logsumexp(weights)
    density = logsumexp(log_weight[:, None] + np.array(densities), axis=0)
    return np.exp(log_weight) @ np.array(means), density


def test_linear_networks_with_noise_are_linear_regression() -> None:
    prior = plain(activations="identity")
    task = prior.sample(6, generator=seeded())
    found = score_tasks(prior, task, Chain(4, 300, 600, 15), 1)
    arrays = [part.double().numpy() for part in (*task.observed[:3], task.hidden)]
    expected = [linear_predictive(*one) for one in zip(*arrays, strict=True)]
    error = 4.5 * 0.8 / np.sqrt(found["effective_sample_size"].min())
    np.testing.assert_allclose(found["predicted"], [mean for mean, _ in expected], rtol=0, atol=error)
    np.testing.assert_allclose(found["log_prob"], [density for _, density in expected], rtol=0, atol=0.1)
    assert (found["rhat"] < 1.05).all()
    assert found["log_prob"].shape == (6, 4)


def test_networks_without_activation_have_the_reference_of_their_prior() -> None:
    prior = LinearBNN({"points": 30, "features": 2, "context": 15}, hidden=3)
    task = prior.sample(15, generator=seeded())
    found = score_tasks(prior, task, QUICK, 1)
    reference = prior.posterior(task)
    difference = found["predicted"] - reference.probs[..., 1].numpy()
    assert np.abs(difference).max() < 0.1
    assert np.sqrt(np.square(difference).mean()) < 0.02
    gap = reference.log_prob(task.hidden).numpy() - found["log_prob"]
    assert abs(gap.mean()) < 0.01
    assert found["label_log_prob"].shape == (15, len(LABELS), 15)


@pytest.mark.parametrize("ordered", [0.0, 1.0])
def test_classes_are_those_of_simulated_tables(ordered: float) -> None:
    """At fixed inputs, among very many tables those that have a given context: the last class is its query's."""
    target = {**CLASSES, "ordered": ordered}
    prior = plain(sizes={"points": 5, "features": 1, "context": 4}, target=target)
    x = torch.tensor([-1.2, -0.3, 0.4, 1.5, 0.1])[:, None]

    class Fixed(BNN):
        def draw_table(self, batch_size: int, *arguments: Any) -> Any:
            raw = super().draw_table(batch_size, *arguments)
            architecture = self.draw_architecture(batch_size, arguments[-1])
            inputs = x.expand(batch_size, -1, -1)
            return raw._replace(x=inputs, y=self.outputs(inputs, architecture, arguments[-1]))

    draws = Fixed(**prior.arguments).sample(60_000, generator=seeded())
    context = draws.observed.y_context.long()
    patterns = torch.tensor([p for p in itertools.product((0, 1), repeat=4) if 0 < sum(p) < 4])
    tables = Table(
        x[:4].expand(len(patterns), -1, -1),
        patterns.float(),
        x[4:].expand(len(patterns), -1, -1),
        torch.zeros(len(patterns), 1, dtype=torch.bool),
        torch.full((len(patterns),), 2),
    )
    found = score_tasks(prior, Task(tables, torch.ones(len(patterns), 1).long()), QUICK, 1)
    for pattern, predicted in zip(patterns, found["predicted"][:, 0], strict=True):
        same = draws.hidden[(context == pattern).all(1), 0].double()
        assert len(same) > 500
        error = 4.5 * same.std().item() / len(same) ** 0.5
        assert abs(same.mean().item() - predicted) < error + 0.03, pattern
    np.testing.assert_allclose(np.exp(found["log_prob"]), found["predicted"], rtol=1e-9)


@pytest.mark.parametrize("target", [{"kind": "number"}, CLASSES])
def test_outputs_are_those_of_the_prior(target: dict[str, Any]) -> None:
    """Over standard normal parameters, outputs of two rows have the covariance of the prior's."""
    prior = plain(depth=2, target=target)
    task = prior.sample(1, generator=seeded())
    posterior: Any = weight_posterior(prior, task)
    theta = torch.randn(20_000, 1, posterior.size, generator=seeded(1), dtype=torch.float64)
    ours = posterior.outputs(theta)[:, 0, :2]
    x = posterior.x.float()[:, :2].expand(20_000, -1, -1)
    theirs = prior.outputs(x, prior.draw_architecture(20_000, seeded(2)), seeded(3)).double()
    for first, second in ((0, 0), (0, 1), (1, 1)):
        one, two = (values[:, first] * values[:, second] for values in (ours, theirs))
        assert abs(one.mean() - two.mean()) < 4.5 * np.hypot(one.std().item(), two.std().item()) / 20_000**0.5


def test_a_density_has_its_gradient_where_the_noise_is_tiny() -> None:
    prior = plain(target=CLASSES, noise=1e-3)
    posterior = weight_posterior(prior, prior.sample(20, generator=seeded()))
    theta = torch.randn(3, 20, posterior.size, generator=seeded(1), dtype=torch.float64).requires_grad_()
    density = posterior.log_density(theta)
    density.sum().backward()
    assert density.isfinite().all()
    assert theta.grad is not None
    assert theta.grad.isfinite().all()


def test_sampled_labels_are_scored_by_their_frequency() -> None:
    """A frequency of S labels has log score E log(k / S), k ~ Binomial(S, p), with -100 for k = 0."""
    chance = torch.full((400, 4, 2000, 1), 0.9, dtype=torch.float64)
    hidden = torch.cat([torch.ones(1000, 1), torch.zeros(1000, 1)]).long()
    found = sampled_label_scores(chance, hidden, seeded())[..., 0]  # (B, L)
    for index, number in enumerate(LABELS):
        for p, rows in ((0.9, found[:1000, index]), (0.1, found[1000:, index])):
            k = np.arange(number + 1)
            score = np.where(k == 0, -100, np.log(np.maximum(k, 1) / number))
            law = stats.binom(number, p).pmf(k)
            mean = law @ score
            assert abs(rows.mean().item() - mean) < 4.5 * np.sqrt(law @ (score - mean) ** 2 / 1000)


def test_scores_are_kept_and_do_not_depend_on_interruptions(tmp_path: Path) -> None:
    prior = LinearBNN({"points": 8, "features": 1}, hidden=1)
    short = Chain(2, 5, 6, 2)
    few, many = (Settings(tasks=tasks, queries=3, batch_size=3, device="cpu") for tasks in (3, 6))
    first = score_cached(prior, 4, few, short, tmp_path, progress=False)
    whole = score_cached(prior, 4, many, short, tmp_path, progress=False)
    assert whole["log_prob"].shape == (6, 3)
    (path,) = tmp_path.iterdir()
    with h5py.File(path, "r+") as file:
        file.attrs["tasks"] = 4  # as if interrupted in mid-batch
    again = score_cached(prior, 4, many, short, tmp_path, progress=False)
    for name in set(whole) - {"seconds"}:
        assert np.array_equal(whole[name], again[name])
        assert np.array_equal(whole[name][:3], first[name])
    assert np.array_equal(whole["seconds"][:4], again["seconds"][:4])
    with pytest.raises(ValueError, match="tasks=5 must be a multiple of batch_size=3"):
        score_cached(prior, 4, Settings(tasks=5, batch_size=3), short, tmp_path, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": {"law": "uniform", "low": 1.0, "high": 2.0}}, "depth must be a number"),
        ({"noise": {"law": "spread", "low": 0.1, "high": 0.2}}, "noise must be a number"),
        ({"activations": ["tanh", "relu"]}, "activations must be one"),
        ({"sparsity": 0.5}, "sparsity must be 0"),
        ({"unit_noise": 0.1}, "unit_noise must be None"),
        ({"standardized": True}, "standardized must be False"),
        ({"columns": {"missing": {}}}, "columns must be None"),
        ({"target": {"kind": "classes"}}, "the target must be {kind: classes, number: 2"),
        ({"target": {**CLASSES, "flip": 0.1}}, "the target must be"),
        ({"target": {"kind": "number", "noise": 0.1}}, "the target must be"),
    ],
)
def test_priors_that_are_not_covered_are_refused(changes: dict[str, Any], message: str) -> None:
    prior = plain(**changes)
    with pytest.raises(ValueError, match=message):
        weight_posterior(prior, prior.sample(1, generator=seeded()))


def test_other_priors_are_refused() -> None:
    prior = GaussianProcess({"points": 5})
    with pytest.raises(ValueError, match="HMC is for the priors 'bnn' and 'linear_bnn'"):
        weight_posterior(prior, prior.sample(1, generator=seeded()))
