"""When to stop a training run: the published rule on extrapolated learning curves.

Source: Adriaensen et al. 2023, "Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted
Networks", its experiment on predictive early stopping.
Letters: n runs, T values of a run so far, m steps of the network that are still to come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.predictors.curve_normalizer import CurveNormalizer
from priorfit.predictors.learning_curve_extrapolator import LearningCurveExtrapolator
from priorfit.predictors.limits import check_count
from priorfit.predictors.loading import network_on, open_checkpoint, resolve_device


@dataclass(frozen=True)
class StopDecision:
    """Whether to stop a run, and why. In an `if` it is true where the run should stop.

    Attributes:
        stop: whether to stop.
        probability: the largest probability, over the later steps, that the value at that step beats `best`; NaN where
            there was nothing to predict: too few values yet, no step left, or a run that diverged.
        step: the later step at which it is largest; None where there was nothing to predict.
        best: the value to beat, in the user's units; NaN where there is none yet.
    """

    stop: bool
    probability: float
    step: int | None
    best: float

    def __bool__(self) -> bool:
        return self.stop


class EarlyStopper:
    """Stops a run when no later step beats the best value so far with a probability above delta.

    After T values y_1 … y_T a run is stopped if P(y_t > best | y_1 … y_T) <= delta for every t in T + 1 … max_steps.
    The best value is the run's own so far, or that of the runs before it where it is given and better. Nothing is
    remembered from call to call: one stopper serves any number of runs. A run should also stop, and needs no network
    for that, when its last value is NaN or infinite, or when it has had its max_steps.

    A step is whatever lies between two values of a curve: an epoch, or 1000 updates. Where max_steps is beyond the
    network's horizon, the network is shown every k-th value, with the smallest k that makes a full run fit, as in
    the published experiments; the best value still counts them all.

    Args:
        max_steps: values in a full run.
        checkpoint: a name from `priorfit.list_checkpoints()`, the path of a checkpoint file, or what
            `priorfit.load` returned. It is loaded once, here.
        normalizer: maps values to [0, 1] with higher better; None takes them as they are, such as accuracies.
        delta: the probability of a new best at which a run is given up; .05 is the published choice.
        min_steps: values that the network must be shown before a run may be stopped.
        device: where the network runs: "cpu", "cuda", or "auto" for a GPU if there is one.

    Raises:
        CheckpointError: the checkpoint cannot be loaded or does not extrapolate learning curves.
        ValueError: settings that cannot be used.

    Example:
        >>> stopper = EarlyStopper(max_steps=50)  # doctest: +SKIP
        >>> for epoch in range(50):  # doctest: +SKIP
        ...     accuracies.append(train_and_validate(model))
        ...     if stopper.decide(accuracies, best=best_of_earlier_runs):
        ...         break
    """

    def __init__(
        self,
        max_steps: int,
        checkpoint: AnyPath | Checkpoint = "learning-curve",
        *,
        normalizer: CurveNormalizer | None = None,
        delta: float = 0.05,
        min_steps: int = 2,
        device: str | torch.device = "cpu",
    ) -> None:
        check_count("max_steps", max_steps)
        check_count("min_steps", min_steps)
        if not 0 < delta < 1:
            raise ValueError(f"delta must be a probability between 0 and 1, such as .05, not {delta!r}.")
        self.max_steps, self.min_steps, self.delta = max_steps, min_steps, delta
        self._minimize = normalizer is not None and normalizer.minimize
        loaded, there = open_checkpoint(checkpoint, ("horizon",), "extrapolate learning curves"), resolve_device(device)
        network = network_on(loaded.network, there)  # moved once: the extrapolator is fitted at every decision
        self._stride = math.ceil(max_steps / int(network.horizon))
        unchecked = {**loaded.metadata, "prior_check": None}  # a curve that grows would be warned of at every step
        loaded = replace(loaded, network=network, metadata=unchecked)
        self._extrapolator = LearningCurveExtrapolator(loaded, normalizer=normalizer, device=there)

    def decide(self, curve: ArrayLike, best: float | None = None) -> StopDecision:
        """Whether to stop a run.

        Args:
            curve: its values at the steps 1 … T, (T,); NaN where none was measured, which the last one may not be.
            best: the best value of earlier runs, where there are any.

        Raises:
            ValueError: values that the normalizer or the network does not take, or a best value that is not finite.
        """
        return self._decide([_one(curve)], best)[0]

    def decide_many(self, curves: Sequence[ArrayLike] | ndarray, best: float | None = None) -> list[StopDecision]:
        """Whether to stop each of several runs; the network sees them all at once.

        Args:
            curves: a list of n curves of any lengths, or an array (n, T) in which NaN at the end of a row is padding.
            best: as for `decide`; each run is judged by it and by its own values.

        Raises:
            ValueError: as `decide`.
        """
        return self._decide([_unpadded(_one(curve)) for curve in curves], best)

    def reach(self, curves: Sequence[ArrayLike] | ndarray) -> ndarray:
        """What each run may still reach: its largest 1 - delta quantile over the later steps.

        This is the rule in other words: a run is stopped when the best value is at least as good as its reach.

        Args:
            curves: as for `decide_many`, with less than max_steps values each.

        Returns:
            (n,), float64, in the user's units.

        Raises:
            ValueError: a curve without later steps, or values that the normalizer or the network does not take.
        """
        runs = [_unpadded(_one(curve)) for curve in curves]
        if max(map(len, runs)) >= self.max_steps:
            raise ValueError(f"A run with max_steps = {self.max_steps} values has no later steps.")
        queries = self._fit(runs)
        level = self.delta if self._minimize else 1 - self.delta
        return self._best(self._extrapolator.quantiles(queries, [level])[..., 0], axis=1)

    def _decide(self, runs: Sequence[ndarray], best: float | None) -> list[StopDecision]:
        """One decision per run, (T,) each."""
        if best is not None and not math.isfinite(best):
            raise ValueError(f"best must be a finite number, or None where there is no earlier run, not {best!r}.")
        given = [] if best is None else [best]
        decisions = [StopDecision(self._over(run), math.nan, None, self._to_beat(run, given)) for run in runs]
        asked = [i for i, run in enumerate(runs) if not decisions[i] and self._enough(run)]
        if asked:
            queries = self._fit([runs[i] for i in asked])
            to_beat = [decisions[i].best for i in asked]
            probabilities = self._extrapolator.probability_better(to_beat, queries)  # (n, m)
            for i, steps, row in zip(asked, queries, probabilities, strict=True):
                largest, step = float(row.max()), min(int(steps[row.argmax()]) * self._stride, self.max_steps)
                decisions[i] = StopDecision(largest <= self.delta, largest, step, decisions[i].best)
        return decisions

    def _fit(self, runs: Sequence[ndarray]) -> ndarray:
        """Shows runs to the network and returns its steps that are still to come, (n, m).

        Runs with fewer of them than others repeat the last one.
        """
        shown = [self._shown(run) for run in runs]
        self._extrapolator.fit(shown)
        first, last = np.array([[len(run) + 1] for run in shown]), math.ceil(self.max_steps / self._stride)
        return np.minimum(first + np.arange(last + 1 - first.min()), last)

    def _shown(self, run: ndarray) -> ndarray:
        """The values of a run (T,) that the network is shown."""
        return run[self._stride - 1 :: self._stride]

    def _enough(self, run: ndarray) -> bool:
        """Whether the network is shown enough of a run."""
        return np.isfinite(self._shown(run)).sum() >= self.min_steps

    def _over(self, run: ndarray) -> bool:
        """Whether a run has had all its steps, or has diverged."""
        return len(run) >= self.max_steps or not np.isfinite(run[-1:]).all()

    def _to_beat(self, run: ndarray, given: list[float]) -> float:
        """The best of the values of a run (T,) and of those given; NaN without any."""
        values = np.append(run[np.isfinite(run)], given)
        return float(self._best(values)) if values.size else math.nan

    def _best(self, values: ndarray, axis: int | None = None) -> ndarray:
        """The best values along an axis."""
        return values.min(axis) if self._minimize else values.max(axis)


def _one(curve: ArrayLike) -> ndarray:
    """The values of one curve, (T,)."""
    values = np.asarray(curve, float)
    if values.ndim != 1:
        raise ValueError("A curve must be a list of numbers. For several curves there is decide_many.")
    return values


def _unpadded(curve: ndarray) -> ndarray:
    """A curve (T,) without the NaN at its end."""
    return curve[: np.flatnonzero(~np.isnan(curve)).max(initial=-1) + 1]
