"""How far a network's predictions are from a martingale, as those of an exact Bayesian are.

While rows are drawn from one-step-ahead predictives, P(y <= t | x) at a fixed probe x changes from draw to draw, but on
average over draws it must stay what it is given the observed rows. A network for which it drifts contradicts itself:
the posterior that its draws make up is not that of any prior.

Source: Fong, Holmes, Walker 2023, "Martingale posterior distributions"; the diagnostic is ours.
Letters: R draws, H horizons, m probes, F features, L levels, C classes, M sign flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from torch import Tensor
from torch.distributions import Categorical, Distribution

from priorfit.predictors.network_rows import NetworkRows

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)  # of thresholds, under the predictive given the observed rows
HORIZONS = 5  # H at most
FLIPS = 1999  # M
LEAST_CHANGE = 1e-5  # of a probability; below it there is nothing but rounding


@dataclass(frozen=True, eq=False)
class MartingaleDefect:
    """The drift of predictive probabilities under predictive resampling: 0 but for chance where they are a martingale.

    What has no drift need not be the posterior that is wanted: a network that does not learn from rows passes, and so
    does the exact Bayesian of another prior.

    Attributes:
        horizons: numbers of rows drawn after which predictives are looked at, (H,).
        probes: the inputs at which they are looked at, (m, F), in the user's units.
        thresholds: t of P(y <= t | x), (m, L), in the user's units; or the classes, (C,), for P(y = c | x).
        initial: these probabilities given the observed rows, (m, L) or (m, C).
        drift: mean over draws minus `initial`, (H, m, L) or (H, m, C).
        standard_error: of `drift`.
        mean_drift: drift of the predictive mean in predictive standard deviations given the observed rows, (H, m); None
            for classes.
        mean_drift_error: its standard error, (H, m).
        largest: max |drift|.
        expected_largest: what it is on average for a martingale with so many draws.
        p_value: of the largest drift in units of the typical change at its horizon, see `sign_flip_test`.
    """

    horizons: ndarray
    probes: ndarray
    thresholds: ndarray
    initial: ndarray
    drift: ndarray
    standard_error: ndarray
    mean_drift: ndarray | None
    mean_drift_error: ndarray | None
    largest: float
    expected_largest: float
    p_value: float

    def __str__(self) -> str:
        return (
            f"Largest drift of a predictive probability over {self.horizons[-1]} drawn rows: {self.largest:.3f}, where "
            f"{self.expected_largest:.3f} is expected of a martingale; p = {self.p_value:.2g}."
        )


class Look(NamedTuple):
    """What is predicted at the probes in R tables."""

    probabilities: ndarray  # (R, m, L), of numbers up to the thresholds; or (R, m, C), of classes
    means: ndarray  # (R, m), in the network's units; or the probabilities of classes again


class ProbeWatch:
    """Looks at predictives at probes before and while rows are drawn.

    Args:
        rows: the observed rows.
        probes: (m, F), in the user's units.
        n_future: the number of rows that will be drawn.
    """

    def __init__(self, rows: NetworkRows, probes: ndarray, n_future: int) -> None:
        self.rows, self.probes = rows, probes
        self.horizons = np.unique(np.geomspace(1, n_future, HORIZONS).round().astype(int))
        self._queries = rows.queries(probes)[None]  # (1, m, F)
        first = rows.predict(*rows.context(), self._queries)
        self.thresholds: Tensor | None = None  # (m, L), in the network's units
        if not isinstance(first, Categorical):
            levels = torch.tensor(LEVELS, dtype=torch.float64, device=self._queries.device)
            pairs = [rows.quantiles(first, level.expand(first.batch_shape))[0] for level in levels]
            self.thresholds = torch.stack(pairs, -1).to(self._queries.dtype)
        self.scale = np.ones(len(probes)) if self.thresholds is None else _numpy(first.stddev)[0]
        self.initial, self.initial_mean = (part[0] for part in self.read(first))

    def look(self, x: Tensor, y: Tensor) -> Look:
        """What is predicted given completed rows x (R, N, F) and y (R, N)."""
        return self.read(self.rows.predict(x, y, self._queries.expand(len(x), -1, -1)))

    def read(self, predictive: Distribution) -> Look:
        """Reads predictives (R, m)."""
        if isinstance(predictive, Categorical):
            probabilities = _numpy(self.rows.probabilities(predictive))
            return Look(probabilities, probabilities)
        assert self.thresholds is not None
        at = self.thresholds.T[:, None].expand(-1, *predictive.batch_shape)  # (L, R, m)
        return Look(np.moveaxis(_numpy(predictive.cdf(at)), 0, -1), _numpy(predictive.mean))

    def defect(self, looks: Sequence[Look], random: RandomState) -> MartingaleDefect:
        """The drift over R draws, at each of the H horizons.

        Args:
            looks: at all draws, at each horizon.
            random: where sign flips come from.
        """
        changes = np.stack([look.probabilities for look in looks], 1) - self.initial  # (R, H, m, L)
        p_value, expected = sign_flip_test(changes, random)
        drift, error = _mean_and_error(changes)
        mean_drift = mean_error = None
        if self.thresholds is not None:
            moves = np.stack([look.means for look in looks], 1) - self.initial_mean  # (R, H, m)
            mean_drift, mean_error = _mean_and_error(moves / self.scale)
        named = self.rows.classes if self.thresholds is None else self.rows.to_user(self.thresholds)
        assert named is not None
        return MartingaleDefect(
            horizons=self.horizons,
            probes=self.probes,
            thresholds=named,
            initial=self.initial,
            drift=drift,
            standard_error=error,
            mean_drift=mean_drift,
            mean_drift_error=mean_error,
            largest=float(np.abs(drift).max()),
            expected_largest=expected,
            p_value=p_value,
        )


def sign_flip_test(changes: ndarray, random: RandomState) -> tuple[float, float]:
    """Tests whether independent changes (R, H, m, L) have mean 0, all of them.

    The statistic is the largest absolute mean over draws, in units of the root mean square change at its horizon; its
    law under the null is that over flips of the draws' signs. That is exact for symmetric changes and, as means become
    normal, asymptotically valid in R for others. Flips leave the units as they are. Units of each mean's own would not
    do: changes are skewed, so that large means go with small standard errors, and the test would reject too often.

    Args:
        changes: of probabilities.
        random: where flips come from.

    Returns:
        The p-value, and the largest absolute mean that is expected under the null.
    """
    changes = np.where(np.abs(changes) < LEAST_CHANGE, 0.0, changes)
    unit = np.sqrt(np.square(changes).mean((0, 2, 3), keepdims=True)[0]).clip(LEAST_CHANGE)  # (H, 1, 1)
    signs = random.choice([-1.0, 1.0], (FLIPS, len(changes)))
    flipped = np.einsum("mr,r...->m...", signs, changes, optimize=True) / len(changes)
    largest = np.abs(flipped / unit).max((1, 2, 3))
    observed = np.abs(changes.mean(0) / unit).max()
    p_value = (1 + (largest >= observed * (1 - 1e-9)).sum()) / (1 + FLIPS)
    return float(p_value), float(np.abs(flipped).max((1, 2, 3)).mean())


def _mean_and_error(values: ndarray) -> tuple[ndarray, ndarray]:
    """Mean over draws (R, ...) and its standard error, NaN for a single draw."""
    n_draws = len(values)
    spread = values.std(0, ddof=1) if n_draws > 1 else np.full(values.shape[1:], np.nan)
    return values.mean(0), spread / np.sqrt(n_draws)


def _numpy(tensor: Tensor) -> ndarray:
    return tensor.double().cpu().numpy()
