"""The contract that every prior keeps, and the registry that knows their names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution

from priorfit.priors.task import Task
from priorfit.registry import Registered, Registry

Reference = Literal["exact", "quadrature", "importance sampling", "mcmc"]


class Prior(Registered, ABC):
    """A program that draws synthetic tasks.

    Constructor arguments are plain numbers, strings, lists and dictionaries: Hydra builds a prior from them
    and a checkpoint records them.

    Attributes:
        reference: how `posterior` is computed, or None for a prior that has no reference.
    """

    reference: Reference | None = None

    @abstractmethod
    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws `batch_size` tasks of one common size, on the generator's device and from it alone."""

    @abstractmethod
    def with_context(self, n_context: int, n_query: int) -> Self:
        """This prior with every task fixed to `n_context` observed and `n_query` hidden items."""

    def context_sizes(self) -> list[int]:
        """The context sizes at which an evaluation measures unless it is told others.

        Raises:
            ValueError: the prior does not tell.
        """
        raise ValueError(f"The prior '{self.registered_name}' does not tell its sizes: set context_sizes=[…].")

    def posterior(self, task: Task) -> Distribution:
        """The reference posterior of `task.hidden` given `task.observed`.

        Raises:
            NotImplementedError: this prior has no reference (`reference` is None).
        """
        raise NotImplementedError(f"The prior '{self.registered_name}' has no reference posterior.")

    def parts(self) -> dict[str, Prior]:
        """Priors that this one is put together from and that are worth measuring on their own, by name."""
        return {}

    def shifts(self) -> dict[str, Prior]:
        """This prior with one thing changed that data may not keep to, by name: what to stress a network with."""
        return {}

    def larger_contexts(self) -> list[int]:
        """Context sizes beyond those of this prior's own tasks, to stress a network with."""
        return []

    def changed(self, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Prior]:
        """This prior with other constructor arguments, several times over, by name."""
        return {name: self.replace(**arguments) for name, arguments in changes.items()}

    @property
    def counts(self) -> Mapping[str, Any]:
        """How many tasks this object has "drawn", and how often it drew again, by reason; empty: it does not count."""
        return {}

    def measurements(self, observed: Any) -> Tensor:
        """Which numbers of the field that `observed.measured` names were measured: True or False, of its shape.

        Raises:
            ValueError: these tasks observe no real numbers that were measured.
        """
        name = getattr(observed, "measured", None)
        if name is None:
            raise ValueError(f"The tasks of '{self.registered_name}' observe no real numbers that were measured.")
        return torch.ones_like(getattr(observed, name), dtype=torch.bool)

    def truth(self, task: Task) -> Distribution | None:
        """What predictions of `task.hidden` are measured against.

        The reference posterior or, without one, the law given the task's own latents, an oracle; None without either.
        """
        return task.law if self.reference is None else self.posterior(task)


priors: Registry[Prior] = Registry("prior")


def check_batch_size(batch_size: int) -> int:
    """Returns `batch_size`, or raises ValueError where it is not a positive whole number."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive whole number, not {batch_size!r}.")
    return batch_size
