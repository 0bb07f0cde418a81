"""Files of tasks: what is read is what was written, nothing is lost by interruption, and no file is trusted blindly."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from priorfit.priors import Regression, Task
from priorfit.task_files import TaskFile, write_reference, write_tasks
from priorfit.task_files.packing import pack_task
from tests.broken_files import cut_off, foreign, text
from tests.cases import PRIORS, PriorCase, assert_same
from tests.task_files.files import BATCH, PRIOR, stream, training_key, write


@pytest.mark.parametrize("case", PRIORS, ids=lambda case: case.id)
def test_tasks_of_every_prior_come_back_bit_for_bit(case: PriorCase, tmp_path: Path) -> None:
    prior = case.build()
    file = write(tmp_path / "tasks.h5", 3, prior)
    assert len(file) == 3
    assert file.tasks == 3 * BATCH
    assert type(file.prior) is type(prior)
    assert file.prior.arguments == prior.arguments
    for number in (2, 0, 1):
        expected, task = stream(prior).batch(number), file.batch(number)
        assert type(task.observed) is type(expected.observed)
        assert type(task.law) is type(expected.law)
        assert_same(task, expected, rtol=0, atol=0, equal_nan=True)


def test_an_interrupted_run_goes_on_and_gives_the_file_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("priorfit.task_files.writing.BYTES", 0)  # every batch is written at once
    whole, broken = write(tmp_path / "whole.h5", 9), tmp_path / "broken.h5"
    for until in (2, 3, 7):
        with pytest.raises(KeyboardInterrupt):
            write(broken, 9, until=until)
        assert len(TaskFile(broken)) == until
        with pytest.raises(ValueError, match=rf"has {until} of 9 batches: finish it with the command that began it"):
            TaskFile(broken).check_complete()
    resumed = write(broken, 9)
    assert resumed.check_complete().digest == whole.digest
    assert contents(broken) == contents(tmp_path / "whole.h5")
    longer = write(broken, 12)
    assert longer.digests[:9] == whole.digests
    assert contents(broken) == contents(write(tmp_path / "twelve.h5", 12).path)


def contents(path: Path) -> dict[str, Any]:
    """All data sets of a file, and its attributes but the date."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()].tolist()}) if hasattr(item, "dtype") else None)
        return {**found, **{key: value for key, value in file.attrs.items() if key != "provenance"}}


