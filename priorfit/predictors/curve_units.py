"""Between the units of the user's curves and those of the prior over learning curves: with a normalizer or without.

Letters: C curves, m queries, Q quantile levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy import ndarray
from torch import Tensor

from priorfit.distributions import BarDistribution
from priorfit.predictors.curve_normalizer import CurveNormalizer
from priorfit.predictors.outputs import DECILES, statistic

TAKEN = (-1.0, 2.0)  # without a normalizer: far more than the noise of the prior's curves on [0, 1] reaches


class CurveUnits(NamedTuple):
    """The map that a normalizer stands for; None leaves values as they are."""

    normalizer: CurveNormalizer | None

    @classmethod
    def of(cls, normalizer: CurveNormalizer | None) -> Self:
        """The units that a user names.

        Raises:
            TypeError: neither a normalizer nor None.
        """
        if not isinstance(normalizer, CurveNormalizer | None):
            raise TypeError(
                "normalizer must be a CurveNormalizer, such as CurveNormalizer.loss(initial), or None for metrics on "
                f"[0, 1] where higher is better, not {normalizer!r}."
            )
        return cls(normalizer)

    @property
    def minimize(self) -> bool:
        """Whether lower is better."""
        return self.normalizer is not None and self.normalizer.minimize

    def to_network(self, values: ndarray) -> ndarray:
        """Observed values in the network's units.

        Raises:
            ValueError: values outside the normalizer's bounds or, without one, far outside [0, 1].
        """
        if self.normalizer is not None:
            return self.normalizer.transform(values)
        low, high = TAKEN
        far = values[(values < low) | (values > high)]
        if far.size:
            raise ValueError(
                f"The curves have values such as {far[0]:g}, and the network knows metrics on [0, 1] where higher is "
                "better. Say what they are: normalizer=CurveNormalizer.loss(initial) for losses, "
                "CurveNormalizer(upper=100) for per cent, CurveNormalizer(lower, upper) in general."
            )
        return values

    def to_metric(self, values: ndarray) -> ndarray:
        """Draws or quantiles in the units of the curves."""
        return values if self.normalizer is None else self.normalizer.inverse_transform(values)

    def statistic(self, output_type: str, quantiles: Sequence[float] | None) -> Callable[[BarDistribution], Tensor]:
        """As `outputs.statistic`, of distributions in the network's units, to be mapped by `to_metric`.

        Raises:
            ValueError: as there, or a statistic that does not pass through the normalizer.
        """
        output = statistic(output_type, quantiles)
        if self.normalizer is None or output_type == "median":
            return output
        if output_type != "quantiles":
            raise ValueError(
                f"The {output_type} does not pass through a normalizer, which is not linear: ask for the 'median' "
                "or 'quantiles', or use predict_distribution, which is in the network's units."
            )
        levels = DECILES if quantiles is None else quantiles
        return statistic(output_type, [1 - level for level in levels] if self.minimize else levels)

    def threshold(self, limits: ndarray, above: bool) -> tuple[ndarray, bool]:
        """What "the metric is above (or below) its limit" means in the network's units.

        Args:
            limits: in the units of the curves, any shape.
            above: whether above or below.

        Returns:
            Thresholds of the same shape, infinite at and beyond the normalizer's bounds, and whether the network's
            value must be above them rather than below.
        """
        if self.normalizer is None:
            return limits, above
        lower, upper = self.normalizer.lower, self.normalizer.upper
        never, surely = (limits >= upper, limits < lower) if above else (limits <= lower, limits > upper)
        maximize = above != self.minimize
        out_of_reach = np.inf if maximize else -np.inf
        inside = self.normalizer.transform(np.clip(limits, lower, upper))
        return np.select([never, surely], [out_of_reach, -out_of_reach], inside), maximize
