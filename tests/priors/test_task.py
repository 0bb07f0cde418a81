"""Tasks move with everything in them."""

from __future__ import annotations

import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from priorfit.priors import Task
from tests.cases import leaves


def test_plain_tuples_and_nested_laws_move() -> None:
    mixture = MixtureSameFamily(Categorical(torch.ones(3, 2)), Normal(torch.zeros(3, 2), torch.ones(3, 2)))
    task = Task((torch.zeros(3, 4), (torch.ones(3),)), torch.zeros(3), mixture)
    moved = task.to("meta")
    assert {tensor.device.type for tensor in leaves(moved)} == {"meta"}
    assert [tensor.shape for tensor in leaves(moved.observed)] == [(3, 4), (3,)]
    assert moved.law.batch_shape == (3,)
    assert moved.law.component_distribution.loc.device.type == "meta"
    assert mixture.component_distribution.loc.device.type == "cpu"


def test_tasks_compare_by_identity() -> None:
    task = Task((torch.zeros(3),), torch.zeros(3))
    assert task == task
    assert task != Task((torch.zeros(3),), torch.zeros(3))
    assert len({task, task}) == 1
