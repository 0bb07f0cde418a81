"""Bayesian neural networks against the covariances that wide and linear ones are known to have."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from priorfit.priors import BNN
from priorfit.priors.activations import ACTIVATIONS, activate
from priorfit.priors.scm_network import draw_blocks, draw_weights, standardize
from tests.cases import assert_mean, assert_same, seeded

PLAIN = {"depth": 2, "width": 8, "activations": "identity", "weight_scale": 1.5, "sparsity": 0.0, "unit_noise": 1e-12}


def network(**arguments: Any) -> BNN:
    return BNN(**{"sizes": {"points": 30, "features": 3}, **PLAIN, **arguments})


def outputs(prior: BNN, x: Tensor, tasks: int = 8000) -> Tensor:
    """Outputs of many networks at the same inputs x (N, F): (tasks, N)."""
    architecture = prior.draw_architecture(tasks, seeded(1))
    return prior.outputs(x.expand(tasks, -1, -1), architecture, seeded(2))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_covariance_of_linear_networks(depth: int, sparsity: float) -> None:
    """k_0 = x·x' / F, and k_l = s² (k_{l-1} + 1) for every hidden layer."""
    x = torch.randn(2, 3, generator=seeded())
    values = outputs(network(depth=depth, sparsity=sparsity), x)
    k = x @ x.T / 3
    for _ in range(depth):
        k = 1.5**2 * (k + 1)
    assert_mean(values[:, 0] * values[:, 1], k[0, 1].item())
    assert_mean(values.square()[:, 0], k[0, 0].item())


def test_covariance_of_one_layer_of_relu_is_the_arc_cosine_kernel() -> None:
    x = torch.randn(2, 3, generator=seeded())
    values = outputs(network(depth=1, activations="relu"), x)
    k = 1.5**2 * (x @ x.T / 3 + 1)
    norm = (k[0, 0] * k[1, 1]).sqrt()
    angle = (k[0, 1] / norm).acos()
    assert_mean(values[:, 0] * values[:, 1], (norm / (2 * math.pi) * (angle.sin() + (math.pi - angle) * angle.cos())))


def test_linear_networks_are_linear() -> None:
    raw = network(depth=4, width={"law": "uniform", "low": 2.0, "high": 9.0}).draw_table(20, 64, 3, seeded())
    x = torch.nn.functional.pad(raw.x, (0, 1), value=1.0).double()
    y = raw.y[..., None].double()
    assert_same(x @ torch.linalg.lstsq(x, y).solution, y, rtol=0, atol=1e-3)


def test_unit_noise_is_that_of_hidden_units() -> None:
    x = torch.zeros(1, 3).expand(50, 3)
    values = outputs(network(depth=1, unit_noise=0.5), x, 4000)
    assert_mean(values.var(1), 0.25)


def test_without_unit_noise_equal_inputs_have_equal_outputs() -> None:
    values = outputs(network(unit_noise=None), torch.ones(20, 3), 50)
    assert_same(values, values[:, :1].expand(-1, 20))
    assert values[:, 0].std() > 0.5


def test_outputs_keep_their_scale_where_that_is_asked_for() -> None:
    """A linear network's output has mean square s² (x·x / F + 1), 2 s² over all inputs."""
    raw, standard = (network(depth=1, standardized=s).draw_table(3000, 30, 3, seeded()) for s in (False, True))
    assert raw.x.shape == standard.x.shape == (3000, 30, 3)
    assert_mean(raw.y.square().mean(1), 2 * 1.5**2)
    assert_mean(standard.y.square().mean(1), 1.0, 0.01)


