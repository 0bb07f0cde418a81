"""Components over (y*, log l) conditioned on rows of a Gaussian process, against regression and quadrature.

Letters: B tasks, k components.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from priorfit.distributions import GaussianMixture, TransformedMixture
from priorfit.models import MixtureTransformer
from priorfit.models.kernel_sensor import KernelSensor
from priorfit.models.mixture_tensors import MixtureTensors
from priorfit.priors import GPHyperparameters
from tests.cases import assert_same, seeded

GP = [{"name": "row", "size": 2}, {"name": "query", "size": 1}]
ARGUMENTS: dict[str, Any] = {
    "n_latent": 2,
    "sources": GP,
    "prior_kind": "parameters",
    "bijections": ["identity", "log"],
    "kernel_noise": 0.001,
    "width": 16,
}


def components(log_lengthscales: Tensor, std: Tensor) -> MixtureTensors:
    """Equally heavy components with y* ~ N(0, 1) at these log lengthscales (B, k), and their deviations."""
    means = torch.stack([torch.zeros_like(log_lengthscales), log_lengthscales], -1)
    scale_trils = torch.stack([torch.ones_like(std), std], -1).diag_embed()
    return MixtureTensors(torch.zeros_like(std).log_softmax(-1), means, scale_trils)


@pytest.mark.parametrize("features", [1, 3])
def test_a_narrow_component_becomes_gaussian_process_regression(features: int) -> None:
    prior = GPHyperparameters(features, side=3.0, noise=0.01, empty=0.0)
    rows = prior.sample(20, generator=seeded()).observed.rows
    log_lengthscales = torch.tensor([0.0, 0.8]).expand(20, 2)
    updated = KernelSensor(features, 0.01)(components(log_lengthscales, torch.full((20, 2), 1e-4)), rows)
    expected = prior.condition(rows, log_lengthscales.exp())
    assert_same(updated.means[..., 0], expected.mean.float(), rtol=1e-3, atol=1e-3)
    assert_same(updated.scale_trils[..., 0, 0], expected.std.float(), rtol=1e-3, atol=1e-4)
    assert_same(updated.means[..., 1], log_lengthscales, rtol=0, atol=1e-3)
    difference = (expected.log_evidence[:, 0] - expected.log_evidence[:, 1]).float()
    near = difference.abs() < 6  # weights have a floor
    assert near.sum() > 10
    assert_same((updated.log_weights[:, 0] - updated.log_weights[:, 1])[near], difference[near], rtol=1e-2, atol=1e-2)


def test_components_with_the_quantiles_of_the_prior_come_close_to_the_posterior() -> None:
    """Without anything learned, twenty components are within 0.05 nats of the quadrature."""
    prior, n = GPHyperparameters(empty=0.0), 20
    task = prior.sample(400, generator=seeded(1))
    shape, rate = task.observed.prior[:, 0].double().exp().unbind(-1)
    draws = rate / torch._standard_gamma(shape.expand(4000, -1), generator=seeded(2))  # type: ignore[attr-defined]
    quantiles = draws.log().quantile((torch.arange(n).double() + 0.5) / n, dim=0).mT.float()  # (B, k)
    std = 0.7 * torch.gradient(quantiles, dim=1)[0]
    updated = KernelSensor(1, prior.noise)(components(quantiles, std), task.observed.rows)
    law = TransformedMixture(GaussianMixture(*updated), ["identity", "log"])
    gap = prior.posterior(task).log_prob(task.hidden) - law.log_prob(task.hidden)
    assert gap.mean() < 0.05


def test_order_of_rows_does_not_matter() -> None:
    prior = GPHyperparameters(empty=0.0)
    rows = prior.sample(10, generator=seeded()).observed.rows
    before = components(torch.zeros(10, 3) + torch.arange(3), torch.full((10, 3), 0.3))
    sensor = KernelSensor(1, prior.noise)
    assert_same(sensor(before, rows.flip(1)), sensor(before, rows), rtol=1e-4, atol=1e-4)


def test_no_rows_change_nothing_and_no_query_leaves_the_value_as_it_was() -> None:
    prior = GPHyperparameters(empty=0.0)
    rows = prior.sample(10, generator=seeded()).observed.rows
    before = components(torch.zeros(10, 3) + torch.arange(3), torch.full((10, 3), 0.3))
    sensor = KernelSensor(1, prior.noise)
    assert sensor(before, rows[:, :0]) is before
    after = sensor(before, rows[:, :-1])  # the last one asks
    assert_same(after.means[..., 0], before.means[..., 0])
    assert_same(after.scale_trils[..., 0, 0], before.scale_trils[..., 0, 0])


def test_only_one_query_can_be_answered() -> None:
    task = GPHyperparameters().sample(4, generator=seeded())
    prior, rows = task.observed
    with pytest.raises(ValueError, match="at one point, not at 2"):
        MixtureTransformer(**ARGUMENTS)(prior, torch.cat([rows, rows[:, -1:]], 1))


def test_a_network_with_it_predicts_and_its_gradients_are_finite() -> None:
    prior, network = GPHyperparameters(empty=0.0), MixtureTransformer(**ARGUMENTS)
    task = prior.sample(50, generator=seeded())
    (-network(*task.observed).expected_log_prob(task.law).mean()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert network.linear is None


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel_noise": 0.0},
        {"bijections": ["identity", "identity"]},
        {"n_latent": 1, "bijections": ["log"]},
        {"sources": GP[:1]},
        {"sources": GP[::-1]},
    ],
)
def test_other_problems_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kernel_noise, a positive variance"):
        MixtureTransformer(**{**ARGUMENTS, **changes})
