"""The smallest prior and network with a name, for tests of what surrounds them."""

from __future__ import annotations

from typing import Self

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Normal

from priorfit.models import Network, networks
from priorfit.priors import Prior, Task, priors


@priors.register("toy")
class ToyPrior(Prior):
    """One number, and a noisy sight of it."""

    def __init__(self, scale: float = 1.0, kinds: tuple[str, ...] = ("a",)) -> None:
        self.scale = scale

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        hidden = self.scale * torch.randn(batch_size, generator=generator)
        return Task((hidden + torch.randn(batch_size, generator=generator),), hidden)

    def with_context(self, n_context: int, n_query: int) -> Self:
        return self


@networks.register("toy")
class ToyNetwork(Network):
    """Has everything that a state can have: tied weights, a frozen one, buffers saved and not saved."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(1, width)
        self.second = nn.Linear(1, width)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)
        self.register_buffer("borders", torch.linspace(0, 1, width, dtype=torch.float64))
        self.register_buffer("mask", torch.full((width,), -torch.inf))
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("steps", torch.arange(width), persistent=False)

    def compute(self, *observed: Tensor) -> Tensor:
        (seen,) = observed
        return (self.first(seen.unsqueeze(-1)) * self.second(seen.unsqueeze(-1)) + self.steps).mean(-1)

    def distribution(self, output: Tensor) -> Normal:
        return Normal(output, self.frozen)
