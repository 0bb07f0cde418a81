"""`python -m scripts.dump_tasks`: files for training and for evaluation, references added once, and refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from priorfit.evaluation import reference_methods
from priorfit.evaluation.reference_methods import ReferenceMethod
from priorfit.evaluation.scoring import draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.priors import GaussianProcess, Prior, Task
from priorfit.task_files import TaskFile
from priorfit.training.task_stream import TaskStream
from scripts import dump_tasks
from tests.cases import assert_same

SIZES = ["prior.sizes={points: 12}"]
EVALUATION = [*SIZES, "--context-sizes", "0", "5", "--queries", "3", "--tasks", "5", "--batch-size", "2", "--seed", "4"]


def dump(monkeypatch: pytest.MonkeyPatch, path: Path, *arguments: str) -> TaskFile:
    """Runs the command in this process."""
    monkeypatch.setattr(sys, "argv", ["dump_tasks", *arguments, "--output", str(path)])
    dump_tasks.main()
    return TaskFile(path)


def test_training_files_hold_what_a_training_would_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = dump(monkeypatch, tmp_path / "tasks.h5", "experiment=quickstart", "batch_size=6", *SIZES, "--tasks", "13")
    assert (len(file), file.tasks, file.batch_size, file.context_sizes) == (3, 18, 6, [])
    assert file.prior.arguments["lengthscale"] == 0.1
    for number in range(3):
        assert_same(file.batch(number), TaskStream(file.prior, 6, 0).batch(number))


def test_evaluation_files_hold_what_an_evaluation_would_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tasks.h5"
    file = dump(monkeypatch, path, *EVALUATION)
    settings = Settings([0, 5], tasks=5, queries=3, batch_size=2, seed=4, device="cpu")
    drawn = [task for n in (0, 5) for task in draw_tasks(GaussianProcess({"points": 12}), n, settings)]
    assert len(file) == len(drawn) == 6
    for number, task in enumerate(drawn):
        assert_same(file.batch(number), task)
        assert file.context_of(number) == task.observed.x_context.shape[1]
        assert number in file.batches_of(file.context_of(number))


def test_an_interrupted_evaluation_file_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, plan = dump(monkeypatch, tmp_path / "whole.h5", *EVALUATION), dump_tasks.evaluation_plan
    monkeypatch.setattr(dump_tasks, "evaluation_plan", lambda *given: plan(*given)._replace(batches=4))
    path = tmp_path / "broken.h5"
    assert len(dump(monkeypatch, path, *EVALUATION)) == 4
    monkeypatch.setattr(dump_tasks, "evaluation_plan", plan)
    assert dump(monkeypatch, path, *EVALUATION).digests == whole.digests


def test_references_are_added_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    seeds: list[int] = []

    def slow(prior: Prior, task: Task, seed: int) -> dict[str, np.ndarray]:
        seeds.append(seed)
        assert prior.arguments["sizes"]["context"] == task.observed.x_context.shape[1]
        return {"log_prob": task.hidden.double().numpy()}

    known = {"gaussian_process": ReferenceMethod(slow, {"steps": 3})}
    monkeypatch.setitem(reference_methods.reference_methods, "slow", known)
    path = tmp_path / "tasks.h5"
    dump(monkeypatch, path, *EVALUATION, "--reference", "slow")
    file = dump(monkeypatch, path, "--reference", "slow", "posterior")
    assert len(seeds) == len(set(seeds)) == 6
    for number in range(6):
        task, prior = file.batch(number), file.prior.with_context(file.context_of(number), 3)
        np.testing.assert_array_equal(file.reference("slow", number)["log_prob"], task.hidden.double().numpy())
        truth = prior.posterior(task).log_prob(task.hidden).numpy()
        np.testing.assert_array_equal(file.reference("posterior", number)["log_prob"], truth)
    assert f"{path}: 10 tasks in 6 batches" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference", "posterior"], "How many tasks? Give --tasks"),
        (["prior=scm"], "How many tasks? Give --tasks"),
        (["prior=smc", "--tasks", "3"], "did you mean 'scm'"),
        (["prior.kernel=rfb", "--tasks", "3"], "did you mean 'rbf'"),
        (["checkpoint=no-such-one", "--tasks", "3"], "There is no checkpoint"),
        ([*SIZES, "--tasks", "3", "--reference", "posterior"], "references are for tasks that --context-sizes fixes"),
        ([*EVALUATION, "--reference", "mcmc"], "'mcmc' is not for the prior 'gaussian_process'"),
        ([*EVALUATION, "--reference", "mcm"], "did you mean 'mcmc'"),
        (["--tasks", "0"], "--tasks must be at least 1"),
        (["--tasks", "4", "--context-sizes", "-1"], "context_sizes must be whole numbers"),
    ],
)
def test_what_cannot_be_written_says_why(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    with pytest.raises(SystemExit) as stop:
        dump(monkeypatch, tmp_path / "tasks.h5", *arguments)
    assert stop.value.code == 1
    assert message in capsys.readouterr().err
