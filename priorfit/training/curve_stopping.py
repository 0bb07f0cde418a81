"""A Lightning callback that stops a training when its extrapolated learning curve promises no new best."""

from __future__ import annotations

import math
import os
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.hub import load
from priorfit.predictors.curve_normalizer import CurveNormalizer
from priorfit.predictors.early_stopping import EarlyStopper, StopDecision


class LearningCurveStopping(Callback):
    """Stops the training when no later validation beats the best value so far with a probability above delta.

    The rule is that of `EarlyStopper`, asked after every validation. Like Lightning's `EarlyStopping`, the callback
    stops a training whose metric is NaN or infinite, respects the trainer's `min_epochs`, and is idle in the sanity
    check and in `fast_dev_run`. Its history is part of the trainer's checkpoints: a resumed training keeps it.

    Args:
        monitor: the metric, logged in validation.
        mode: "max" where higher is better, "min" where lower is.
        max_steps: validations in a full training; by default as many as the trainer's `max_epochs` brings.
        checkpoint: the network, as for `EarlyStopper`.
        normalizer: maps the metric to [0, 1] with higher better. By default, a metric with mode="max" is taken to lie
            there already, and one with mode="min" to be a loss that is never negative, for which
            `CurveNormalizer.loss` is used with the first validation's value in place of an untrained model's.
        delta: the probability of a new best at which the training is given up.
        min_steps: validations that the network must be shown before it may stop the training.
        best: the best value of earlier trainings; by default, this training's own best is what must be beaten.
        verbose: whether to tell the probability after every validation, not only why the training stops.

    Attributes:
        history: the monitored values so far.
        decision: the last decision, None before the first.
        reason: why the training was stopped; empty if it was not.

    Raises:
        ValueError: a mode that there is not, or that contradicts the normalizer.
        CheckpointError, ValueError, MisconfigurationException: when fitting starts, what cannot be used of the others.
        RuntimeError: at the first validation, if it does not log the metric.

    Example:
        >>> trainer = Trainer(max_epochs=50, callbacks=[LearningCurveStopping("val/accuracy")])  # doctest: +SKIP
        >>> trainer = Trainer(max_epochs=50, callbacks=[LearningCurveStopping("val/loss", "min")])  # doctest: +SKIP
    """

    def __init__(
        self,
        monitor: str = "val/accuracy",
        mode: str = "max",
        *,
        max_steps: int | None = None,
        checkpoint: AnyPath | Checkpoint = "learning-curve",
        normalizer: CurveNormalizer | None = None,
        delta: float = 0.05,
        min_steps: int = 2,
        best: float | None = None,
        verbose: bool = False,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', not {mode!r}.")
        if normalizer is not None and normalizer.minimize != (mode == "min"):
            raise ValueError(f"mode='{mode}' contradicts the normalizer, whose minimize is {normalizer.minimize}.")
        self.monitor, self.mode, self.max_steps, self.checkpoint = monitor, mode, max_steps, checkpoint
        self.normalizer, self.delta, self.min_steps = normalizer, delta, min_steps
        self.best, self.verbose = best, verbose
        self.history: list[float] = []
        self.decision: StopDecision | None = None
        self.reason = ""

    @property
    def state_key(self) -> str:
        """Keeps several of these callbacks apart in a checkpoint."""
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"history": list(self.history)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a trainer's checkpoint."""
        self.history = list(state_dict["history"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Loads the network, and refuses what cannot work before any epoch is spent on it."""
        if isinstance(self.checkpoint, str | os.PathLike):
            self.checkpoint = load(self.checkpoint)
        self._stopper(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Asks the network and stops the trainer if need be."""
        trying = trainer.sanity_checking or trainer.fast_dev_run  # pyright: ignore[reportAttributeAccessIssue]
        if trying or trainer.state.fn != TrainerFn.FITTING:
            return
        self.history.append(self._monitored(trainer))
        stopper = self._stopper(trainer)
        self.decision = stopper.decide(self.history, self.best)
        stop = trainer.strategy.reduce_boolean_decision(self.decision.stop, all=False)  # all processes, if one does
        trainer.should_stop = trainer.should_stop or stop
        if self.decision.stop:
            self.reason = self._explain(self.decision, stopper.max_steps)
        if self.decision.stop or self.verbose:
            rank_zero_info(f"{self.monitor}: {self.reason if self.decision.stop else describe(self.decision)}")

    def _monitored(self, trainer: Trainer) -> float:
        """The metric of this validation."""
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            raise RuntimeError(
                f"LearningCurveStopping watches '{self.monitor}', which was not logged. Log it in validation_step, or "
                f"set monitor to one of: {', '.join(metrics) or 'nothing was logged'}."
            )
        return float(metrics[self.monitor].squeeze())

    def _stopper(self, trainer: Trainer) -> EarlyStopper:
        """The rule for this training."""
        normalizer = self.normalizer
        if normalizer is None and self.mode == "min":
            normalizer = self._loss()
        return EarlyStopper(
            self._planned(trainer) if self.max_steps is None else self.max_steps,
            self.checkpoint,
            normalizer=normalizer,
            delta=self.delta,
            min_steps=self.min_steps,
        )

    def _loss(self) -> CurveNormalizer:
        """For a loss that starts where the history does."""
        first = next(filter(math.isfinite, self.history), 1.0)  # without a history, nothing is normalised either
        if first <= 0:
            raise MisconfigurationException(
                f"{self.monitor} starts at {first:g}, and only losses above 0 are normalised without being told how: "
                "LearningCurveStopping(normalizer=CurveNormalizer(…, minimize=True)) says which values it can have."
            )
        return CurveNormalizer.loss(first)

    @staticmethod
    def _planned(trainer: Trainer) -> int:
        """Validations in a full training."""
        epochs, every = trainer.max_epochs or -1, trainer.check_val_every_n_epoch
        if epochs < 1 or every is None or trainer.val_check_interval != 1.0:
            raise MisconfigurationException(
                "How many validations a full training has does not follow from the trainer's max_epochs here. "
                "Say it: LearningCurveStopping(max_steps=…)."
            )
        return epochs // every

    def _explain(self, decision: StopDecision, max_steps: int) -> str:
        """Why the training is stopped."""
        done, value = len(self.history), self.history[-1]
        if not math.isfinite(value):
            return f"stopping, because validation {done} found {value}."
        if done >= max_steps:
            return f"stopping, because all {max_steps} validations are done."
        return f"stopping after {done} of {max_steps} validations, because {describe(decision)}."


def describe(decision: StopDecision) -> str:
    """The largest probability of a decision, in words."""
    if decision.step is None:
        return "too few validations to predict from"
    return f"the probability of beating {decision.best:.4g} is at most {decision.probability:.2g} (at {decision.step})"
