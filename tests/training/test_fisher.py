"""The Fisher-trace penalty against closed forms, its second derivatives, and trainings with and without it.

Letters: B tasks, n measured values, d hidden numbers.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, Normal

from priorfit.distributions import GaussianMixture, TransformedMixture
from priorfit.models import networks
from priorfit.models.pfn import PFN
from priorfit.priors import GaussianProcess, GPHyperparameters, MarkovJump, TwoLevelSystem
from priorfit.training import main
from priorfit.training.fisher import FisherPenalty, fisher_trace
from priorfit.training.measured_units import MeasuredUnits
from priorfit.training.module import Amortized
from tests.cases import perturbed
from tests.training.commands import TINY, train

MATRIX = torch.tensor([[1.0, -0.5, 2.0], [0.3, 0.7, -1.0]], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.2], [0.2, 0.4]], dtype=torch.float64)
UNITS = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)  # the last one was not measured
SIZES = {"points": 12, "context": 5}


def observed(batch: int = 40_000, n: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, n, generator=generator, dtype=torch.float64).requires_grad_()


def laws(x: Tensor) -> dict[str, Distribution]:
    """N(A x, S) as three distributions; the last in other units of the hidden numbers, which changes no trace."""
    mean, tril = x @ MATRIX.T, torch.linalg.cholesky(COVARIANCE).expand(len(x), 1, 2, 2)
    mixture = GaussianMixture(x.new_zeros(len(x), 1), mean[:, None], tril)
    return {
        "normal": MultivariateNormal(mean, COVARIANCE),
        "mixture": mixture,
        "transformed": TransformedMixture(mixture, ["log", "logit"]),
    }


@pytest.mark.parametrize("name", ["normal", "mixture", "transformed"])
def test_the_trace_of_a_linear_gaussian_law_is_that_of_its_matrices(name: str) -> None:
    """q = N(A x, S) has F = Aᵀ S⁻¹ A, whatever x is."""
    x = observed()
    found = fisher_trace(laws(x)[name], x, UNITS.expand_as(x), seed=0)
    information = MATRIX.T @ torch.linalg.inv(COVARIANCE) @ MATRIX
    expected = (information * UNITS[:, None] * UNITS).trace()
    assert found.item() == pytest.approx(expected.item(), rel=0.03)  # five standard errors


def test_values_with_laws_of_their_own_count_one_by_one() -> None:
    """Two values, N(a x, s²) and N(b x, t²): the mean of |a|² / s² and |b|² / t²."""
    x, scales = observed(), torch.tensor([0.5, 2.0], dtype=torch.float64)
    found = fisher_trace(Normal(x @ MATRIX.T, scales), x, torch.ones_like(x), seed=0)
    expected = (MATRIX.square().sum(1) / scales.square()).mean()
    assert found.item() == pytest.approx(expected.item(), rel=0.03)


def test_the_gradient_is_that_of_the_trace() -> None:
    """q = N(a x, s²) has the trace a² / s²; draws that are taken for constants would give -4 a² / s³ for s."""
    x = observed(n=1)
    slope, scale = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (1.5, 0.7))
    fisher_trace(Normal(slope * x, scale), x, torch.ones_like(x), seed=0).backward()
    assert slope.grad is not None
    assert scale.grad is not None
    assert slope.grad.item() == pytest.approx(2 * 1.5 / 0.7**2, rel=0.06)
    assert scale.grad.item() == pytest.approx(-2 * 1.5**2 / 0.7**3, rel=0.06)


def test_a_law_that_does_not_see_the_values_has_no_trace() -> None:
    x = observed(batch=5)
    assert fisher_trace(Normal(torch.zeros(5, 2, requires_grad=True), 1.0), x, torch.ones_like(x), seed=0) == 0


def test_the_draws_depend_on_the_seed_alone() -> None:
    x = observed(batch=5)
    state = torch.get_rng_state()
    first, same, other = (fisher_trace(laws(x)["mixture"], x, torch.ones_like(x), seed).item() for seed in (3, 3, 4))
    assert first == same != other
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_penalty_of_a_network_has_gradients(precision: torch.dtype) -> None:
    """Through attention and the bar distribution, twice, also in the mixed precision of training."""
    prior = GaussianProcess(SIZES)
    penalty, network = FisherPenalty(0.1, prior, seed=0), perturbed(PFN(n_buckets=16, width=16, n_layers=2))
    task = penalty.watched(prior.sample(6, generator=torch.Generator().manual_seed(2)))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        trace = penalty.trace(network(*task.observed), task.observed, rank=0, index=0)
    trace.backward()
    assert trace.item() > 0
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    query = gradients["blocks.0.attention.query.weight"]
    assert query is not None
    assert query.abs().max() > 0


def test_a_network_that_conditions_a_kernel_is_differentiated_through_it() -> None:
    """The score by the observed y is the finite difference of the log density."""
    sources = [{"name": "row", "size": 2}, {"name": "query", "size": 1}]
    arguments = {"n_latent": 2, "sources": sources, "prior_kind": "parameters", "bijections": ["identity", "log"]}
    network = networks.build("mixture_transformer", {**arguments, "kernel_noise": 0.1, "width": 16, "n_layers": 1})
    task = GPHyperparameters(rows=3, empty=0.0).sample(2, generator=torch.Generator().manual_seed(0))
    rows = task.observed.rows.clone().requires_grad_()

    def log_prob(moved: Tensor) -> Tensor:
        return network(task.observed.prior, moved).log_prob(task.hidden).sum()

    (score,) = torch.autograd.grad(log_prob(rows), rows)
    with torch.no_grad():
        for row in range(3):
            step = torch.zeros_like(rows)
            step[0, row, 1] = 0.02
            difference = (log_prob(rows + step) - log_prob(rows - step)) / 0.04
            assert score[0, row, 1].item() == pytest.approx(difference.item(), rel=0.02, abs=0.02)


def test_networks_that_do_not_give_their_gradients_are_refused() -> None:
    penalty = FisherPenalty(1.0, GaussianProcess(SIZES), seed=0)
    with pytest.raises(ValueError, match="give no full gradients"):
        Amortized(networks.build("table_pfn", {"width": 16}), torch.optim.AdamW, fisher=penalty)


def test_a_gradient_step_lowers_the_trace() -> None:
    prior = GaussianProcess(SIZES)
    penalty, network = FisherPenalty(1.0, prior, seed=0), perturbed(PFN(n_buckets=16, width=16, n_layers=1)).double()
    task = prior.sample(100, generator=torch.Generator().manual_seed(2))
    values = task.observed.y_context.double().requires_grad_()
    seen = (task.observed.x_context.double(), values, task.observed.x_query.double())

    def trace() -> Tensor:
        return fisher_trace(network(*seen), values, penalty.units(task.observed), seed=1)

    before = trace()
    gradients = torch.autograd.grad(before, list(network.parameters()), materialize_grads=True)
    length = sum(part.square().sum() for part in gradients)
    with torch.no_grad():
        for parameter, part in zip(network.parameters(), gradients, strict=True):
            parameter -= 0.05 * before * part / length
    after = torch.stack([fisher_trace(network(*seen), values, penalty.units(task.observed), s) for s in range(1, 5)])
    assert after.mean() < before


def test_units_are_the_standard_deviations_of_what_was_measured() -> None:
    prior = GaussianProcess(SIZES, output_scale=4.0, noise=1.0)
    units = MeasuredUnits(prior)
    assert units.scale.item() == pytest.approx(5**0.5, rel=0.1)  # 1000 functions of five values
    assert units(prior.sample(3, generator=torch.Generator()).observed).shape == (3, 5)


def test_inputs_among_the_rows_are_not_measured() -> None:
    prior = GPHyperparameters(rows=3, empty=0.0)
    task = prior.sample(4, generator=torch.Generator().manual_seed(0))
    units = MeasuredUnits(prior)(task.observed)  # x, y, x* and two indicators
    assert units[:, :3].gt(0).any((0, 1)).tolist() == [False, True, False, False, False]
    assert not units[:, 3].any()  # the query


@pytest.mark.parametrize("prior", [TwoLevelSystem(), MarkovJump()])
def test_nothing_is_penalised_where_nothing_was_measured(prior: Any) -> None:
    with pytest.raises(ValueError, match="no real numbers that were measured"):
        FisherPenalty(1.0, prior, seed=0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [(["fisher=-1"], "must be positive"), (["fisher=1", "compile=true"], "differentiated twice")],
)
def test_impossible_options_say_what_to_do(tmp_path: Path, overrides: list[str], message: str) -> None:
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        config = compose("train", [*TINY, *overrides, f"output={tmp_path}", "name=test"])
    with pytest.raises(ValueError, match=message):
        main.train(config)


def test_a_resumed_training_with_the_penalty_ends_with_bit_identical_weights(tmp_path: Path) -> None:
    """Also: the trace is logged."""
    whole, parts, options = tmp_path / "whole", tmp_path / "parts", ("fisher=0.05", "checkpoint_every=1")
    run = train(whole, *options, "trainer.max_steps=6")
    assert run.returncode == 0, run.stderr
    assert train(parts, *options, "trainer.max_steps=6", "+trainer.max_time={seconds: 0}").returncode == 0
    assert not (parts / "checkpoint.safetensors").exists()
    assert train(parts, *options, "trainer.max_steps=6", "resume=true").returncode == 0
    expected, actual = (load_file(folder / "checkpoint.safetensors") for folder in (whole, parts))
    assert all(torch.equal(tensor, actual[name]) for name, tensor in expected.items())
    with next(whole.rglob("metrics.csv")).open() as file:
        assert any(float(row["fisher"] or 0) > 0 for row in csv.DictReader(file))
