"""NUTS and variational inference against exact posteriors, and numpyro's own diagnostics.

Letters: B tasks, C chains, S draws of each.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from priorfit.evaluation import nuts_linear
from priorfit.evaluation.known_posteriors import weight_posterior
from priorfit.evaluation.nuts import Chain, checks, run
from priorfit.evaluation.nuts_gp import HyperparameterModel, predictive, sample_posterior
from priorfit.evaluation.reference_methods import reference_method
from priorfit.evaluation.svi import fit_and_draw
from priorfit.priors import GaussianProcess, LinearBNN, StudentTProcess, Task
from priorfit.priors.gaussian_process import Hyperparameters, condition
from tests.cases import seeded

pytestmark = pytest.mark.jax

GAMMA = {"law": "gamma", "concentration": 3.0, "rate": 6.0}
LAWS: dict[str, Any] = {
    "kernel": ["matern52", "matern12"],
    "lengthscale": GAMMA,
    "output_scale": {"law": "inverse_gamma", "concentration": 3.0, "rate": 2.0},
    "noise": {"law": "log_normal", "loc": -4.0, "scale": 0.5},
}


def process(features: int = 1, context: int = 6, **changes: Any) -> GaussianProcess:
    sizes = {"points": context + 4, "features": features, "context": context}
    return GaussianProcess(sizes, **{**LAWS, "importance_draws": 5000, **changes})


def numbers(task: Task) -> list[np.ndarray]:
    return [part.double().numpy() for part in (task.observed.x_context, task.observed.y_context)]


@dataclass(frozen=True)
class NormalMean:
    """y ~ N(mean, 0.5²) with mean ~ N(0, 1): the posterior is normal."""

    def __call__(self, y: Any) -> None:
        import numpyro
        from numpyro.distributions import Normal

        mean = numpyro.sample("mean", Normal())
        numpyro.sample("y", Normal(mean, 0.5).expand(y.shape).to_event(1), obs=y)


def test_variational_inference_finds_normal_posteriors() -> None:
    y = np.array([[0.7, 1.3, 0.4], [-0.9, -0.2, -1.0]])
    draws = fit_and_draw(NormalMean(), [y], steps=6000, draws=4000, seed=1)["mean"]
    variance = 1 / (1 + 3 / 0.5**2)
    assert draws.shape == (2, 4000)
    np.testing.assert_allclose(draws.mean(1), variance * y.sum(1) / 0.5**2, atol=0.05)
    np.testing.assert_allclose(draws.std(1), np.sqrt(variance), atol=0.04)


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("kernel", ["rbf", "matern12", "matern32", "matern52"])
def test_compiled_evidence_is_that_of_the_prior(features: int, kernel: str) -> None:
    """Also its gradient, which is not a number where a point seems to be at a distance from itself."""
    import jax

    prior = process(features, 20, kernel=kernel)
    task = prior.sample(1, generator=seeded())
    x, y = (part[0] for part in numbers(task))
    hyper = prior.draw_hyperparameters((1,), features, seeded(1))
    exact = prior.log_evidence(
        condition(prior.covariance(torch.from_numpy(x)[None], hyper), torch.from_numpy(y)[None]), 20
    )
    with jax.enable_x64(True):
        value = jax.jit(jax.value_and_grad(lambda *given: HyperparameterModel.of(prior).log_evidence(x, y, *given)[0]))
        found, gradient = value(*(part[0].numpy() for part in hyper[:3]))
    assert float(found) == pytest.approx(exact.item(), abs=1e-6)
    assert np.isfinite(gradient).all()


def test_hyperparameters_have_the_posterior_of_importance_sampling() -> None:
    prior = process(noise_floor=0.01, scale_with_dimension=True)
    task = prior.sample(4, generator=seeded())
    found = sample_posterior(prior, task, Chain(2, 150, 300), 1)
    reference: Any = prior.posterior(task)
    law = predictive(prior, task, found.hyper)
    assert law.batch_shape == (4, 4)
    error = (law.mean - reference.mean) / reference.variance.sqrt()
    assert error.abs().max() < 0.25
    assert error.square().mean().sqrt() < 0.08
    assert (law.log_prob(task.hidden) - reference.log_prob(task.hidden)).abs().mean() < 0.06
    assert (found.hyper.noise >= 0.01).all()
    assert (found.checks["rhat"] < 1.06).all()
    assert (found.checks["effective_sample_size"] > 40).all()
    assert (found.checks["divergent"] < 0.05).all()
    again = sample_posterior(prior, task, Chain(2, 150, 300), 1)
    assert torch.equal(again.hyper.lengthscale, found.hyper.lengthscale)


def test_with_nothing_observed_the_predictive_is_the_mean_over_draws() -> None:
    prior = process(context=0)
    task = prior.sample(2, generator=seeded())
    hyper = prior.draw_hyperparameters((2, 50), 1, seeded(1))
    variance = (hyper.output_scale + hyper.noise)[:, None]  # (B, 1, S)
    normal = torch.distributions.Normal(0.0, variance.sqrt()).log_prob(task.hidden[..., None].double())
    expected = logsumexp(normal.numpy(), -1) - np.log(50)
    np.testing.assert_allclose(predictive(prior, task, Hyperparameters(*hyper)).log_prob(task.hidden), expected)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (StudentTProcess({"points": 5}), "not of 'student_t_process'"),
        (GaussianProcess({"points": 5}), "nothing to draw"),
    ],
)
def test_priors_that_are_not_covered_are_refused(prior: GaussianProcess, message: str) -> None:
    task = prior.with_context(2, 2).sample(1, generator=seeded())
    with pytest.raises(ValueError, match=message):
        sample_posterior(prior, task, Chain(), 0)
    with pytest.raises(ValueError, match="of the prior 'linear_bnn'"):
        nuts_linear.score_nuts(prior, task, Chain(), 0)


def test_weights_of_linear_networks_have_the_posterior_of_their_prior() -> None:
    prior = LinearBNN({"points": 30, "features": 2, "context": 15}, hidden=3)
    task = prior.sample(8, generator=seeded())
    found = nuts_linear.score_nuts(prior, task, Chain(2, 150, 250), 1)
    exact = prior.posterior(task).log_prob(task.hidden).numpy()
    assert abs((exact - found["log_prob"]).mean()) < 0.01
    assert np.sqrt(np.square(np.exp(exact) - np.exp(found["log_prob"])).mean()) < 0.03
    assert found["label_log_prob"].shape == found["log_prob"].shape == (8, 15)
    assert np.isclose(np.exp(found["label_log_prob"]) * 500 % 1, 0, atol=1e-6).mean() > 0.9  # frequencies of 500 labels
    assert found["rhat"].max() < 1.1
    assert (found["effective_sample_size"] > 30).all()


def test_chances_are_those_of_the_two_layers() -> None:
    prior = LinearBNN({"points": 9, "features": 2, "context": 5}, hidden=3)
    task = prior.sample(2, generator=seeded())
    random = np.random.default_rng(0)
    shapes = {"weight_1": (2, 3), "bias_1": (3,), "weight_2": (3, 2), "bias_2": (2,)}
    sites = {name: random.normal(size=(2, 1, 6, *shape)) for name, shape in shapes.items()}
    first = np.concatenate([sites["weight_1"].reshape(2, 1, 6, 6), sites["bias_1"]], -1)
    second, offset = ((sites[name][..., 1] - sites[name][..., 0]) / np.sqrt(2) for name in ("weight_2", "bias_2"))
    theta = torch.from_numpy(np.concatenate([first, second, offset[..., None]], -1))[:, 0].transpose(0, 1)
    expected = weight_posterior(prior, task).predict(theta)  # (S, B, m)
    found = nuts_linear.chances(sites, task.observed.x_query.double().numpy())
    np.testing.assert_allclose(found[:, 0].swapaxes(0, 1), expected, rtol=1e-6)


def test_checks_are_those_of_numpyro() -> None:
    from numpyro import diagnostics  # not at the top: collecting tests must not start jax

    random = np.random.default_rng(0)
    noise = random.normal(size=(1, 3, 400, 2))
    chains = np.zeros_like(noise)
    for step in range(1, 400):
        chains[:, :, step] = 0.6 * chains[:, :, step - 1] + noise[:, :, step]
    found = checks(chains, np.zeros(1))
    halves = np.concatenate(
        [chains[0, :, :200], chains[0, :, 200:]]
    )  # ours compares halves, numpyro's size whole chains
    assert found["rhat"][0] == pytest.approx(diagnostics.split_gelman_rubin(chains[0]).max(), rel=1e-6)
    assert found["effective_sample_size"][0] == pytest.approx(diagnostics.effective_sample_size(halves).min(), rel=0.05)


@pytest.mark.parametrize("changes", [{"chains": 0}, {"warmup": 0}, {"draws": 3}, {"acceptance": 1.0}])
def test_impossible_chains_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Needs chains|between 0 and 1"):
        Chain(**changes)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        fit_and_draw(NormalMean(), [np.zeros((1, 1))], 0, 1, 0)


def test_without_numpyro_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name in ("jax", "numpyro"):
            raise ImportError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"priorfit\[mcmc\]"):
        run(NormalMean(), [np.zeros((1, 1))], Chain(), 0)


@pytest.mark.parametrize("prior", [GaussianProcess({"points": 5}), LinearBNN({"points": 5})])
def test_references_of_stored_tasks_know_it(prior: Any) -> None:
    assert reference_method("nuts", prior).settings["draws"] == Chain.draws
