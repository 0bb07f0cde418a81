"""End-to-end runs of `train.py`: finishing, resuming, several processes, and refusing what cannot work."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors.torch import load_file

from priorfit import checkpoints
from priorfit.training import main
from tests.training.commands import ROOT, TINY, command, environment, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run of twenty steps."""
    folder = tmp_path_factory.mktemp("finished")
    run = train(folder, "trainer.max_steps=20")
    assert run.returncode == 0, run.stderr
    assert "loss=" in run.stderr + run.stdout  # the progress bar shows the loss
    assert "gap" in run.stderr + run.stdout  # and the command ends with the gap
    return folder


def test_a_run_leaves_a_checkpoint_that_predicts_and_says_what_it_is(finished: Path) -> None:
    checkpoint = checkpoints.read(finished / "checkpoint.safetensors")
    mean = checkpoint.network(torch.rand(2, 3, 1), torch.randn(2, 3), torch.rand(2, 5, 1)).mean
    assert mean.shape == (2, 5)
    assert mean.isfinite().all()
    assert checkpoint.prior.arguments["sizes"]["points"] == 12
    assert checkpoint.metadata["training"]["steps"] == 20
    assert checkpoint.metadata["training"]["tasks"] == 80
    assert {"gap", "gap/n=1", "gap/n=5"} <= set(checkpoint.metadata["metrics"]["validation"])


@pytest.mark.parametrize("kill_after", [1, 7])
def test_a_killed_and_resumed_run_ends_with_bit_identical_weights(
    finished: Path, tmp_path: Path, kill_after: int
) -> None:
    arguments = ("trainer.max_steps=20", "checkpoint_every=1", "resume=true")
    process = subprocess.Popen(
        [*command(tmp_path, *arguments), "+callbacks.slow._target_=tests.training.slow_steps.SlowSteps"],
        env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for_step(tmp_path / "last.ckpt", kill_after, process)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    stopped = step_of(tmp_path / "last.ckpt")
    assert kill_after <= stopped < 20
    assert not (tmp_path / "checkpoint.safetensors").exists()

    resumed = train(tmp_path, *arguments)
    assert resumed.returncode == 0, resumed.stderr
    expected = load_file(finished / "checkpoint.safetensors")
    actual = load_file(tmp_path / "checkpoint.safetensors")
    assert expected.keys() == actual.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, actual[name]), name


def test_a_run_killed_before_its_checkpoint_was_written_writes_the_same_one(tmp_path: Path) -> None:
    arguments = ("trainer.max_steps=4", "checkpoint_every=2", "resume=true")
    train(tmp_path, *arguments)
    expected = load_file(tmp_path / "checkpoint.safetensors")
    (tmp_path / "checkpoint.safetensors").unlink()
    train(tmp_path, *arguments)
    actual = load_file(tmp_path / "checkpoint.safetensors")
    assert all(torch.equal(tensor, actual[name]) for name, tensor in expected.items())


def step_of(path: Path) -> int:
    """The step at which a resume point was written."""
    return torch.load(path, weights_only=True)["global_step"]


def wait_for_step(path: Path, step: int, process: subprocess.Popen) -> None:
    """Waits until a resume point of at least this step is on disk."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        if path.exists() and step_of(path) >= step:
            return
        time.sleep(0.05)
    raise AssertionError("no resume point was written")


def test_two_processes_train_on_distinct_tasks_to_identical_weights(tmp_path: Path) -> None:
    run = train(
        tmp_path, "trainer.max_steps=3", "trainer.devices=2", "+trainer.strategy=ddp",
        f"+callbacks.record={{_target_: tests.training.record_rank.RecordRank, folder: {tmp_path}}}",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert len(first["batches"]) == len(second["batches"]) == 3
    assert len({*first["batches"], *second["batches"]}) == 6


def test_a_finished_run_is_not_overwritten(finished: Path) -> None:
    before = (finished / "checkpoint.safetensors").read_bytes()
    run = train(finished, "trainer.max_steps=20")
    assert run.returncode != 0
    assert "resume=true" in run.stderr
    assert (finished / "checkpoint.safetensors").read_bytes() == before


def test_another_training_is_not_resumed(finished: Path) -> None:
    run = train(finished, "trainer.max_steps=30", "resume=true", "seed=5")
    assert run.returncode != 0
    assert "another prior or network, or with another seed" in run.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prior.lengthscale=-1", "lengthscale must be a positive number"),
        ("prior.kernel=rfb", "did you mean 'rbf'"),
        ("prior.sizes.context=12", "leaves no query"),
        ("+prior.lenghtscale=1", "did you mean 'lengthscale'"),
        ("+prior.sizes.point=1", "sizes takes"),
        ("model.n_heads=3", "multiple of n_heads"),
        ("resume=nowhere.ckpt", "no checkpoint to resume from"),
    ],
)
def test_an_impossible_configuration_says_what_to_do(tmp_path: Path, override: str, message: str) -> None:
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        config = compose("train", [*TINY, override, f"output={tmp_path}", "name=test"])
    with pytest.raises(ValueError, match=message):
        main.train(config)


def test_an_unknown_option_is_answered_with_the_nearest(tmp_path: Path) -> None:
    run = train(tmp_path, "prior=gaussian_proces", "optimiser=muon")
    assert run.returncode != 0
    assert "did you mean 'gaussian_process'" in run.stderr
    assert "did you mean 'optimizer'" in run.stderr


def test_wandb_works_offline(tmp_path: Path) -> None:
    run = train(tmp_path, "trainer.max_steps=2", "logger=wandb")
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
