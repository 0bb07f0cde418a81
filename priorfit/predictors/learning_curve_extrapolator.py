"""Learning curves continued by a trained network, as an estimator in scikit-learn's manners.

Letters: C curves, n observed steps of the longest, m queries per curve, K buckets, Q quantile levels, S draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.distributions import BarDistribution
from priorfit.predictors.curve_normalizer import CurveNormalizer
from priorfit.predictors.curve_plot import Continued, draw_curves, new_axes
from priorfit.predictors.curve_prefixes import Prefixes
from priorfit.predictors.curve_queries import Queries
from priorfit.predictors.curve_reading import read_curves
from priorfit.predictors.curve_units import CurveUnits
from priorfit.predictors.limits import check_count, check_horizon
from priorfit.predictors.loading import CurveNetwork, network_on, resolve_device
from priorfit.predictors.network_estimator import NetworkEstimator
from priorfit.predictors.outputs import DECILES, joined, quantiles_of, rows_of
from priorfit.predictors.unfamiliar import has_check, unfamiliarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LearningCurveExtrapolator(NetworkEstimator):
    """Where learning curves are going: a predictive distribution for every later step of every curve.

    `fit` trains nothing: it reads what has been observed. Each prediction is one forward pass for many curves.

    Args:
        checkpoint: a name from `priorfit.list_checkpoints()`, the path of a checkpoint file, or what
            `priorfit.load` returned.
        normalizer: how values of the metric map to the network's units. None for metrics on [0, 1] where higher is
            better, such as accuracy; `CurveNormalizer.loss(initial)` for losses; `CurveNormalizer(upper=100)` for
            per cent; `CurveNormalizer(minimize=True)` for error rates.
        device: where the network runs: "cpu", "cuda", or "auto" for a GPU if there is one.
        batch_size: curves per forward pass. Larger costs memory.
        ignore_horizon: accept steps beyond those that the network was trained on, with a warning.

    Attributes:
        n_curves_: C, the number of curves.
        last_steps_: the last observed step of each, 0 where nothing was observed, (C,).
        horizon_: the largest step that the network was trained on.
        unfamiliarity_: how unlike the draws of the training's prior what was observed of each curve is, (C,): 1 in 200
            draws is above 1, and a warning tells of such. NaN where the checkpoint has no check.
        metadata_: the checkpoint's own description of itself (see `priorfit.checkpoint_file`).

    Example:
        >>> extrapolator = LearningCurveExtrapolator().fit([[0.1, 0.4, 0.5], [0.3, 0.4]])  # doctest: +SKIP
        >>> extrapolator.predict(100)  # the median at step 100 of both curves  # doctest: +SKIP
        >>> extrapolator.probability_above(0.8, [20, 50, 100])  # (2, 3)  # doctest: +SKIP

    Source: Adriaensen et al. 2023, "Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted Networks".
    """

    _purpose, _needs = "extrapolate learning curves", ("horizon",)

    def __init__(
        self,
        checkpoint: AnyPath | Checkpoint = "learning-curve",
        *,
        normalizer: CurveNormalizer | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 256,
        ignore_horizon: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.normalizer = normalizer
        self.device = device
        self.batch_size = batch_size
        self.ignore_horizon = ignore_horizon

    def fit(self, curves: Any, steps: Any = None) -> Self:
        """Reads what has been observed of C curves.

        Args:
            curves: values of the metric: an array (C, T), or a list of C curves of any lengths. NaN is a step that was
                not observed, be it within a curve or as padding after it. A curve may be empty: the network then
                predicts from its prior alone.
            steps: when they were observed, of the same shape, or (T,) for all curves; 1, 2, … T by default. Any
                finite numbers from 1 (the first epoch) on, in any order, each at most once per curve.

        Raises:
            CheckpointError: the checkpoint cannot be loaded or does not extrapolate learning curves.
            ValueError: curves, steps or settings that cannot be used; the message says what to do.
        """
        check_count("batch_size", self.batch_size)
        units = CurveUnits.of(self.normalizer)
        device = resolve_device(self.device)
        checkpoint = self._open()
        network: CurveNetwork = network_on(checkpoint.network, device)
        horizon = float(network.horizon)
        observed = self._read(curves, steps, horizon)
        self._prefixes = observed.with_values(units.to_network)
        self._observed, self._units = observed, units
        self._attach(network, device)
        self.n_curves_, self.last_steps_ = len(observed.lengths), observed.last_steps
        self.horizon_, self.metadata_ = horizon, checkpoint.metadata
        self.unfamiliarity_ = self._compared(network)
        return self

    def predict(
        self, steps: ArrayLike, output_type: str = "median", quantiles: Sequence[float] | None = None
    ) -> ndarray:
        """One number per curve and step, or one per curve, step and quantile level, in the units of the curves.

        Args:
            steps: steps after the last observed one: a number, a list of m for all curves, or an array (C, m).
                Where curves end at different steps, a curve that needs fewer steps than the others may repeat one.
            output_type: "median", "quantiles", and without a normalizer also "mean", "mode" (where the density is
                highest) and "std", which do not pass through a map that is not linear.
            quantiles: Q levels between 0 and 1 for output_type="quantiles"; by default the nine deciles.

        Returns:
            (C, m), or (C,) if `steps` is a number; with a last axis (Q,) for quantiles; float64.

        Raises:
            NotFittedError: before `fit`.
            ValueError: steps that were observed already or lie beyond the horizon, an output_type or levels that
                cannot be used.
        """
        asked = self._ask(steps)
        return asked.shaped(self._units.to_metric(self._answers(asked, self._units.statistic(output_type, quantiles))))

    def quantiles(self, steps: ArrayLike, levels: Sequence[float] = DECILES) -> ndarray:
        """Quantiles in the units of the curves: of losses, too, the level 0.1 is below the level 0.9.

        Args:
            steps: as for `predict`.
            levels: Q levels between 0 and 1.

        Returns:
            (C, m, Q), or (C, Q) if `steps` is a number; float64. A bound of the normalizer, which may be infinite,
            where the network's quantile lies beyond it.

        Raises:
            NotFittedError, ValueError: as `predict`.
        """
        asked = self._ask(steps)
        return asked.shaped(self._units.to_metric(self._answers(asked, self._units.statistic("quantiles", levels))))

    def predict_distribution(self, steps: ArrayLike) -> BarDistribution:
        """The predictive distributions themselves, in the network's units: [0, 1] and higher better.

        Values of the metric enter them as `normalizer.transform(values)`.

        Args:
            steps: as for `predict`.

        Returns:
            Batch shape (C, m), or (C,) if `steps` is a number; float64, on the CPU.

        Raises:
            NotFittedError, ValueError: as `predict`.
        """
        asked = self._ask(steps)
        return joined(list(self._distributions(asked)), asked.shape)

    def probability_above(self, threshold: ArrayLike, steps: ArrayLike) -> ndarray:
        """The probability that the metric is above a threshold, also where lower is better.

        Args:
            threshold: a number, or one for each curve, (C,), in the units of the curves.
            steps: as for `predict`.

        Returns:
            (C, m), or (C,) if `steps` is a number; float64.

        Raises:
            NotFittedError, ValueError: as `predict`, and for thresholds of another shape.
        """
        return self._probability(self._ask(steps), threshold, above=True)

    def probability_better(self, best: ArrayLike, steps: ArrayLike) -> ndarray:
        """The probability that the metric beats `best`: is above it, or below where the normalizer minimizes.

        Args, Returns, Raises: as `probability_above`.
        """
        asked = self._ask(steps)  # raises before `fit`
        return self._probability(asked, best, above=not self._units.minimize)

    def sample(self, steps: ArrayLike, n: int = 1, random_state: int | RandomState | None = None) -> ndarray:
        """Joint draws of futures, step by step: each value is drawn given the observed ones and those drawn before.

        This is approximate: the product of the network's one-step predictions is the joint law only as far as the
        network is exact, and its errors add up along the way. Each step costs a forward pass for all S * C futures.

        Args:
            steps: as for `predict`, increasing. Values between them are left out, not drawn.
            n: number of draws, S.
            random_state: a seed or generator that makes the draws repeatable.

        Returns:
            Noisy values as they would be observed, (S, C, m), or (S, C) if `steps` is a number; float64, in the
            units of the curves.

        Raises:
            NotFittedError, ValueError: as `predict`, for steps that do not increase, and for n that is not a
                positive whole number.
        """
        check_count("n", n)
        asked = self._ask(steps)
        if (np.diff(asked.steps) <= 0).any():
            raise ValueError("steps must increase: futures are drawn from left to right, each step once.")
        generator = check_random_state(RandomState() if random_state is None else random_state)
        n_curves, n_steps = asked.steps.shape
        levels = generator.uniform(np.finfo(np.float64).tiny, 1.0, (n_steps, n * n_curves))
        futures, drawn = asked.prefixes.repeat(n), []
        for now, level in zip(np.tile(asked.steps, (n, 1)).T, levels, strict=True):  # (S * C,) each
            drawn.append(self._answers(Queries(futures, now[:, None], now.shape), _drawn, torch.from_numpy(level)))
            futures = futures.append(now, drawn[-1])
        return self._units.to_metric(np.stack(drawn, -1).reshape(n, *asked.shape))

    def plot(
        self,
        curve: int | Sequence[int] = 0,
        ax: Axes | None = None,
        levels: Sequence[float] = (0.5, 0.9),
        last_step: float | None = None,
    ) -> Axes:
        """Draws what was observed, and median and central intervals of every later step, in the units of the curves.

        Args:
            curve: the index of a curve, or several.
            ax: where to draw; a new figure by default.
            levels: masses of the central intervals.
            last_step: up to where; by default the horizon.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
            NotFittedError, ValueError: as `predict`.
            IndexError: no such curve.
        """
        check_is_fitted(self)
        curves = {f"curve {index}": self._continued(index, levels, last_step) for index in np.atleast_1d(curve)}
        axis = new_axes() if ax is None else ax
        draw_curves(axis, curves, levels)
        return axis

    def _read(self, curves: Any, steps: Any, horizon: float) -> Prefixes:
        """What was observed, in the units of the curves."""
        observed = read_curves(curves, steps)
        check_horizon("The curves go up to step", observed.last_steps.max(), horizon, self.ignore_horizon)
        return observed

    def _compared(self, network: CurveNetwork) -> ndarray:
        """How unlike the training's draws what was observed of each curve is, (C,)."""
        if not has_check(self.metadata_):
            return np.full(self.n_curves_, np.nan)
        next_ = Queries(self._prefixes, self.last_steps_[:, None] + 1, (len(self.last_steps_), 1))
        with torch.inference_mode():
            parts = [part.to_network(self._device) for part in next_.split(self.batch_size)]
            looks = [(network.summary(*part), network.n_observed(*part)) for part in parts]
        summaries, sizes = zip(*looks, strict=True)
        return unfamiliarity(self.metadata_, network, summaries, sizes, "curves" if self.n_curves_ > 1 else "curve")

    def _ask(self, steps: ArrayLike, curves: slice | Sequence[int] = slice(None)) -> Queries:
        """What a prediction is about, checked; and the network is there."""
        check_is_fitted(self)
        check_count("batch_size", self.batch_size)
        asked = Queries.read(steps, self._prefixes.take(curves))
        check_horizon("steps ask for step", asked.steps.max(), self.horizon_, self.ignore_horizon)
        self._restore()
        return asked

    def _distributions(self, asked: Queries) -> Iterator[BarDistribution]:
        """Predictive distributions in the network's units, curve after curve, in pieces of batch shape (rows,)."""
        for part in asked.split(self.batch_size):
            with torch.inference_mode():
                bars = self._network(*part.to_network(self._device))
            yield from rows_of(bars)

    def _answers(self, asked: Queries, output: Callable[..., Tensor], *of_each: Tensor) -> ndarray:
        """What `output` makes of the distributions and of its other arguments, (C * m,) each; (C * m, ...)."""
        parts, start = [], 0
        for bars in self._distributions(asked):
            rows = slice(start, start := start + len(bars.logits))
            parts.append(output(bars, *(values[rows] for values in of_each)))
        return torch.cat(parts).numpy()

    def _probability(self, asked: Queries, threshold: ArrayLike, above: bool) -> ndarray:
        """The probability that the metric is above a threshold, or below it."""
        limits = np.asarray(threshold, dtype=np.float64)
        if limits.shape not in ((), (len(asked.steps),)) or np.isnan(limits).any():
            raise ValueError(f"A threshold must be a number, or an array of one for each of {len(asked.steps)} curves.")
        limits = np.broadcast_to(limits.reshape(-1, 1), asked.steps.shape).flatten()  # (C * m,)
        to_beat, maximize = self._units.threshold(limits, above)
        improves = partial(BarDistribution.probability_of_improvement, maximize=maximize)
        return asked.shaped(self._answers(asked, improves, torch.from_numpy(to_beat)))

    def _continued(self, index: int, levels: Sequence[float], last_step: float | None) -> Continued:
        """Curve `index`, observed and predicted up to `last_step`."""
        ends = [(1 - level) / 2 for level in sorted(levels)]
        wanted = [0.5, *ends, *(1 - end for end in ends)]
        seen = self._observed.take([index])
        later = np.arange(np.floor(seen.last_steps[0]) + 1, (self.horizon_ if last_step is None else last_step) + 1)
        if not later.size:
            return Continued(seen.steps[0], seen.values[0], later, later, [])
        answers = self._answers(self._ask(later, [index]), self._units.statistic("quantiles", wanted))
        median, *bounds = self._units.to_metric(answers).T
        bands = list(zip(bounds[: len(ends)], bounds[len(ends) :], strict=True))
        return Continued(seen.steps[0], seen.values[0], later, median, bands)


def _drawn(bars: BarDistribution, levels: Tensor) -> Tensor:
    """The quantile of each of the distributions (rows,) at its own level (rows,)."""
    return quantiles_of(bars, levels[None])[0]
