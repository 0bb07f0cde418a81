"""What a prior draws: one observed part, one hidden part, and (where known) the hidden part's law.

Every kind of observed part says which of its fields was `measured`, real numbers that could as well have come out a
little different (None: there is none), and which fields hold `one_per_observation`, along dimension 1, in any order
(none: observations cannot be repeated or left out).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

V = TypeVar("V")


class Regression(NamedTuple):
    """The observed part of a regression task: B tasks, n context rows, m query rows, F features."""

    x_context: Tensor  # (B, n, F)
    y_context: Tensor  # (B, n)
    x_query: Tensor  # (B, m, F)

    measured = "y_context"
    one_per_observation = ("x_context", "y_context")


class Curves(NamedTuple):
    """The observed part of learning curves: B curves, n observed steps, m queries.

    A query is predicted from the first `visible` of the observed steps, so that one curve can be asked about from
    each of its prefixes, and curves of a batch may end at different steps: what stands in `steps` and `values`
    past every query's `visible` is never looked at.
    """

    steps: Tensor  # (B, n), 1, 2, … or any that increase along each curve
    values: Tensor  # (B, n)
    query_steps: Tensor  # (B, m)
    visible: Tensor  # (B, m), int64

    measured = "values"
    one_per_observation = ()


class Table(NamedTuple):
    """The observed part of a table: B tasks, n context rows, m query rows, F features.

    Targets are numbers, or classes 0 … n_classes - 1; those of the queries are `Task.hidden`, (B, m), float32 numbers
    or int64 classes. Every class occurs in the context, as far as it has rows enough.
    """

    x_context: Tensor  # (B, n, F), NaN where a value is missing
    y_context: Tensor  # (B, n), float32: a number, or the index of a class
    x_query: Tensor  # (B, m, F), NaN where a value is missing
    categorical: Tensor  # (B, F), bool: columns whose values are codes 0, 1, 2, …
    n_classes: Tensor  # (B,), int64; 0 for regression

    measured = "y_context"  # where it holds numbers
    one_per_observation = ("x_context", "y_context")


class Evidence(NamedTuple):
    """The observed part of a task about a latent vector: B tasks, T prior tokens, N rows of observations.

    The prior of the latent is itself observed. A mixture of k Gaussians has T = k tokens of C = 1 + d + d (d + 1) / 2
    numbers each (`priorfit.distributions.GaussianMixture.packed`); a prior of a named family has one token, its
    transformed parameters. What stands in a row is told by the prior that draws it; N = 0 observes nothing.
    The latent is `Task.hidden`, (B, d), in its own units.
    """

    prior: Tensor  # (B, T, C)
    rows: Tensor  # (B, N, D)

    measured = "rows"  # some of their numbers
    one_per_observation = ("rows",)


class JumpPaths(NamedTuple):
    """The observed part of a Markov jump process: B processes of S states, P paths, L observations at most.

    Paths shorter than L are filled up at the end with state -1, at any time. `Task.hidden` is (B, S, S + 1): the rate
    matrix with a zero diagonal, in jumps per unit of `times`, and the initial law as its last column.
    """

    times: Tensor  # (B, P, L), increasing along each path
    states: Tensor  # (B, P, L), int64: 0 … S - 1, or -1 past the end of a path
    n_states: Tensor  # (B,), int64: S, the same for all

    measured = None
    one_per_observation = ("times", "states")


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth value
class Task:
    """A batch of B synthetic tasks.

    Attributes:
        observed: a NamedTuple of tensors, batch first; its fields are the network's arguments, in order.
        hidden: what the network's distribution is about; rows: the query targets, (B, m).
        law: the law of `hidden` given the task's own latents and `observed`, where the prior knows it. Its
            expected log density has the same minimiser as the log density of `hidden` and less variance.
    """

    observed: Any
    hidden: Tensor
    law: Distribution | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same tasks on another device."""
        return type(self)(*(_move(getattr(self, name), device) for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.hidden)


def _move(value: V, device: torch.device | str) -> V:
    """Moves tensors, tuples of them, and distributions (whose parameters are tensor attributes)."""
    if isinstance(value, Tensor):
        return value.to(device)  # type: ignore[return-value]
    if isinstance(value, tuple):
        items = [_move(item, device) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)  # type: ignore[call-arg]
    if isinstance(value, Distribution):
        moved = copy.copy(value)
        moved.__dict__.update({key: _move(item, device) for key, item in vars(value).items()})
        return moved
    return value
