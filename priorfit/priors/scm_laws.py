"""Laws of the sizes and scales of random networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.priors.laws import LAWS, Law
from priorfit.registry import closest

DEVIATIONS = (0.01, 1.0)  # of a "spread", over its mean


class Hyper:
    """A number that every task draws afresh.

    The laws are those of `Law`, and "spread": a normal law truncated at 0, whose mean is log-uniform on low … high
    and whose standard deviation is log-uniform on .01 … 1 times the mean, plus `minimum` (Hollmann et al. 2023,
    "TabPFN", appendix C). Both the mean and the deviation are drawn for each task.

    Args:
        name: for error messages.
        spec: a number (fixed) or a mapping, as for `Law`; {law: spread, low, high} with positive ends. Any mapping
            may add `minimum`, which is added to the draws, and `maximum`, which they never exceed.
        whole: round to whole numbers.

    Raises:
        ValueError: an unknown law or parameter, or numbers out of range.
    """

    def __init__(self, name: str, spec: float | Mapping[str, Any], whole: bool = False) -> None:
        self.name, self.whole, self.law = name, whole, None
        self.minimum, self.maximum = 0.0, math.inf
        parameters: Any = spec
        if isinstance(spec, Mapping):
            parameters = dict(spec)
            self.minimum = self._number("minimum", parameters.pop("minimum", 0.0))
            self.maximum = self._number("maximum", parameters.pop("maximum", math.inf))
        if self.minimum > self.maximum:
            raise ValueError(f"{name}: minimum {self.minimum} is above maximum {self.maximum}.")
        if isinstance(parameters, dict) and parameters.get("law") == "spread":
            if set(parameters) != {"law", "low", "high"}:
                raise ValueError(f"The law 'spread' of {name} takes low and high, not {', '.join(parameters)}.")
            self.low, self.high = (self._number(key, parameters[key]) for key in ("low", "high"))
            if not 0 < self.low <= self.high:
                raise ValueError(f"The law 'spread' of {name} needs 0 < low <= high.")
        else:
            self._check_name(parameters)
            self.law = Law(name, parameters)
        if self.whole and isinstance(parameters, int | float) and parameters != round(parameters):
            raise ValueError(f"{name} must be a whole number, not {parameters!r}.")

    def sample(self, n: int, generator: Generator) -> Tensor:
        """Draws for `n` tasks, (n,): float32, or int64 where they are whole."""
        values = self._spread(n, generator) if self.law is None else self.law.sample((n,), generator)
        if self.whole:
            values = values.round()
        values = (values + self.minimum).clamp(max=self.maximum)
        return values.long() if self.whole else values.float()

    def _spread(self, n: int, generator: Generator) -> Tensor:
        """Truncated normal draws, by inversion, float64."""
        level = torch.rand(3, n, generator=generator, dtype=torch.float64, device=generator.device)
        mean = self.low * (self.high / self.low) ** level[0]
        ratio = DEVIATIONS[0] * (DEVIATIONS[1] / DEVIATIONS[0]) ** level[1]
        below = torch.special.ndtr(-1 / ratio)  # the mass that is cut off
        normal = torch.special.ndtri(below + (1 - below) * level[2].clamp(1e-12, 1 - 1e-12))
        return (mean * (1 + ratio * normal)).clamp(min=0)

    def _check_name(self, parameters: Any) -> None:
        kind = parameters.get("law") if isinstance(parameters, dict) else None
        if kind is not None and kind not in LAWS:
            raise ValueError(f"Unknown law '{kind}' for {self.name}: {closest(str(kind), [*LAWS, 'spread'])}")

    def _number(self, key: str, value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
            raise ValueError(f"{self.name}'s {key} must be a number >= 0, not {value!r}.")
        return float(value)


def check_share(name: str, value: Any) -> float:
    """`value` as a float; raises ValueError where it is no number from 0 to 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{name} is a share: a number from 0 to 1, not {value!r}.")
    return float(value)


def draw_shares(highest: float, n: int, generator: Generator) -> Tensor:
    """`highest` times Beta(a, b) with a, b ~ U(.1, 5) of its own for each of `n` tasks, float32."""
    options: dict[str, Any] = {"dtype": torch.float64, "device": generator.device}
    concentration = 0.1 + 4.9 * torch.rand(2, n, generator=generator, **options)
    a, b = torch._standard_gamma(concentration, generator=generator).clamp(min=1e-300)  # type: ignore[attr-defined]
    return (highest * a / (a + b)).float()
