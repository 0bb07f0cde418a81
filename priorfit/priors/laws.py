"""Named laws for a prior's hyperparameters, drawn from a given generator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, Gamma, InverseGamma, LogNormal, Uniform

from priorfit.registry import closest

LAWS: dict[str, tuple[type[Distribution], tuple[str, str]]] = {
    "gamma": (Gamma, ("concentration", "rate")),
    "inverse_gamma": (InverseGamma, ("concentration", "rate")),
    "log_normal": (LogNormal, ("loc", "scale")),
    "uniform": (Uniform, ("low", "high")),
}

SCALES = ("low", "high", "rate", "minimum", "maximum")  # parameters in the units of the draws, but for gamma's rate


class Law:
    """A positive hyperparameter: fixed, or drawn afresh for every task.

    Args:
        name: the hyperparameter's name, for error messages.
        spec: a positive number (fixed), or a mapping such as `{law: gamma, concentration: 3, rate: 6}`;
            laws: gamma(concentration, rate), inverse_gamma(concentration, rate), log_normal(loc, scale; both
            of the logarithm), uniform(low, high).

    Raises:
        ValueError: an unknown law or parameter, or values that are not positive.
    """

    def __init__(self, name: str, spec: float | Mapping[str, Any]) -> None:
        self.name = name
        self.value: float | None = None
        if not isinstance(spec, Mapping):
            self.value = self._positive(name, spec)
            return
        parameters = dict(spec)
        self.kind = str(parameters.pop("law", ""))
        if self.kind not in LAWS:
            raise ValueError(f"Unknown law '{self.kind}' for {name}: {closest(self.kind, LAWS)}")
        self.parameters = self._check(parameters)

    def _check(self, parameters: dict[str, Any]) -> dict[str, float]:
        expected = LAWS[self.kind][1]
        if set(parameters) != set(expected):
            found = ", ".join(parameters) or "nothing"
            raise ValueError(f"The law '{self.kind}' of {self.name} takes {' and '.join(expected)}, not {found}.")
        checked = {}
        for key in expected:  # in this order, whatever order the mapping was written in
            if not _is_number(parameters[key]):
                raise ValueError(f"{self.name}'s {key} must be a number, not {parameters[key]!r}.")
            checked[key] = float(parameters[key])
        positive = [value for key, value in checked.items() if key not in ("loc", "low")]
        if min(positive) <= 0:
            raise ValueError(f"The law of {self.name} needs positive parameters, not {checked}.")
        if self.kind == "uniform" and not 0 <= checked["low"] < checked["high"]:
            raise ValueError(f"The uniform law of {self.name} needs 0 <= low < high.")
        return checked

    @staticmethod
    def _positive(name: str, value: Any) -> float:
        if not _is_number(value) or value <= 0:
            raise ValueError(f"{name} must be a positive number or a law, not {value!r}.")
        return float(value)

    @property
    def fixed(self) -> bool:
        """Whether the value is the same for every task."""
        return self.value is not None

    @property
    def distribution(self) -> Distribution:
        """The law as a torch distribution (for densities; it would draw from the global generator)."""
        if self.fixed:
            raise ValueError(f"{self.name} is fixed at {self.value}: it has no law.")
        return LAWS[self.kind][0](**self.parameters)  # type: ignore[arg-type]

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draws of the given shape, float64, on the generator's device."""
        options = {"dtype": torch.float64, "device": generator.device}
        if self.value is not None:
            return torch.full(shape, self.value, **options)
        first, second = self.parameters.values()
        if self.kind == "log_normal":
            return (first + second * torch.randn(shape, generator=generator, **options)).exp()
        if self.kind == "uniform":
            return first + (second - first) * torch.rand(shape, generator=generator, **options)
        concentration = torch.full(shape, first, **options)
        draws = torch._standard_gamma(concentration, generator=generator)  # type: ignore[attr-defined]
        draws = draws.clamp(min=torch.finfo(torch.float64).tiny)
        return second / draws if self.kind == "inverse_gamma" else draws / second


def scaled(spec: Any, factor: float) -> Any:
    """A positive number, a list of them, or the arguments of a law, for values that are `factor` times as large."""
    if isinstance(spec, Mapping):
        changed = {key: factor * spec[key] for key in SCALES if key in spec}
        if spec["law"] == "gamma":
            changed["rate"] = spec["rate"] / factor
        if spec["law"] == "log_normal":
            changed["loc"] = spec["loc"] + math.log(factor)
        return {**spec, **changed}
    return [scaled(value, factor) for value in spec] if isinstance(spec, Sequence) else factor * spec


def _is_number(value: Any) -> bool:
    """Whether `value` is a finite number, and not a truth value or text that looks like one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