@pytest.mark.parametrize("blocks", [1, 3])
def test_weights_vanish_where_they_should(blocks: int) -> None:
    fan_in, fan_out = torch.tensor([7, 40]), torch.tensor([30, 9])
    dropped = torch.tensor([0.0, 0.25])
    weights = draw_weights(fan_in, fan_out, dropped, torch.full((2,), blocks), seeded())
    assert weights.shape == (2, 40, 30)
    assert (weights[0, 7:] == 0).all()
    assert (weights[1, :, 9:] == 0).all()
    for task in range(2):
        own = weights[task, : fan_in[task], : fan_out[task]]
        group_in, group_out = (torch.arange(n) * blocks // n for n in own.shape)
        inside = group_in[:, None] == group_out
        assert (own[~inside] == 0).all()
        assert_mean((own[inside] != 0).double(), 1 - dropped[task].item(), 0.001)
        expected = blocks / fan_in[task].item() * len(own[inside]) / inside.sum()
        assert_mean(own[inside].square(), expected.item())


def test_number_of_blocks_is_uniform_up_to_the_root_of_the_smaller_side() -> None:
    sides = torch.full((4000,), 10), torch.full((4000,), 30)
    blocks = draw_blocks(*sides, torch.ones(4000, dtype=torch.bool), seeded())
    for number in (1, 2, 3, 4):
        assert_mean((blocks == number).double(), 0.25)
    assert (draw_blocks(*sides, torch.zeros(4000, dtype=torch.bool), seeded()) == 1).all()


def test_every_task_has_its_own_activation() -> None:
    names = list(ACTIVATIONS)
    x = 3 * torch.randn(len(names), 5, 2, generator=seeded())
    found = activate(x, torch.arange(len(names)), names)
    for i, name in enumerate(names):
        assert_same(found[i], ACTIVATIONS[name](x[i]))
        assert ACTIVATIONS[name](torch.tensor([-1e30, 0.0, 1e30])).isfinite().all()


def test_standardize() -> None:
    x = torch.tensor([1.0, 50.0, 0.0]) * torch.randn(4, 100, 3, generator=seeded()) + 7
    found = standardize(x)
    assert_same(found.mean(1), torch.zeros(4, 3), rtol=0, atol=1e-5)
    assert_same(found.square().mean(1), torch.tensor([1.0, 1, 0]).expand(4, -1), rtol=0, atol=1e-4)


def test_layout_and_range_over_many_draws() -> None:
    prior = BNN({"points": 30, "features": 4})
    raw = prior.draw_table(1500, 70, 4, seeded())
    assert raw.x.shape == (1500, 70, 4)
    assert raw.y.shape == (1500, 70)
    assert raw.y.isfinite().all()
    assert raw.y.abs().max() < 12
    variance = raw.y.square().mean(1)
    assert_mean(variance[variance > 0], 1.0)
    assert (variance == 0).double().mean() < 0.06  # networks without a path from inputs to output
    assert not raw.categorical.any()
    assert raw.noise is not None
    assert_mean(raw.noise.log(), -2.5)


def test_the_mean_of_the_rows_does_not_tell_the_last_one() -> None:
    y = BNN({"points": 30, "features": 4}).draw_table(400, 64, 4, seeded()).y
    assert y.mean(1).abs().median() > 0.02


def test_tasks_are_independent_and_have_hyperparameters_of_their_own() -> None:
    prior = BNN({"points": 30, "features": 4})
    architecture = prior.draw_architecture(64, seeded())
    assert set(architecture.depth.tolist()) == {1, 2, 3, 4}
    assert len(architecture.width.unique()) > 15
    assert len(architecture.activation.unique()) == len(prior.activations)
    y = prior.draw_table(400, 64, 4, seeded()).y
    assert_mean((y[:-1, :8] * y[1:, :8]).mean(1), 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activations": ["tanhh"]}, "did you mean 'tanh'"),
        ({"activations": []}, "Unknown activation"),
        ({"depth": {"law": "spred", "low": 1, "high": 2}}, "did you mean 'spread'"),
        ({"depth": 1.5}, "depth must be a whole number"),
        ({"width": {"law": "spread", "low": 2}}, "takes low and high"),
        ({"width": {"law": "spread", "low": 3, "high": 2}}, "low <= high"),
        ({"width": {"law": "uniform", "low": 1, "high": 2, "minimum": 9, "maximum": 5}}, "above maximum"),
        ({"sparsity": 1.0}, "below 1"),
        ({"sparsity": -0.1}, "share"),
        ({"noise": -1}, "noise"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)
