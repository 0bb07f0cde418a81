"""The cache of slow references: nothing is computed twice, and no file is trusted or overwritten blindly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from priorfit.evaluation.reference_cache import ReferenceCache, fingerprints, task_key
from priorfit.evaluation.scoring import draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.priors import GaussianProcess, LearningCurve, Task
from tests.broken_files import cut_off, foreign, text
from tests.cases import seeded

KEY: dict[str, Any] = {"prior": {"name": "toy", "arguments": {"scale": 2.0}}, "method": {"steps": 10}}
TASKS = [f"{index:016x}" for index in range(100)]


def row(index: int) -> dict[str, np.ndarray]:
    return {"log_prob": index + np.arange(3) / 4, "seconds": np.array(0.5 * index), "walk": np.full((2, 2), index)}


class Method:
    """A reference that counts what it computed and breaks off after `until` tasks."""

    def __init__(self, until: int = 1000) -> None:
        self.done: list[int] = []
        self.until = until

    def __call__(self, missing: range) -> Iterator[dict[str, np.ndarray]]:
        for index in missing:
            if index >= self.until:
                raise KeyboardInterrupt
            self.done.append(index)
            yield row(index)


@pytest.fixture
def cache(tmp_path: Path) -> ReferenceCache:
    return ReferenceCache(tmp_path / "cache", "slow", KEY)


def assert_rows(scores: dict[str, np.ndarray], n: int) -> None:
    assert set(scores) == {"log_prob", "seconds", "walk"}
    for name, values in scores.items():
        np.testing.assert_array_equal(values, np.stack([row(index)[name] for index in range(n)]))


def test_nothing_is_computed_twice(cache: ReferenceCache) -> None:
    first, second, third = Method(), Method(), Method()
    assert_rows(cache.complete(TASKS[:5], first), 5)
    assert first.done == [0, 1, 2, 3, 4]
    assert_rows(cache.complete(TASKS[:5], second), 5)
    assert_rows(cache.complete(TASKS[:3], second), 3)
    assert second.done == []
    assert_rows(cache.complete(TASKS, third), 100)
    assert third.done == list(range(5, 100))


def test_an_interrupted_run_goes_on(cache: ReferenceCache) -> None:
    with pytest.raises(KeyboardInterrupt):
        cache.complete(TASKS[:20], Method(until=7))
    rest = Method()
    assert_rows(cache.complete(TASKS[:20], rest), 20)
    assert rest.done == list(range(7, 20))


def test_a_row_that_was_not_finished_is_written_again(cache: ReferenceCache) -> None:
    cache.complete(TASKS[:4], Method())
    with h5py.File(cache.path, "r+") as file:  # as if killed between two data sets
        data: Any = file["scores/log_prob"]
        data.resize(5, 0)
        data[4] = 99.0
    rest = Method()
    assert_rows(cache.complete(TASKS[:6], rest), 6)
    assert rest.done == [4, 5]


def test_the_file_describes_itself(cache: ReferenceCache) -> None:
    cache.complete(TASKS[:4], Method())
    assert cache.path.name.startswith("slow-")
    with h5py.File(cache.path) as file:
        attributes: Any = dict(file.attrs)
        assert json.loads(attributes["key"]) == KEY
        assert attributes["schema_version"] == 1
        assert attributes["tasks"] == 4
        assert "torch" in json.loads(attributes["provenance"])
        data: Any = file["scores/log_prob"]
        assert data.chunks is not None
        assert data.dtype == np.float64


def test_other_keys_have_other_files(tmp_path: Path) -> None:
    paths = {
        ReferenceCache(tmp_path, "slow", key).path
        for key in (KEY, {**KEY, "method": {"steps": 11}}, {**KEY, "prior": {}})
    }
    assert len(paths) == 3
    assert ReferenceCache(tmp_path, "slow", dict(reversed(KEY.items()))).path in paths
    with pytest.raises(ValueError, match="plain numbers"):
        ReferenceCache(tmp_path, "slow", {"prior": object()})


def flipped(path: Path) -> None:
    """Changes one stored number behind HDF5's back."""
    content, stored = path.read_bytes(), np.float64(2.25).tobytes()
    assert content.count(stored) == 1
    path.write_bytes(content.replace(stored, np.float64(2.5).tobytes()))


