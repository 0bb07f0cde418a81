"""Pictures of priors: what they show, and the command that draws them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Generator

from priorfit.evaluation.prior_figure import count_lines, explained, prior_figure
from priorfit.priors import SCM, GaussianProcess, LearningCurve, Mixture, Prior, Task
from priorfit.training.task_stream import EVALUATION, task_generator
from scripts import draw_prior

TABLES = {"sizes": {"points": 40, "features": [1, 4], "context": "uniform"}, "model": {"layers": 2, "width": 8}}


def first_task(prior: Prior) -> Task:
    return prior.sample(1, generator=task_generator(0, EVALUATION, 2, 0))


def points(figure: Figure) -> np.ndarray:
    """What is scattered in the first panel."""
    return np.asarray(figure.axes[0].collections[0].get_offsets())


def test_functions_are_drawn_over_their_feature() -> None:
    prior = GaussianProcess({"points": 20, "features": 1, "context": 8})
    figure, task = prior_figure(prior, tasks=3), first_task(prior)
    assert len(figure.axes) == 3
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
    observed = torch.stack([task.observed.x_context[0, :, 0], task.observed.y_context[0]], 1)
    np.testing.assert_allclose(lines["observed"], observed)
    np.testing.assert_allclose(lines["hidden"], torch.stack([task.observed.x_query[0, :, 0], task.hidden[0]], 1))
    assert (np.diff(lines["mean given the task's latents"][:, 0]) > 0).all()
    assert figure.axes[0].get_title() == "n = 8"


def test_rows_of_two_features_are_coloured_by_their_target() -> None:
    prior = GaussianProcess({"points": 20, "features": 2, "context": 8})
    figure, task = prior_figure(prior, tasks=1), first_task(prior)
    x = torch.cat([task.observed.x_context, task.observed.x_query], 1)[0]
    assert {tuple(row) for row in points(figure).astype(np.float32)} <= {
        *map(tuple, x.tolist()),
        *map(tuple, x.flip(1).tolist()),
    }
    colours = figure.axes[0].collections[0].get_array()
    np.testing.assert_allclose(colours, torch.cat([task.observed.y_context, task.hidden], 1)[0])


@pytest.mark.parametrize("target", ["number", "classes"])
def test_tables(target: str) -> None:
    prior = SCM(**TABLES, target={"kind": target}, columns={"categorical": {}, "missing": {}})
    figure = prior_figure(prior, tasks=5, seed=3)
    assert len(figure.axes) == 5
    assert all(("classes" in axis.get_title()) == (target == "classes") for axis in figure.axes)
    figure.draw_without_rendering()


def test_curves_are_drawn_over_their_steps() -> None:
    prior = LearningCurve(length=30).with_context(10, 20)
    figure, task = prior_figure(prior, tasks=2), first_task(prior)
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["observed"], torch.stack([task.observed.steps[0], task.observed.values[0]], 1))
    assert lines["hidden"][:, 0].tolist() == list(range(11, 31))


def test_tasks_of_an_unknown_kind() -> None:
    class Strange(GaussianProcess):
        def sample(self, batch_size: int, *, generator: Generator) -> Any:
            task = super().sample(batch_size, generator=generator)
            return Task(tuple(task.observed), task.hidden)

    with pytest.raises(ValueError, match="no picture for tasks of the kind tuple, only for Regression, Table, Curves"):
        prior_figure(Strange({"points": 5}))
    with pytest.raises(ValueError, match="tasks must be at least 1, not 0"):
        prior_figure(GaussianProcess({"points": 5}), tasks=0)


def test_share_of_the_target_that_a_feature_explains() -> None:
    feature = np.repeat([0.0, 1.0, np.nan], 30)
    target = np.concatenate([np.tile([1.0, 3.0], 15), np.tile([4.0, 6.0], 15), np.full(30, 100.0)])[:, None]
    assert explained(feature, target) == pytest.approx(1.5**2 / (1.5**2 + 1))
    assert explained(np.zeros(90), target) == pytest.approx(0)
    assert explained(feature, np.ones((90, 1))) == 0
    assert explained(np.full(90, np.nan), target) == 0


def test_counts_of_degenerate_draws() -> None:
    counts = {"drawn": 200, "not finite": 1, "constant target": 0, "missing class": 30}
    expected = "200 tasks drawn; further draws per 100 tasks: not finite 0.5, constant target 0, missing class 15"
    assert count_lines(counts) == [expected]
    assert count_lines({"a": counts, "b": {"drawn": 0}}) == [f"a: {expected}"]
    mixture = Mixture({"tables": {"prior": "scm", **TABLES}})
    mixture.sample(3, generator=torch.Generator().manual_seed(0))
    assert count_lines(mixture.counts)[0].startswith("tables: 3 tasks drawn; further draws per 100 tasks: not finite ")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    draw_prior.main()


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "new" / "prior.png"
    changes = ["prior=scm", "prior.sizes.points=20", "prior.model.width=8", "prior.sizes.features=2"]
    run(monkeypatch, *changes, "--tasks", 2, "--count", 100, "--output", path)
    assert path.read_bytes().startswith(b"\x89PNG")
    name, counts = capsys.readouterr().out.splitlines()
    assert name == str(path)
    assert counts.startswith("130 tasks drawn; ")  # 2 panels, and two batches of 64
    run(monkeypatch, "experiment=gp-1d", "--tasks", 2, "--output", path)
    assert "does not count" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prior=smc"], "did you mean 'scm'?"),
        (["prior=scm", "prior.siz=3"], "Could not override 'prior.siz'"),
        (["prior=scm", "prior.variant=tree"], "variant"),
        (["--tasks", 0], "tasks must be at least 1"),
    ],
)
def test_impossible_options(
    arguments: list[Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments, "--output", tmp_path / "prior.png")
    assert message in capsys.readouterr().err
    assert not (tmp_path / "prior.png").exists()
