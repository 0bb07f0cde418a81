"""Every option of every configuration group composes, builds, and begins with what it is and how to run it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from priorfit.models import Network
from priorfit.priors import Prior
from priorfit.training.instantiate import instantiate

CONFIGS = Path(__file__).resolve().parents[2] / "priorfit" / "configs"
OPTIONS = sorted((path.parent.name, path.stem) for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "evaluation")


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds(group: str, option: str, tmp_path: Path) -> None:
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        config = compose("train", [f"{group}={option}", f"output={tmp_path}", "name=test"])
    prior, network = instantiate(config.prior), instantiate(config.model)
    assert isinstance(prior, Prior)
    assert isinstance(network, Network)
    assert instantiate(config.optimizer)(network.named_parameters()).param_groups
    assert all(instantiate(callback) for callback in config.callbacks.values())
    if option != "wandb":  # run offline in test_train.py
        assert instantiate(config.logger)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_begins_with_what_it_is_and_the_command_that_runs_it(path: Path) -> None:
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")][:4]
    assert any("python train.py" in line or "python evaluate.py" in line for line in comments)
