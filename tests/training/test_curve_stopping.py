"""The Lightning callback on real, tiny trainings whose metric is a script."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader

from priorfit.checkpoints import CheckpointError
from priorfit.predictors.curve_normalizer import CurveNormalizer
from priorfit.predictors.early_stopping import EarlyStopper
from priorfit.training import curve_stopping
from priorfit.training.curve_stopping import LearningCurveStopping
from tests.predictors.trend_network import trend

FALLING = [0.2, 0.5, 0.55, 0.5, 0.3, 0.6, 0.7, 0.8]  # a network that expects no change gives up at the fifth
ERRORS = CurveNormalizer(minimize=True)


class Scripted(LightningModule):
    """Logs one value of a list per validation in training."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.layer, self.values = nn.Linear(1, 1), values
        self.register_buffer("validations", torch.tensor(0))  # a resumed training goes on with the list

    def training_step(self, batch: Tensor) -> Tensor:
        return self.layer(batch).mean()

    def validation_step(self, batch: Tensor) -> None:
        self.log("metric", self.values[int(self.validations)])

    def on_validation_epoch_end(self) -> None:
        self.validations += not self.trainer.sanity_checking

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def make_trainer(callback: LearningCurveStopping, folder: Path, **options: Any) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    settings = {"accelerator": "cpu", "max_epochs": 8, "logger": False, **quiet, **options}
    return Trainer(callbacks=[callback], default_root_dir=folder, log_every_n_steps=1, **settings)


def loader() -> DataLoader:
    return DataLoader(torch.ones(4, 1), batch_size=2)  # type: ignore[arg-type]


def fit(
    values: list[float], folder: Path, *, trainer: dict[str, Any] | None = None, **settings: Any
) -> LearningCurveStopping:
    callback = LearningCurveStopping("metric", **{"checkpoint": trend(), **settings})
    make_trainer(callback, folder, **(trainer or {})).fit(Scripted(values), loader(), loader())
    return callback


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the callback tells."""
    told: list[str] = []
    monkeypatch.setattr(curve_stopping, "rank_zero_info", told.append)
    return told


def test_the_training_stops_where_the_rule_says(tmp_path: Path, messages: list[str]) -> None:
    callback = fit(FALLING, tmp_path)
    assert callback.history == pytest.approx(FALLING[:5])  # nothing of the sanity check
    assert callback.decision == EarlyStopper(8, trend()).decide(callback.history)
    assert callback.reason.startswith("stopping after 5 of 8 validations, because the probability of beating 0.55 is")
    assert messages == [f"metric: {callback.reason}"]


def test_verbose(tmp_path: Path, messages: list[str]) -> None:
    callback = fit(FALLING, tmp_path, verbose=True)
    assert len(messages) == 5
    assert messages[:2] == [
        "metric: too few validations to predict from",
        "metric: the probability of beating 0.5 is at most 0.5 (at 3)",
    ]
    assert messages[-1] == f"metric: {callback.reason}"


def test_a_training_that_promises_more_is_complete(tmp_path: Path) -> None:
    callback = fit(sorted(FALLING), tmp_path)
    assert callback.history == pytest.approx(sorted(FALLING))
    assert callback.reason == "stopping, because all 8 validations are done."


def test_the_best_of_earlier_trainings(tmp_path: Path) -> None:
    assert len(fit(FALLING, tmp_path, best=0.9).history) == 2


def test_losses_are_normalised_by_their_first_value(tmp_path: Path) -> None:
    losses = CurveNormalizer.loss(2.0).inverse_transform([*FALLING[:1], *FALLING]).tolist()[1:]
    losses[0] = 2.0
    callback = fit(losses, tmp_path, mode="min")
    assert len(callback.history) == 5
    expected = EarlyStopper(8, trend(), normalizer=CurveNormalizer.loss(2.0)).decide(callback.history)
    assert callback.decision == expected


def test_a_normalizer_of_ones_own(tmp_path: Path) -> None:
    errors = ERRORS.inverse_transform(FALLING).tolist()
    callback = fit(errors, tmp_path, mode="min", normalizer=ERRORS)
    assert callback.history == pytest.approx(errors[:5])


def test_a_resumed_training_keeps_its_history(tmp_path: Path) -> None:
    first = LearningCurveStopping("metric", checkpoint=trend())
    trainer = make_trainer(first, tmp_path, max_epochs=3)
    first.max_steps = 8
    trainer.fit(Scripted(FALLING), loader(), loader())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert len(first.history) == 3

    resumed = LearningCurveStopping("metric", checkpoint=trend())
    make_trainer(resumed, tmp_path).fit(Scripted(FALLING), loader(), loader(), ckpt_path=tmp_path / "last.ckpt")
    assert resumed.history == pytest.approx(FALLING[:5])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_diverged_training_stops(value: float, mode: str, tmp_path: Path) -> None:
    callback = fit([value, 0.5], tmp_path, mode=mode)
    assert len(callback.history) == 1
    assert callback.reason == f"stopping, because validation 1 found {value}."


def test_min_epochs_are_respected(tmp_path: Path) -> None:
    callback = fit([0.5, 0.1, math.nan, *FALLING], tmp_path, trainer={"min_epochs": 4})
    assert len(callback.history) == 4


def test_validations_of_a_full_training(tmp_path: Path) -> None:
    every_second = fit(sorted(FALLING), tmp_path, trainer={"check_val_every_n_epoch": 2})
    assert every_second.reason == "stopping, because all 4 validations are done."
    twice_per_epoch = {"max_epochs": 3, "val_check_interval": 0.5}
    assert len(fit(sorted(FALLING), tmp_path, trainer=twice_per_epoch, max_steps=6).history) == 6
    for options in (twice_per_epoch, {"max_epochs": -1, "max_steps": 20}):
        with pytest.raises(MisconfigurationException, match=r"LearningCurveStopping\(max_steps=…\)"):
            fit(FALLING, tmp_path, trainer=options)


def test_it_is_idle_outside_of_training(tmp_path: Path) -> None:
    assert fit(FALLING, tmp_path, trainer={"fast_dev_run": True}).history == []
    callback = LearningCurveStopping("metric", checkpoint=trend())
    make_trainer(callback, tmp_path).validate(Scripted(FALLING), loader(), verbose=False)
    assert callback.history == []


def test_a_missing_metric(tmp_path: Path) -> None:
    callback = LearningCurveStopping("val/accuracy", checkpoint=trend())
    trainer = make_trainer(callback, tmp_path)
    with pytest.raises(RuntimeError, match=r"'val/accuracy', which was not logged.*one of: metric"):
        trainer.fit(Scripted(FALLING), loader(), loader())


def test_a_checkpoint_that_is_missing_is_missed_before_the_first_epoch(tmp_path: Path) -> None:
    callback = LearningCurveStopping("metric", checkpoint="leaning-curve")
    trainer = make_trainer(callback, tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint and no file named"):
        trainer.fit(Scripted(FALLING), loader(), loader())
    assert trainer.global_step == 0


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mode must be 'min' or 'max'"):
        LearningCurveStopping("metric", "maximum")
    with pytest.raises(ValueError, match="mode='max' contradicts the normalizer"):
        LearningCurveStopping("metric", normalizer=ERRORS)
    with pytest.raises(MisconfigurationException, match="metric starts at -1, and only losses above 0"):
        fit([-1.0, -2.0], tmp_path, mode="min")


def test_two_of_them_are_kept_apart_in_checkpoints() -> None:
    keys = {LearningCurveStopping(monitor).state_key for monitor in ("one", "two")}
    assert len(keys) == 2