def test_what_a_killed_run_left_behind_the_last_batch_is_written_again(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.h5", 4).path
    with h5py.File(path, "r+") as file:  # as if killed between two data sets
        for name in ("arrays/hidden/values", "arrays/hidden/shapes", "index/layout"):
            data: Any = file[name]
            data.resize(len(data) + 5, 0)
    assert write(path, 6).digest == write(tmp_path / "other.h5", 6).digest
    assert_same(TaskFile(path).batch(5), stream().batch(5))


def test_layouts_may_differ_between_batches(tmp_path: Path) -> None:
    """Some parts of a mixture may know a law and others not."""
    tasks = [stream().batch(index) for index in range(4)]
    tasks[0], tasks[2] = (Task(task.observed, task.hidden) for task in (tasks[0], tasks[2]))
    write_tasks(tmp_path / "tasks.h5", training_key(), 4, lambda first: tasks[first:], lambda n: None)
    file = TaskFile(tmp_path / "tasks.h5")
    for number, task in enumerate(tasks):
        assert_same(file.batch(number), task)
        assert (file.batch(number).law is None) == (number in (0, 2))


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    file = write(tmp_path / "tasks.h5", 2)
    with h5py.File(file.path) as stored:
        attributes: Any = stored.attrs
        assert json.loads(attributes["key"]) == training_key()
        assert attributes["format"] == "priorfit tasks"
        assert "torch" in json.loads(attributes["provenance"])
        data: Any = stored["arrays/observed.x_context/values"]
        assert data.chunks is not None
        assert data.fletcher32
        assert data.dtype == np.float32
    assert_same(pickle.loads(pickle.dumps(file)).batch(1), file.batch(1))


def flipped(path: Path) -> None:
    """Changes one stored number behind HDF5's back."""
    content, stored = path.read_bytes(), stream().batch(1).hidden.numpy().tobytes()
    assert content.count(stored) == 1
    path.write_bytes(content.replace(stored, stored[:-1] + bytes([stored[-1] ^ 1])))


def rewritten(path: Path) -> None:
    """Changes one number through HDF5, which then has the right checksum."""
    with h5py.File(path, "r+") as file:
        data: Any = file["arrays/hidden/values"]
        data[7] += 1


def other_key(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        attributes: Any = file.attrs
        attributes["key"] = attributes["key"].replace('"seed": 3', '"seed": 4')


def lacking(name: str) -> Callable[[Path], None]:
    def remove(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            data: Any = file[name]
            data.resize(1, 0)

    return remove


def newer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (text, "Cannot use .* move it away"),
        (cut_off, "Cannot use .* move it away"),
        (flipped, "Cannot use .* move it away"),
        (rewritten, "Cannot use .*batch [01] was changed"),
        (other_key, "Cannot use .*key was changed"),
        (lacking("index/digest"), "Cannot use .*lacks rows"),
        (lacking("arrays/hidden/values"), "Cannot use .*'hidden' lacks rows"),
        (foreign, "is no file of priorfit tasks"),
        (newer, "newer priorfit"),
    ],
)
def test_files_that_cannot_be_used_are_refused_and_stay(
    damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "tasks.h5", 2).path
    damage(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        [TaskFile(path).batch(number) for number in (0, 1)]
    if damage not in (flipped, rewritten):  # these are noticed where they are read
        with pytest.raises(ValueError, match=message):
            write(path, 3)
    assert path.read_bytes() == before


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no file .*tasks\.h5"):
        TaskFile(tmp_path / "tasks.h5")


def test_a_prior_that_is_unknown_or_no_longer_builds_is_named(tmp_path: Path) -> None:
    unknown = {"name": "gausian_process", "arguments": {}}
    older = {"name": "gaussian_process", "arguments": {"length": 1}}
    for prior, message in ((unknown, "did you mean 'gaussian_process'"), (older, "takes no argument")):
        path = tmp_path / f"{prior['name']}.h5"
        write_tasks(path, {**training_key(), "prior": prior}, 1, lambda first: [stream().batch(0)], lambda n: None)
        assert_same(TaskFile(path).batch(0), stream().batch(0))  # the tasks can be read all the same
        with pytest.raises(ValueError, match=f"cannot be built: .*{message}"):
            _ = TaskFile(path).prior


@pytest.mark.parametrize(
    ("prior", "seed", "differing"),
    [(PRIOR.replace(noise=0.2), 3, "prior"), (PRIOR, 4, "seed"), (PRIOR.replace(noise=0.2), 4, "prior, seed")],
)
def test_tasks_of_another_prior_or_seed_are_not_mixed_in(prior: Any, seed: int, differing: str, tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.h5", 2).path
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"holds other tasks .*they differ in {differing}\."):
        write(path, 3, prior, seed)
    assert path.read_bytes() == before


def test_a_prior_whose_code_draws_differently_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.h5", 2).path
    with pytest.raises(ValueError, match="another version of the prior's code"):
        write_tasks(path, training_key(), 3, lambda first: map(stream(seed=9).batch, [1, 2]), lambda n: None)


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "tasks.h5"

    def overtaken(first: int) -> Any:
        yield stream().batch(0)
        write(path, 3)
        yield stream().batch(1)

    with pytest.raises(ValueError, match="Another process writes"):
        write_tasks(path, training_key(), 2, overtaken, lambda n: None)
    assert_same(TaskFile(path).batch(2), stream().batch(2))


class Strange(NamedTuple):
    """Observations of somebody's own."""

    x: Tensor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda task: Task(Strange(task.hidden), task.hidden), "class 'Strange' cannot be stored"),
        (lambda task: Task(task.observed, task.hidden * torch.nan), "'hidden' has values that are NaN"),
        (lambda task: Task(Regression(*(part[:2] for part in task.observed)), task.hidden), "a row for each of 4"),
    ],
)
def test_tasks_that_cannot_be_stored_say_why(change: Callable[[Task], Task], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack_task(change(stream().batch(0)))


def scores(number: int) -> dict[str, np.ndarray]:
    return {"log_prob": number + np.zeros((BATCH, 2 + number)), "rhat": np.full(BATCH, 1.5)}


def test_a_reference_is_computed_once_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, done = write(tmp_path / "tasks.h5", 4).path, []

    def compute(missing: range, until: int = 1000) -> Any:
        for number in missing:
            if number == until:
                raise KeyboardInterrupt
            done.append(number)
            yield scores(number)

    with pytest.raises(KeyboardInterrupt):
        write_reference(path, "slow", {"steps": 3}, lambda missing: compute(missing, 2), lambda n: None)
    with pytest.raises(ValueError, match=r"reference 'slow' .* has 2 of 4 batches: finish it with"):
        TaskFile(path).reference("slow", 0)
    for _ in range(2):
        write_reference(path, "slow", {"steps": 3}, compute, lambda n: None)
    assert done == [0, 1, 2, 3]
    file = TaskFile(path)
    assert file.references == ["slow"]
    for number in range(4):
        for name, values in scores(number).items():
            np.testing.assert_array_equal(file.reference("slow", number)[name], values)
    with pytest.raises(ValueError, match="has no reference 'slwo': did you mean 'slow'"):
        file.reference("slwo", 0)
    with pytest.raises(ValueError, match="'slow' with other settings"):
        write_reference(path, "slow", {"steps": 4}, compute, lambda n: None)
    write(path, 5)
    with pytest.raises(ValueError, match="has 4 of 5 batches"):
        TaskFile(path).reference("slow", 0)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"log_prob": np.full((BATCH, 2), np.nan)}, "8 of 8 log densities of the reference 'bad' are not finite"),
        ({"log_prob": np.zeros(BATCH)}, r"must give log_prob \(B, S\)"),
        ({"log_prob": np.zeros((BATCH, 2)), "rhat": np.ones(1)}, "diagnostics with B rows"),
        ({"rhat": np.ones(BATCH)}, "must give log_prob"),
    ],
)
def test_scores_that_no_evaluation_could_use_are_refused(found: dict, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "tasks.h5", 1).path
    with pytest.raises(ValueError, match=message):
        write_reference(path, "bad", {}, lambda missing: [found], lambda n: None)
