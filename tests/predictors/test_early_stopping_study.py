"""The study of early stopping: rules and budgets counted by hand, and its tables and figure."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import inf

from priorfit.predictors.early_stopping import EarlyStopper
from scripts import stopping_game as game
from scripts import study_early_stopping as study
from tests.predictors.trend_network import trend

CURVES = np.array(
    [
        [0.1, 0.3, 0.2, 0.3, 0.4],
        [0.2, 0.2, 0.1, 0.1, 0.1],
        [0.5, 0.4, 0.6, 0.5, 0.5],
    ]
)
ORDER = np.array([0, 1, 2])


def random_curves(n: int, m: int) -> np.ndarray:
    """Noisy curves that rise to different heights."""
    generator = np.random.default_rng(0)
    height, rate = generator.uniform(0.2, 0.8, (2, n, 1))
    return height * (1 - np.exp(-rate * np.arange(1, m + 1))) + 0.03 * generator.normal(size=(n, m))


def stops(thresholds: np.ndarray) -> list[int | None]:
    """The epoch at which each run is stopped by a rule that does not look at values."""
    return [int(row.argmin()) + 1 if (row == -inf).any() else None for row in thresholds]


@pytest.mark.parametrize(("patience", "expected"), [(1, [3, 2, 2]), (2, [4, 3, 5]), (3, [None, 4, None])])
def test_patience_by_hand(patience: int, expected: list[int | None]) -> None:
    """An equal value is no new best."""
    thresholds = game.patience_thresholds(CURVES, patience)
    assert stops(thresholds) == expected
    assert set(np.unique(thresholds)) <= {-inf, inf}


def test_foresight_by_hand() -> None:
    expected = [[0.4, 0.4, 0.4, 0.4, -inf], [0.2, 0.1, 0.1, 0.1, -inf], [0.6, 0.6, 0.5, 0.5, -inf]]
    np.testing.assert_array_equal(game.foresight_thresholds(CURVES), expected)


def test_foresight_loses_nothing() -> None:
    curves = random_curves(30, 20)
    order = np.random.default_rng(1).permutation(30)
    trace, started = game.spend(curves, game.foresight_thresholds(curves), order, 30 * 20)
    assert started == 30
    assert trace[-1] == curves.max()
    without = game.spend(curves, np.full(curves.shape, inf), order, 30 * 20)[0]
    assert (trace >= without).all()  # and whatever full runs find it finds no later


def test_coarse_rules_are_asked_four_times() -> None:
    for m, epochs in [(10, [1, 2, 4, 8]), (27, [3, 6, 11, 22]), (30, [3, 6, 12, 24]), (100, [10, 20, 40, 80])]:
        asked = game.coarse(np.zeros((2, m)))
        assert (np.flatnonzero(asked[0] == 0) + 1).tolist() == epochs
        assert (asked[:, asked[0] != 0] == inf).all()


def test_full_runs_within_a_budget() -> None:
    never = np.full(CURVES.shape, inf)
    trace, started = game.spend(CURVES, never, ORDER, 13)
    assert trace.tolist() == [0.1, 0.3, 0.3, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.5, 0.6]
    assert started == 3
    trace, started = game.spend(CURVES, never, ORDER[::-1], 5)
    assert trace.tolist() == [0.5, 0.5, 0.6, 0.6, 0.6]
    assert started == 1


def test_a_rule_compares_its_threshold_with_the_best_of_all_runs() -> None:
    thresholds = np.full(CURVES.shape, inf)
    thresholds[0, 2] = 0.3  # equal to the run's own best: it is stopped
    thresholds[1, 1] = 0.25  # more than its own best, less than that of the run before
    thresholds[2, 0] = 0.55  # more than any
    trace, started = game.spend(CURVES, thresholds, ORDER, 12)
    assert trace[:10].tolist() == [0.1, 0.3, 0.3, 0.3, 0.3, 0.5, 0.5, 0.6, 0.6, 0.6]
    assert trace[10:].tolist() == [0.6, 0.6]  # there is no run left for these two epochs
    assert started == 3


@pytest.mark.parametrize("slope", [0.0, 0.004])
def test_the_network_s_thresholds_are_the_rule(slope: float) -> None:
    curves = random_curves(12, 15)
    stopper, ticks = EarlyStopper(15, trend(slope)), []
    thresholds = game.network_thresholds(curves, stopper, lambda: ticks.append(1))
    assert len(ticks) == 13
    assert (thresholds[:, [0, 14]] == inf).all()
    best, used = None, []
    for curve in curves:  # a loop as people write it
        used.append(next(seen for seen in range(1, 16) if stopper.decide(curve[:seen], best)))
        best = max(curve[: used[-1]].max(), -inf if best is None else best)
    assert 2 < np.mean(used) < 14
    for n_runs, spent in enumerate(np.cumsum(used), start=1):  # each run is over where the loop ended it
        trace, started = game.spend(curves, thresholds, np.arange(12), int(spent))
        assert started == n_runs
    assert trace[-1] == best


def test_every_rule_plays_the_same_orders() -> None:
    curves = random_curves(6, 8)
    rules = game.all_thresholds(curves, np.full(curves.shape, inf))
    orders = [np.random.default_rng(seed).permutation(6) for seed in range(5)]
    outcomes = game.play(curves, rules, orders, runs=3)
    full = outcomes[game.FULL]
    for index, order in enumerate(orders):
        found = curves[order[:3]].max()
        assert full.final[index] == pytest.approx((curves.max() - found) / (curves.max() - curves.max(1).mean()))
    assert full.runs.tolist() == [3] * 5
    np.testing.assert_array_equal(full.regret, outcomes["network, every epoch"].regret)  # which never stops here
    assert list(outcomes)[3:] == ["patience 1", "patience 5", "patience 10", "patience 20", "foresight"]


def outcome(*regrets: list[float]) -> game.Outcome:
    return game.Outcome(np.array(regrets), np.ones(len(regrets)))


def test_speed_up_is_a_ratio_of_epochs() -> None:
    full = outcome([8, 8, 4, 4, 2, 2], [8, 6, 6, 4, 4, 4])  # the mean is 3 from the fifth epoch on
    assert game.speed_up(full, full) == 1
    assert game.speed_up(outcome([4, 3, 3, 3, 3, 3], [4, 3, 3, 3, 3, 3]), full) == 5 / 2
    assert game.speed_up(outcome([9, 9, 9, 9, 9, 2], [4, 4, 4, 4, 4, 4]), full) == 5 / 6
    assert game.speed_up(outcome([4] * 6, [3] * 6), full) == 0


def test_groups_are_averaged_at_equal_shares_of_their_budgets() -> None:
    short, long = outcome([4.0, 2.0]), outcome([8.0, 6.0, 4.0, 2.0])
    mean = game.average([{"rule": short}, {"rule": long}])["rule"]
    at = dict(zip(np.round(game.GRID, 3).tolist(), mean.regret[0].tolist(), strict=True))
    assert (at[0.25], at[0.5], at[0.75], at[1.0]) == (6, 5, 3, 2)


def test_mean_and_error() -> None:
    estimate = study.mean_and_error(np.array([1.0, 3.0]))
    assert (estimate.mean, estimate.standard_error) == (2, 1)
    assert math.isnan(study.mean_and_error(np.array([1.0])).standard_error)


def test_runs_that_are_all_alike() -> None:
    curves = np.full((3, 4), 0.5)
    outcomes = game.play(curves, game.all_thresholds(curves, np.full((3, 4), inf)), [ORDER], runs=2)
    assert outcomes[game.FULL].regret.tolist() == [[0] * 8]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two groups, one of them with curves of different lengths."""
    y = np.full((12, 20), np.nan)
    y[:8, :12], y[8:, :] = random_curves(8, 12), random_curves(4, 20)
    y[0, 6:] = np.nan
    lengths = np.isfinite(y).sum(1)
    np.savez(tmp_path / "curves.npz", y=y, length=lengths, group=["short"] * 8 + ["long"] * 4)
    return tmp_path / "curves.npz"


