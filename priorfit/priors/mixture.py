"""A weighted mixture of priors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Generator, Tensor

from priorfit.priors.base import Prior, check_batch_size, priors
from priorfit.priors.task import Task
from priorfit.registry import closest

OWN = ("prior", "weight")  # of a component's arguments, those that are not its prior's


@priors.register("mixture")
class Mixture(Prior):
    """Each batch comes from one of several priors, drawn with their weights.

    All tasks of a batch have one component, as they share their sizes; over many batches a task's component has the
    law that the weights say. There is no reference: the mixture's posterior needs the evidence that a context gives
    for each component, which the components do not tell. Their own posteriors are those of `component(name)`.

    Args:
        components: from a name of one's choice to `{prior: …, weight: …}` and the arguments of that registered prior;
            weights are positive, 1 where none is given, and are divided by their sum.

    Attributes:
        components: from the same names to the priors.
        weights: from the same names to the probabilities.

    Raises:
        ValueError: no component, unknown priors or arguments, bad weights, or priors of different kinds of tasks.
    """

    def __init__(self, components: Mapping[str, Mapping[str, Any]]) -> None:
        if not isinstance(components, Mapping) or not components:
            raise ValueError("components must map at least one name to {prior: …, weight: …} and its arguments.")
        self.components = {str(name): _build(name, given) for name, given in components.items()}
        weights = {name: _weight(name, given) for name, given in components.items()}
        self.weights = {str(name): weight / sum(weights.values()) for name, weight in weights.items()}
        kinds = {name: _kind(prior) for name, prior in self.components.items()}
        if len(set(kinds.values())) > 1:
            listed = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
            raise ValueError(f"The components of a mixture must draw one kind of task, not {listed}.")

    def component(self, name: str) -> Prior:
        """The prior of that name.

        Raises:
            ValueError: there is none.
        """
        if name not in self.components:
            raise ValueError(f"Unknown component '{name}': {closest(name, self.components)}")
        return self.components[name]

    def with_context(self, n_context: int, n_query: int) -> Self:
        """This mixture with every task of every component fixed to these sizes."""
        return self._with({name: prior.with_context(n_context, n_query) for name, prior in self.components.items()})

    def _with(self, changed: Mapping[str, Prior]) -> Self:
        """This mixture with other priors of the same classes as some of its components."""
        given = self.arguments["components"]
        own = {name: {key: given[name][key] for key in OWN if key in given[name]} for name in changed}
        new = {name: {**own[name], **prior.arguments} for name, prior in changed.items()}
        return self.replace(components={**given, **new})

    def context_sizes(self) -> list[int]:
        """Those that all components name.

        Raises:
            ValueError: they have none in common.
        """
        sizes = [prior.context_sizes() for prior in self.components.values()]
        return sorted(set.intersection(*map(set, sizes))) or super().context_sizes()

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks of one component."""
        check_batch_size(batch_size)
        ordered = sorted(self.components)  # whatever order the mapping was written in
        weights = torch.tensor([self.weights[name] for name in ordered], dtype=torch.float64, device=generator.device)
        index = int(torch.multinomial(weights, 1, generator=generator))
        return self.components[ordered[index]].sample(batch_size, generator=generator)

    def measurements(self, observed: Any) -> Tensor:
        """As any component says, since all draw one kind of task."""
        return next(iter(self.components.values())).measurements(observed)

    def parts(self) -> dict[str, Prior]:
        """The components."""
        return dict(self.components)

    def shifts(self) -> dict[str, Prior]:
        """Those of the components: each that has one of a name is changed so, the others stay."""
        each = {name: prior.shifts() for name, prior in self.components.items()}
        names = dict.fromkeys(shift for own in each.values() for shift in own)
        return {shift: self._with({name: own[shift] for name, own in each.items() if shift in own}) for shift in names}

    def larger_contexts(self) -> list[int]:
        """The largest of the components'."""
        return sorted({n for prior in self.components.values() for n in prior.larger_contexts()})[-1:]

    @property
    def counts(self) -> dict[str, Mapping[str, Any]]:
        """What each component that counts its draws has counted."""
        return {name: prior.counts for name, prior in self.components.items() if prior.counts}


def _build(name: str, given: Mapping[str, Any]) -> Prior:
    """The prior of a component."""
    if not isinstance(given, Mapping) or "prior" not in given:
        raise ValueError(f"Component '{name}' must name its prior: {{prior: …, weight: …}} and its arguments.")
    return priors.build(str(given["prior"]), {key: value for key, value in given.items() if key not in OWN})


def _weight(name: str, given: Mapping[str, Any]) -> float:
    """The weight of a component, a positive number."""
    weight = given.get("weight", 1.0)
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < math.inf:
        raise ValueError(f"The weight of component '{name}' must be a positive number, not {weight!r}.")
    return weight


def _kind(prior: Prior) -> str:
    """The kind of the observed part, seen in the smallest of tasks."""
    return type(prior.with_context(1, 1).sample(1, generator=Generator().manual_seed(0)).observed).__name__
