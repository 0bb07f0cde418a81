"""What the README tells people to write works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.commands import ROOT, TINY, environment

README = (ROOT / "README.md").read_text()
SHIPPED = ROOT / "checkpoints"


def blocks(language: str) -> list[str]:
    """The README's code blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.skipif(not (SHIPPED / "tabular-regressor.safetensors").exists(), reason="not in this checkout")
def test_the_prediction_example_runs() -> None:
    (example,) = [block for block in blocks("python") if "load_diabetes" in block]
    names: dict = {}
    exec(example, names)
    assert names["mean"].shape == names["y_test"].shape
    assert np.all(names["low"] < names["high"])
    assert names["draws"].shape == (100, len(names["y_test"]))


@pytest.mark.skipif(not (SHIPPED / "gp-1d.safetensors").exists(), reason="not in this checkout")
def test_the_example_of_unlike_data_runs() -> None:
    (example,) = [block for block in blocks("python") if "unfamiliarity_" in block]
    names: dict = {}
    with pytest.warns(UserWarning, match="unlike what this network's prior draws"):
        exec(example, names)
    assert names["slow"].unfamiliarity_ < 1 < names["fast"].unfamiliarity_


@pytest.mark.skipif(not (SHIPPED / "gp-1d.safetensors").exists(), reason="not in this checkout")
def test_the_resampling_example_runs() -> None:
    (example,) = [block for block in blocks("python") if "predictive_resample" in block]
    names: dict = {}
    exec(example, names)
    assert names["posterior"].draws.shape == (100,)
    assert names["low"] < names["y"].mean() < names["high"]


@pytest.mark.skipif(not (SHIPPED / "tabular-classifier.safetensors").exists(), reason="not in this checkout")
def test_the_classification_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [block for block in blocks("python") if "PFNClassifier" in block]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    assert names["accuracy"] > 0.95
    assert names["probabilities"].shape == (len(names["y_test"]), 2)


@pytest.mark.skipif(not (SHIPPED / "learning-curve-wide.safetensors").exists(), reason="not in this checkout")
def test_the_learning_curve_example_runs() -> None:
    (example,) = [block for block in blocks("python") if "LearningCurveExtrapolator" in block]
    names: dict = {}
    exec(example, names)
    assert names["medians"].shape == (1, 2)
    assert names["low"] < names["medians"][0, 1] < names["high"]
    assert 0 < names["chance"][0] < 1
    assert names["futures"].shape == (200, 1, 4)
    assert names["axes"].lines


@pytest.mark.skipif(not (SHIPPED / "dt-sensor-fusion.safetensors").exists(), reason="not in this checkout")
def test_the_posterior_example_runs() -> None:
    (example,) = [block for block in blocks("python") if "PosteriorEstimator" in block]
    names: dict = {}
    exec(example, names)
    assert 0 < names["posterior"].mean.item() < 1
    assert names["beliefs"].batch_shape == (6,)
    assert np.abs(names["beliefs"].mean[:, [0, 2]].norm(dim=1).numpy()[[0, 1, 3, 4, 5]] / 2 - 1).max() < 0.5


@pytest.mark.skipif(not (SHIPPED / "markov-jump.safetensors").exists(), reason="not in this checkout")
def test_the_jump_process_example_runs() -> None:
    (example,) = [block for block in blocks("python") if "MarkovJumpEstimator" in block]
    names: dict = {}
    exec(example, names)
    off = ~np.eye(3, dtype=bool)
    inside = (names["low"] < names["rates"]) & (names["rates"] < names["high"])
    assert inside[off].sum() >= 4  # of six 90 % intervals
    assert names["future"].shape == (3,)


def test_a_prior_of_ones_own_trains_as_described(tmp_path: Path) -> None:
    (source,) = [block for block in blocks("python") if block.startswith("# my_priors.py")]
    (config,) = blocks("yaml")
    (tmp_path / "my_priors.py").write_text(source)
    (tmp_path / "my_configs" / "prior").mkdir(parents=True)
    (tmp_path / "my_configs" / "prior" / "random_lines.yaml").write_text(config)
    command = [sys.executable, str(ROOT / "train.py"), "--config-dir", "my_configs", "prior=random_lines", "name=lines"]
    run = subprocess.run(
        [*command, *TINY, "trainer.max_steps=2"],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "runs" / "lines" / "checkpoint.safetensors").exists()
    assert "val/loss" in run.stdout + run.stderr