def test_groups_are_cut_to_a_common_length(file: Path) -> None:
    groups = study.read_groups(file)
    assert {name: curves.shape for name, curves in groups.items()} == {"long": (4, 20), "short": (7, 12)}
    lengths = np.array([3, 7, 7, 9])
    assert study.cut(np.zeros((4, 9)), lengths).shape == (4, 3)
    assert study.cut(np.zeros((8, 9)), np.repeat(lengths, 2)).shape == (8, 3)
    assert study.cut(np.zeros((5, 9)), np.append(lengths, 8)).shape == (4, 7)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["study_early_stopping.py", *map(str, arguments)])
    study.main()


def test_the_command(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def stand_in(max_steps: int, checkpoint: str, delta: float) -> EarlyStopper:
        assert (checkpoint, delta) == ("learning-curve", 0.1)
        return EarlyStopper(max_steps, trend(), delta=delta)

    monkeypatch.setattr(study, "EarlyStopper", stand_in)
    run(monkeypatch, file, "--orders", 3, "--runs", 2, "--delta", 0.1, "--output", tmp_path / "study")
    text = capsys.readouterr().out
    assert "Budget: the epochs of 2 full runs; 3 random orders" in text
    assert "**short**: 7 runs of 12 epochs" in text
    assert "**long**: 4 runs of 20 epochs" in text
    assert text.count("no stopping |") == text.count("foresight |") == 3
    assert (tmp_path / "study" / "early_stopping.md").read_text(encoding="utf-8") == text
    assert (tmp_path / "study" / "early_stopping.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arrays", "arguments", "message"),
    [
        (None, [], "No such file"),
        ({"y": np.zeros((2, 3))}, [], "needs the arrays"),
        ({"y": np.full((2, 3), np.nan), "length": [3, 3], "group": ["a", "a"]}, [], "inside curves of 'a'"),
        ({"y": np.zeros((2, 3)), "length": [3, 3], "group": ["a", "a"]}, ["--orders", 0], "at least 1"),
        (
            {"y": np.zeros((2, 3)), "length": [3, 3], "group": ["a", "a"]},
            ["--checkpoint", "leaning-curve"],
            "no checkpoint and no file named 'leaning-curve'",
        ),
    ],
    ids=["missing file", "missing arrays", "gaps", "no orders", "missing checkpoint"],
)
def test_what_cannot_be_studied(
    arrays: dict[str, Any] | None,
    arguments: list[object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    if arrays:
        np.savez(tmp_path / "curves.npz", **arrays)
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "curves.npz", *arguments)
    assert message in capsys.readouterr().err
