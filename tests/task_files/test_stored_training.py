"""Training on tasks from a file: every batch once per epoch, in an order that resuming does not change."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from priorfit import checkpoints
from priorfit.evaluation.settings import Settings
from priorfit.priors import GaussianProcess
from priorfit.task_files import TaskFile
from priorfit.training.main import train
from priorfit.training.stored_stream import StoredStream
from tests.cases import assert_same
from tests.task_files.files import write, write_evaluation
from tests.task_files.stopping import Crash, Record
from tests.training.commands import TINY

PRIOR = GaussianProcess({"points": 10}, noise=0.3)


@pytest.fixture
def file(tmp_path: Path) -> TaskFile:
    return write(tmp_path / "tasks.h5", 5, PRIOR)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_epoch_gives_each_batch_once_to_one_rank(file: TaskFile, world_size: int) -> None:
    ranks = [StoredStream(file, 7, rank, world_size) for rank in range(world_size)]
    order = [rank.number(index) for index in range(5) for rank in ranks]  # as they are seen, `world_size` at a time
    epochs = [order[start : start + 5] for start in range(0, 5 * world_size, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(map(tuple, epochs))) == len(epochs)


def test_orders_depend_on_the_seed_and_on_nothing_else(file: TaskFile) -> None:
    def numbers(seed: int) -> list[int]:
        return [StoredStream(file, seed).number(index) for index in range(20)]

    first = numbers(1)
    torch.manual_seed(5)
    assert numbers(1) == first
    assert numbers(2) != first
    resumed = itertools.islice(StoredStream(file, 1, start=7), 4)
    for index, task in enumerate(resumed, 7):
        assert_same(task, file.batch(first[index]))


@pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*use of fork:DeprecationWarning")
def test_workers_do_not_change_the_order(file: TaskFile) -> None:
    loader = DataLoader(StoredStream(file, 1, start=3), batch_size=None, num_workers=2)
    for index, task in enumerate(itertools.islice(loader, 7), 3):
        assert_same(task, StoredStream(file, 1).batch(index))


def run(folder: Path, file: TaskFile | None, *overrides: str) -> Any:
    """A tiny training in this process."""
    changes = ["trainer.max_steps=8", "checkpoint_every=1", "preparation_tasks=200"]
    changes += [] if file is None else ["data=hdf5", f"path={file.path}"]
    record = "+callbacks.record={_target_: tests.task_files.stopping.Record}"
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        config = compose("train", [*TINY, record, *changes, *overrides, f"output={folder}", "name=test"])
    return train(config)


@pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers", "ignore:.*num_workers")
def test_a_training_reads_the_file_and_resumes_bit_for_bit(
    file: TaskFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Record.seen.clear()
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "whole", file, "batch_size=7")
    assert "of another prior than the configured one" in caplog.text
    assert "Batches have 4 tasks" in caplog.text
    expected = [StoredStream(file, 0).batch(index).hidden.sum().item() for index in range(8)]
    assert Record.seen == expected

    Record.seen.clear()
    with pytest.raises(Crash):
        run(tmp_path / "broken", file, "+callbacks.record.until=3")
    run(tmp_path / "broken", file, "resume=true")
    assert Record.seen == expected
    weights = [load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "broken")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())

    checkpoint = checkpoints.read(tmp_path / "whole" / "checkpoint.safetensors")
    assert checkpoint.prior.arguments == PRIOR.arguments
    assert checkpoint.metadata["training"]["file"] == {"name": "tasks.h5", "digest": file.digest, "batches": 5}
    assert checkpoint.metadata["training"]["config"]["batch_size"] == 4

    other = write(tmp_path / "other.h5", 5, PRIOR, seed=4)
    with pytest.raises(ValueError, match="another seed, batch size or file of tasks"):
        run(tmp_path / "broken", other, "resume=true", "trainer.max_steps=10")


def test_a_file_that_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Give path=FILE"):
        run(tmp_path, None, "data=hdf5")
    with pytest.raises(ValueError, match="There is no file"):
        run(tmp_path, None, "data=hdf5", "path=none.h5")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "tasks.h5", 5, PRIOR, until=2)
    with pytest.raises(ValueError, match="0 of 5 batches"):
        run(tmp_path, None, "data=hdf5", f"path={tmp_path / 'tasks.h5'}")


def test_tasks_of_an_evaluation_are_not_trained_on(tmp_path: Path) -> None:
    settings = Settings(context_sizes=[3], tasks=4, queries=2, batch_size=4)
    file = write_evaluation(tmp_path / "tasks.h5", PRIOR, settings)
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        config = compose("train", [*TINY, "data=hdf5", f"path={file.path}", f"output={tmp_path}", "name=test"])
    with pytest.raises(ValueError, match="are for evaluation"):
        train(config)
