"""Muon against singular value decompositions, and its AdamW against torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from priorfit.models import PFN
from priorfit.training.muon import Muon, orthogonalize
from tests.cases import SMALL, assert_same, seeded


class Toy(nn.Module):
    """Two matrices in blocks, and everything else that a network has outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(3, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 6)])
        self.blocks[0].register_parameter("vector", nn.Parameter(torch.ones(4)))
        self.head = nn.Linear(6, 2)


@pytest.fixture
def toy() -> Toy:
    torch.manual_seed(0)
    return Toy()


def give_gradients(network: nn.Module, step: int) -> None:
    """Gradients that depend on the step and the parameter's name only."""
    for name, parameter in network.named_parameters():
        generator = seeded(1000 * step + sum(name.encode()))
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def run(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        give_gradients(network, step)
        optimizer.step()


def state(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.parametrize("shape", [(16, 16), (64, 16), (16, 64), (128, 512), (3, 5)])
def test_orthogonalize_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=seeded()) * torch.tensor([1e-4, 1.0, 1e4])[:, None, None]
    result = orthogonalize(matrices)
    assert result.shape == matrices.shape
    assert result.dtype == torch.bfloat16
    values = torch.linalg.svdvals(result.float())
    assert ((values > 0.6) & (values < 1.3)).all()


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_orthogonalize_keeps_the_singular_vectors(shape: tuple[int, int]) -> None:
    matrix = torch.randn(1, *shape, generator=seeded())
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    result, nearest = orthogonalize(matrix).float(), u @ v
    assert nn.functional.cosine_similarity(result.flatten(), nearest.flatten(), dim=0) > 0.97
    assert_same(orthogonalize(matrix.mT).mT.float(), result, rtol=0.02, atol=0.02)


def test_orthogonalize_of_zeros_is_zero() -> None:
    assert not orthogonalize(torch.zeros(2, 4, 3)).any()


def test_first_step_of_a_matrix_is_its_orthogonalized_gradient(toy: Toy) -> None:
    before = toy.blocks[0].weight.detach().clone()
    optimizer = Muon(toy.named_parameters(), matrix_lr=0.1)
    give_gradients(toy, 0)
    u, _, v = torch.linalg.svd(toy.blocks[0].weight.grad, full_matrices=False)
    optimizer.step()
    update = toy.blocks[0].weight.detach() - before
    assert nn.functional.cosine_similarity(update.flatten(), -(u @ v).flatten(), dim=0) > 0.97
    assert update.square().mean().sqrt().item() == pytest.approx(0.2 * 0.1, rel=0.25)


def test_momentum_is_nesterov_s(toy: Toy) -> None:
    momentum, weight = 0.8, toy.blocks[1].weight
    optimizer = Muon(toy.named_parameters(), matrix_lr=0.1, momentum=momentum)
    average = torch.zeros_like(weight)
    for step in range(4):
        give_gradients(toy, step)
        gradient, before = weight.grad, weight.detach().clone()
        average = momentum * average + (1 - momentum) * gradient
        expected = orthogonalize((momentum * average + (1 - momentum) * gradient)[None])[0].float()
        optimizer.step()
        assert_same(weight.detach() - before, -0.1 * 0.2 * 8**0.5 * expected, rtol=0, atol=2e-3)


def test_other_parameters_step_exactly_as_by_adamw(toy: Toy) -> None:
    twin = copy.deepcopy(toy)
    options = {"lr": 3e-3, "betas": (0.85, 0.97), "weight_decay": 0.1}
    run(toy, Muon(toy.named_parameters(), **options), range(5))
    run(twin, AdamW(twin.parameters(), **options), range(5))
    for (name, parameter), expected in zip(toy.named_parameters(), twin.parameters(), strict=True):
        same = torch.equal(parameter, expected)
        assert same != (name in ("blocks.0.weight", "blocks.1.weight")), name


def test_weight_decay_of_matrices_is_decoupled(toy: Toy) -> None:
    twin = copy.deepcopy(toy)
    run(toy, Muon(toy.named_parameters(), matrix_lr=0.1, weight_decay=0.5), range(1))
    run(twin, Muon(twin.named_parameters(), matrix_lr=0.1), range(1))
    torch.manual_seed(0)
    start = Toy().blocks[0].weight
    difference = twin.blocks[0].weight - toy.blocks[0].weight
    assert_same(difference, 0.1 * 0.5 * start, rtol=1e-4, atol=1e-6)


def test_a_quadratic_problem_converges() -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(12, 8), nn.Linear(12, 8)])})
    targets = [torch.randn(p.shape, generator=seeded(i)) for i, p in enumerate(network.parameters())]
    optimizer = Muon(network.named_parameters(), lr=0.05, matrix_lr=0.2)
    scheduler = LambdaLR(optimizer, lambda step: 1 - step / 200)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        pairs = zip(network.parameters(), targets, strict=True)
        loss = sum((parameter - target).square().mean() for parameter, target in pairs)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * losses[0]


def test_saved_state_continues_bit_for_bit(toy: Toy) -> None:
    optimizer = Muon(toy.named_parameters(), weight_decay=0.1)
    run(toy, optimizer, range(3))
    saved, twin = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(toy)
    resumed = Muon(twin.named_parameters(), weight_decay=0.1)
    resumed.load_state_dict(saved)
    run(toy, optimizer, range(3, 6))
    run(twin, resumed, range(3, 6))
    assert_same(state(toy), state(twin))


def test_saved_state_is_plain_tensors_and_numbers(toy: Toy, tmp_path: object) -> None:
    optimizer = Muon(toy.named_parameters())
    run(toy, optimizer, range(2))
    path = f"{tmp_path}/state.pt"
    torch.save(optimizer.state_dict(), path)
    Muon(toy.named_parameters()).load_state_dict(torch.load(path, weights_only=True))


def test_matrices_without_gradient_stay(toy: Toy) -> None:
    optimizer = Muon(toy.named_parameters(), weight_decay=0.5)
    give_gradients(toy, 0)
    toy.blocks[0].weight.grad = None
    before = toy.blocks[0].weight.detach().clone()
    optimizer.step()
    assert_same(toy.blocks[0].weight.detach(), before)


def test_closure_is_called_once_with_gradients_enabled(toy: Toy) -> None:
    optimizer, calls = Muon(toy.named_parameters()), []

    def closure() -> Tensor:
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        give_gradients(toy, 0)
        return torch.tensor(1.5)

    assert optimizer.step(closure) == 1.5
    assert calls == [True]


def test_matrices_of_a_network_are_found() -> None:
    network = PFN(**SMALL)
    optimizer = Muon(network.named_parameters(), lr=1.0, matrix_lr=2.0)
    others, matrices = (group["params"] for group in optimizer.param_groups)
    expected = [p for name, p in network.named_parameters() if name.startswith("blocks.") and p.ndim == 2]
    assert [id(p) for p in matrices] == [id(p) for p in expected]
    assert len(matrices) == 2 * 7
    assert len(matrices) + len(others) == len(list(network.parameters()))
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 2.0]


def test_blocks_must_exist(toy: Toy) -> None:
    with pytest.raises(ValueError, match="no matrix inside 'layers'"):
        Muon(toy.named_parameters(), blocks="layers")
