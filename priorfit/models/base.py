"""The contract that every network keeps, and the registry that knows their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

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
    """

    preparation_queries: int = 8
    preparation_context: int | None = 0

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

    @property
    def n_parameters(self) -> int:
        """The number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


networks: Registry[Network] = Registry("network")