def changed(**attributes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs.update(attributes)

    return change


def without_scores(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["scores"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (text, "Cannot use .* move it away"),
        (cut_off, "Cannot use .* move it away"),
        (flipped, "Cannot use .* move it away"),
        (without_scores, "Cannot use .* move it away"),
        (foreign, "is no file of priorfit reference scores"),
        (changed(schema_version=2), "newer priorfit"),
        (changed(key="{}"), "other tasks"),
    ],
)
def test_files_that_cannot_be_used_stay_as_they_are(
    damage: Callable[[Path], None], message: str, cache: ReferenceCache
) -> None:
    cache.complete(TASKS[:4], Method())
    damage(cache.path)
    before = cache.path.read_bytes()
    with pytest.raises(ValueError, match=message):
        cache.complete(TASKS[:4], Method())
    assert cache.path.read_bytes() == before


def test_scores_of_other_tasks_are_refused(cache: ReferenceCache) -> None:
    cache.complete(TASKS[:4], Method())
    with pytest.raises(ValueError, match="holds scores of other tasks"):
        cache.complete([*TASKS[:3], "f" * 16, TASKS[4]], Method())
    assert_rows(cache.complete(TASKS[:4], Method(until=0)), 4)


def test_two_writers_do_not_mix(cache: ReferenceCache) -> None:
    class Overtaken(Method):
        def __call__(self, missing: range) -> Iterator[dict[str, np.ndarray]]:
            for index, scores in zip(missing, super().__call__(missing), strict=True):
                if index == 3:
                    ReferenceCache(cache.path.parent, "slow", KEY).complete(TASKS[:6], Method())
                yield scores

    with pytest.raises(ValueError, match="Another process writes"):
        cache.complete(TASKS[:9], Overtaken())
    assert_rows(cache.complete(TASKS[:6], Method(until=0)), 6)


def test_a_method_keeps_to_its_names(cache: ReferenceCache) -> None:
    cache.complete(TASKS[:2], Method())
    with pytest.raises(ValueError, match=r"holds log_prob, seconds, walk, and the method gave log_prob\."):
        cache.complete(TASKS[:3], lambda missing: [{"log_prob": np.zeros(3)}])


def test_a_moved_file_is_a_file_of_its_own(cache: ReferenceCache, tmp_path: Path) -> None:
    cache.complete(TASKS[:4], Method())
    moved = ReferenceCache(tmp_path / "elsewhere", "slow", KEY)
    moved.path.parent.mkdir()
    shutil.copy(cache.path, moved.path)
    assert_rows(moved.complete(TASKS[:4], Method(until=0)), 4)


def test_keys_hold_what_decides_the_tasks() -> None:
    settings = Settings(queries=100, seed=3)
    key = task_key(LearningCurve(), 10, settings)
    assert key == {
        "prior": {"name": "learning_curve", "arguments": {"context": 10, "queries": 100}},
        "n_context": 10,
        "queries": 100,
        "seed": 3,
        "batch_size": 50,
    }
    trained = LearningCurve(queries=16, thinning=0.3, context=7, length=100, bases=["pow3", "ilog2", "janoschek"])
    assert task_key(trained, 10, settings) == key
    assert task_key(LearningCurve(late_start=0.1), 10, settings) != key
    assert task_key(LearningCurve(length=50), 10, settings) != key
    other = task_key(GaussianProcess({"points": 20, "features": 1}), 4, Settings(queries=5))
    assert other["prior"]["arguments"]["sizes"]["context"] == 4


def test_fingerprints_tell_tasks_apart() -> None:
    prior = LearningCurve(length=20)
    settings = Settings(tasks=6, queries=20, batch_size=3, device="cpu")
    found = [one for task in draw_tasks(prior, 5, settings) for one in fingerprints(task)]
    assert len(set(found)) == 6
    assert all(len(one) == 16 for one in found)
    assert found == [one for task in draw_tasks(prior.replace(queries=3), 5, settings) for one in fingerprints(task)]
    task = prior.with_context(5, 20).sample(3, generator=seeded())
    hidden = task.hidden.clone()
    hidden[1, 4] = torch.nextafter(hidden[1, 4], torch.tensor(1.0))
    changes = [a != b for a, b in zip(fingerprints(task), fingerprints(Task(task.observed, hidden)), strict=True)]
    assert changes == [False, True, False]
