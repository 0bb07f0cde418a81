"""The contract that every network keeps, and the registry that knows their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorfit.registry import Registered, Registry


class Network(Registered, nn.Module, ABC):
    """A module that maps the observed part of tasks to a distribution over the hidden part.

    `network(*observed)` returns a batched `torch.distributions.Distribution`. It never sees a prior. Its
    tensor-to-tensor part is `compute`; `distribution` turns what that returns into the distribution.
    Constructor arguments are plain numbers, strings, lists and dictionaries: a checkpoint records them.

    Attributes:
        preparation_queries: hidden items per task that `fit_to_prior` asks for.
        preparation_context: observed items per task that it asks for; None for tasks as they are drawn in training.
        differentiable: whether derivatives by the observed values are those of the whole answer; some networks compute
            parts of it without gradients.
        summary_names: what the numbers of `summary` are, in plain words; empty where it offers none.
    """

    preparation_queries: int = 8
    preparation_context: int | None = 0
    differentiable: bool = True
    summary_names: tuple[str, ...] = ()

    def forward(self, *observed: Tensor) -> Distribution:
        """The distribution of the hidden part given the observed part.

        Raises:
            ValueError: arguments of the wrong shape, or with values that the network does not take.
        """
        self.check(*observed)
        return self.distribution(self.compute(*observed))

    def check(self, *observed: Tensor) -> None:
        """Refuses arguments that the network cannot take, with a ValueError that says what to do."""

    @abstractmethod
    def compute(self, *observed: Tensor) -> Any:
        """The tensor-to-tensor part, which is what is compiled and exported: one tensor or a tuple of tensors."""

    @abstractmethod
    def distribution(self, output: Any) -> Distribution:
        """The distribution that an output of `compute` stands for."""

    def fit_to_prior(
        self, observed: Sequence[Any], hidden: Sequence[Tensor], laws: Sequence[Distribution | None]
    ) -> None:
        """Sets buffers (scales of the inputs, bucket borders) from prior draws, once, before training.

        Args:
            observed: the observed parts of several batches of tasks with `preparation_context` observed and
                `preparation_queries` hidden items each.
            hidden: their hidden parts.
            laws: the laws of the hidden parts, where the prior knows them.
        """

    def summary(self, *observed: Tensor) -> Tensor | None:
        """Numbers (B, J) that tell data like the prior's from others, see `priorfit.prior_check`; None: it offers none.

        They depend on what is observed alone, not on queries nor on the order of rows. NaN: not defined for so few.
        """
        return None

    def n_observed(self, *observed: Tensor) -> Tensor:
        """How much is observed of each task, (B,): summaries are compared with those of draws of that size."""
        return torch.zeros(len(observed[0]))

    def with_summary(self, *observed: Tensor) -> tuple[Distribution, Tensor | None]:
        """What `forward` and `summary` return, with work done once that both need."""
        return self(*observed), self.summary(*observed)

    @property
    def n_parameters(self) -> int:
        """The number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


networks: Registry[Network] = Registry("network")
