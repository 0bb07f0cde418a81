"""Between the units of a metric (accuracy, loss, error) and those of the prior over learning curves.

Source: Adriaensen et al. 2023, "Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted
Networks", in the form of its released code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

ROUNDING = 1e-6  # of the soft range: a mean of float32 accuracies may be 1.0000001


@dataclass(frozen=True)
class CurveNormalizer:
    r"""Maps a metric to [0, 1], higher better: nearly linear where values are expected, flattening beyond.

    With u(x) = 2 (x - soft_lower) / (soft_upper - soft_lower) - 1 and the logistic function s,

        y = (s(u(x)) - s(u(lower))) / (s(u(upper)) - s(u(lower))),

    and 1 - y where the metric is minimised. An infinite bound puts s at 0 or 1, and so does one that is very far
    off. The map is monotone, so quantiles and single draws may be mapped back; means may not.

    Args:
        lower: the smallest value that the metric can have, or -inf.
        upper: the largest value that the metric can have, or inf.
        soft_lower: the smallest value that is of interest; by default `lower`, which must then be finite.
        soft_upper: the largest value that is of interest; by default `upper`, which must then be finite.
        minimize: whether lower is better.

    Raises:
        ValueError: bounds that are not lower <= soft_lower < soft_upper <= upper, with finite soft ones.

    Example:
        >>> CurveNormalizer(upper=100).transform([0, 50, 100])  # accuracies in per cent
        array([0. , 0.5, 1. ])
        >>> CurveNormalizer.loss(initial=2.3).transform([2.3, 1.2, 0.1]).round(2)
        array([0.37, 0.67, 0.98])
    """

    lower: float = 0.0
    upper: float = 1.0
    soft_lower: float | None = None
    soft_upper: float | None = None
    minimize: bool = False

    def __post_init__(self) -> None:
        low, high = self._soft
        for name, soft in (("lower", low), ("upper", high)):
            if not math.isfinite(soft):
                raise ValueError(
                    f"soft_{name} must be a finite number, not {soft}: where {name} is infinite, give the end of "
                    "the range that is of interest. For losses that is CurveNormalizer.loss(initial)."
                )
        if not self.lower <= low < high <= self.upper:
            raise ValueError(
                "Bounds must satisfy lower <= soft_lower < soft_upper <= upper, not "
                f"{self.lower}, {low}, {high}, {self.upper}. For metrics where lower is better, set minimize=True."
            )

    @classmethod
    def loss(cls, initial: float, lower: float = 0.0) -> Self:
        """For losses: minimised, without an upper bound, of interest from `lower` to `initial`.

        Args:
            initial: the loss of an untrained model, one for all curves that are compared: log(number of classes)
                for cross entropy, or the median of the curves' first values.
            lower: the smallest loss there can be.

        Raises:
            ValueError: `initial` is not above `lower`, or not finite.
        """
        return cls(lower=lower, upper=math.inf, soft_upper=initial, minimize=True)

    def transform(self, values: ArrayLike) -> ndarray:
        """Values in units of the prior, float64, same shape; NaN stays NaN.

        Args:
            values: of the metric.

        Raises:
            ValueError: a value beyond `lower` or `upper`.
        """
        values = np.asarray(values, dtype=np.float64)
        low, high = self._soft
        slack = ROUNDING * (high - low)
        beyond = (values < self.lower - slack) | (values > self.upper + slack)
        if beyond.any():
            raise ValueError(
                f"The value {values[beyond][0]} is not between the normalizer's bounds {self.lower} and "
                f"{self.upper}: widen them (lower and upper are hard), or check the units of the curves."
            )
        least, most = self._ends
        y = (self._squash(values) - least) / (most - least)
        return 1 - y if self.minimize else y

    def inverse_transform(self, values: ArrayLike) -> ndarray:
        """Values of the metric, float64, same shape; NaN stays NaN.

        What lies outside [0, 1] becomes the nearest bound, which may be infinite.

        Args:
            values: in units of the prior.
        """
        y = np.clip(np.asarray(values, dtype=np.float64), 0, 1)
        least, most = self._ends
        squashed = least + (1 - y if self.minimize else y) * (most - least)
        low, high = self._soft
        with np.errstate(divide="ignore"):  # arctanh(±1) is infinite
            metric = low + (high - low) * (np.arctanh(np.clip(squashed, -1, 1)) + 0.5)
        return np.clip(metric, self.lower, self.upper)

    @property
    def _soft(self) -> tuple[float, float]:
        """The soft bounds."""
        low = self.lower if self.soft_lower is None else self.soft_lower
        high = self.upper if self.soft_upper is None else self.soft_upper
        return low, high

    @property
    def _ends(self) -> tuple[ndarray, ndarray]:
        """The hard bounds, squashed."""
        return self._squash(self.lower), self._squash(self.upper)

    def _squash(self, values: ndarray | float) -> ndarray:
        """2 s(u) - 1 = tanh(u / 2), which no argument overflows; its shift and scale cancel in the formula."""
        low, high = self._soft
        with np.errstate(over="ignore"):
            return np.tanh((values - low) / (high - low) - 0.5)
