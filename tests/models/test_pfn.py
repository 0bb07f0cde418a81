"""The prior-data fitted network: what it predicts before training, and what becomes of it elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal
from torch.nn.functional import scaled_dot_product_attention

from priorfit.distributions import BarDistribution
from priorfit.models import PFN
from priorfit.models.attention import ContextAttention, attend
from priorfit.priors import GaussianProcess
from tests.cases import SMALL, assert_same, perturbed, regression, seeded


@pytest.fixture
def fitted() -> PFN:
    """Borders and scales from 200 tasks of 20 targets with standard deviation 3."""
    torch.manual_seed(0)
    prior = GaussianProcess({"points": 20, "features": [1, 3], "context": 10}, output_scale=8.0, noise=1.0)
    tasks = [prior.sample(20, generator=seeded(seed)) for seed in range(10)]
    network = PFN(**SMALL)
    network.fit_to_prior([task.observed for task in tasks], [task.hidden for task in tasks])
    return network


def test_untrained_network_predicts_equal_masses(fitted: PFN) -> None:
    for n in (0, 7):
        prediction = fitted(*regression(n, 3)(seeded()))
        assert isinstance(prediction, BarDistribution)
        assert_same(prediction.probs, torch.full((3, 3, 20), 1 / 20), rtol=1e-6, atol=0)


def test_untrained_network_predicts_the_marginal_of_the_prior(fitted: PFN) -> None:
    prediction, marginal = fitted(*regression(5, 1)(seeded())), Normal(0.0, 3.0)
    levels = torch.linspace(0.05, 0.95, 19)[:, None, None]
    assert_same(prediction.icdf(levels), marginal.icdf(levels).expand(19, 3, 1), rtol=0, atol=0.35)
    assert_same(prediction.mean, torch.zeros(3, 1), rtol=0, atol=0.2)
    assert_same(prediction.stddev, torch.full((3, 1), 3.0), rtol=0.1, atol=0)


def test_fitting_to_the_prior_sets_scales(fitted: PFN) -> None:
    assert fitted.x_loc.item() == pytest.approx(0.5, abs=0.02)
    assert fitted.x_scale.item() == pytest.approx(12**-0.5, abs=0.02)
    assert fitted.y_scale.item() == pytest.approx(3, rel=0.1)
    assert {"x_loc", "x_scale", "y_loc", "y_scale", "borders"} <= set(fitted.state_dict())


def test_inputs_and_targets_are_standardised_by_the_scales(fitted: PFN) -> None:
    x, y, x_query = regression(6, 4)(seeded())
    network = perturbed(fitted)
    with torch.no_grad():
        expected = network.compute(x, y, x_query)
        network.x_loc, network.x_scale = 10 + 4 * network.x_loc, 4 * network.x_scale
        network.y_loc, network.y_scale = -7 + 2 * network.y_loc, 2 * network.y_scale
        assert_same(network.compute(10 + 4 * x, -7 + 2 * y, 10 + 4 * x_query), expected, rtol=0, atol=1e-3)


def test_padding_features_with_zeros_is_not_the_same_as_having_fewer(fitted: PFN) -> None:
    x, y, x_query = regression(6, 4, n_features=2)(seeded())
    padded = (torch.nn.functional.pad(part, (0, 1)) for part in (x, x_query))
    network = perturbed(fitted)
    few, more = network.compute(x, y, x_query), network.compute(next(padded), y, next(padded))
    assert (few - more).abs().max() > 1e-3


@pytest.mark.parametrize("gradients", [False, True])
def test_attention_is_that_of_torch(gradients: bool) -> None:
    parts = [torch.randn(2, 3, rows, 5, generator=seeded(rows)) for rows in (7, 4, 4)]
    parts = [part.requires_grad_(gradients) for part in parts]
    assert_same(attend(*parts), scaled_dot_product_attention(*parts), rtol=1e-5, atol=1e-6)


def test_blocks_start_as_the_identity() -> None:
    network = PFN(**SMALL)
    tokens, coordinates = torch.randn(2, 6, 16, generator=seeded()), torch.randn(2, 6, 6, generator=seeded())
    for block in network.blocks:
        assert_same(block(tokens, coordinates, 4)[0], tokens)


def test_attention_can_weigh_by_squared_distance() -> None:
    """With 1, x and x² seen directly, a head's logits are -(x - x')² / 2, whatever the tokens carry."""
    attention = ContextAttention(width=3, n_heads=1, n_coordinates=3)
    x = torch.randn(1, 5, 1, generator=seeded())
    coordinates = torch.cat([torch.ones_like(x), x, x.square()], -1)
    size = 3**0.5  # undoes attention's own scale
    with torch.no_grad():
        attention.query.weight.zero_()
        attention.key_value.weight.copy_(torch.cat([torch.zeros(3, 3), torch.eye(3)]))
        attention.output.weight.copy_(torch.eye(3))
        attention.query_coordinates.weight.copy_(torch.eye(3) * size)
        attention.key_coordinates.weight.copy_(torch.tensor([[0.0, 0.0, -0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    tokens = torch.randn(1, 5, 3, generator=seeded(1))
    cache = attention.keys_values(tokens[:, :4], coordinates[:, :4])
    weights = (-(x - x[:, :4].mT).square() / 2).softmax(-1)
    assert_same(attention(tokens, coordinates, cache), weights @ tokens[:, :4], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 15},
        {"width": 0},
        {"n_layers": 0},
        {"n_heads": 0},
        {"max_features": 0},
        {"n_registers": 0},
        {"n_buckets": 1},
        {"hidden": -4},
    ],
)
def test_impossible_sizes_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=r"[Ss]izes|buckets|positive"):
        PFN(**{**SMALL, **changes})


class Computation(torch.nn.Module):
    """The tensor-to-tensor part of a network, as a module that `torch.export` takes."""

    def __init__(self, network: PFN) -> None:
        super().__init__()
        self.network = network

    def forward(self, *observed: torch.Tensor) -> torch.Tensor:
        return self.network.compute(*observed)


def test_computation_exports_with_any_number_of_tasks_and_rows(fitted: PFN) -> None:
    network, auto = perturbed(fitted).eval(), torch.export.Dim.DYNAMIC
    shapes = ({0: auto, 1: auto},) * 3
    with torch.no_grad():
        program = torch.export.export(Computation(network), regression()(seeded()), dynamic_shapes=(shapes,))
        for batch, n, m in ((1, 0, 1), (3, 1, 1), (7, 50, 20)):
            observed = regression(n, m, batch=batch)(seeded(1))
            assert_same(program.module()(*observed), network.compute(*observed), rtol=1e-4, atol=1e-4)


def test_learns_a_posterior() -> None:
    """Sixty steps on lines through the origin: the prediction moves from the prior towards the context."""
    torch.manual_seed(0)
    prior = GaussianProcess({"points": 12, "context": 6}, lengthscale=5.0, noise=0.01)
    tasks = [prior.sample(32, generator=seeded(seed)) for seed in range(60)]
    network = PFN(n_buckets=30, width=32, n_layers=2, n_heads=2)
    network.fit_to_prior([task.observed for task in tasks], [task.hidden for task in tasks])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for task in tasks:
        loss = -network(*task.observed).expected_log_prob(task.law).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    prior_loss = 0.5 * math.log(2 * math.pi * math.e * 1.01)
    assert losses[0] == pytest.approx(prior_loss, abs=0.25)
    assert sum(losses[-5:]) / 5 < prior_loss - 0.5
