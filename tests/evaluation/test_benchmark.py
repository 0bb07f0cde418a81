"""`scripts/benchmark.py`: what its rows say."""

from __future__ import annotations

import time

import pytest
import torch

from priorfit.models import TablePFN
from scripts import benchmark


def test_rows_give_times_or_items_per_second(capsys: pytest.CaptureFixture) -> None:
    slow, quick = (lambda: time.sleep(0.04)), (lambda: time.sleep(0.01))
    benchmark.compare("slow / quick", slow, quick, 3)
    benchmark.compare("slow / quick", slow, quick, 3, items=8)
    times, rates = (line.split(" | ") for line in capsys.readouterr().out.splitlines())
    assert times[0] == "| slow / quick"
    assert float(times[1].removesuffix(" ms")) >= 40
    assert float(rates[1].removesuffix(" /s")) <= 8 / 0.04
    assert float(rates[2].removesuffix(" /s")) <= 8 / 0.01
    assert float(times[3].removesuffix(" |")) > 1


@pytest.mark.parametrize("n_classes", [0, 3])
def test_tables_have_a_target_that_can_be_learnt(n_classes: int) -> None:
    table = benchmark.table(30, 12, 5, n_classes)
    assert [tuple(part.shape) for part in table] == [(1, 30, 5), (1, 30), (1, 12, 5), (1, 5), (1,)]
    order = table.x_context[0, :, 0].argsort()
    assert (table.y_context[0, order].diff() >= 0).all()
    assert len(table.y_context.unique()) == (n_classes or 30)


def test_a_training_step_changes_the_network() -> None:
    step = benchmark.Step("quickstart", torch.float32)
    before = [weights.clone() for weights in step.module.parameters()]
    step()
    assert any(not torch.equal(old, new) for old, new in zip(before, step.module.parameters(), strict=True))
    assert 0 < step.drawing < step.total


def test_networks_for_tables_by_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    small = {"width": 8, "n_cell_layers": 1, "n_row_layers": 1, "n_heads": 2, "n_steps": 2}
    monkeypatch.setattr(benchmark, "instantiate", lambda _: TablePFN(3, **small))
    benchmark.tables("quickstart", [10, 20], [3], repeats=1, queries=4)
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(":")[0] for row in rows] == ["| quickstart, 10 × 3", "| quickstart, 20 × 3"]
    assert all(row.count(" /s |") == 2 for row in rows)
