"""`scripts/compare_curves.py` and `scripts/compare_real_curves.py`: numbers by hand, and both from end to end."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from priorfit.checkpoints import Checkpoint
from priorfit.evaluation.curve_fits import last_value
from priorfit.evaluation.curve_mcmc import Chain
from priorfit.evaluation.settings import Settings
from priorfit.priors import GaussianProcess, LearningCurve, Prior
from scripts import compare_curves, compare_real_curves
from scripts.compare_real_curves import RealCurves, Scores
from tests.predictors.trend_network import TrendNetwork

PRIOR = LearningCurve(length=20)
SETTINGS = Settings(tasks=50, queries=20, batch_size=50, seed=3, device="cpu")
TINY = Chain(walkers=26, burn_in=10, steps=40, thin=10)
OPTIONS = ["--curves", "4", "--cutoffs", "20", "80", "--walkers", "26", "--burn-in", "10", "--steps", "40"]


def checkpoint(prior: Prior, horizon: float = 100) -> Checkpoint:
    """A network that expects the last value to stay, said to be trained on `prior`."""
    described = {"name": prior.registered_name, "arguments": prior.arguments}
    return Checkpoint(TrendNetwork(horizon=horizon), {"prior": described})


def run(monkeypatch: pytest.MonkeyPatch, script: Any, loaded: Checkpoint | None, *arguments: object) -> None:
    if loaded:
        monkeypatch.setattr(script, "load", lambda name: loaded)
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    script.main()


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, headers and rules included."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def number(cell: str) -> float:
    return float(cell.strip("*").split()[0])


def test_more_curves_begin_with_the_same_ones() -> None:
    more = Settings(tasks=100, queries=20, batch_size=50, seed=3, device="cpu")
    few, many = (compare_curves.draw(PRIOR, 5, *some) for some in ((SETTINGS, 7), (more, 60)))
    assert (len(few), len(many)) == (7, 60)
    torch.testing.assert_close(few.hidden, many.hidden[:7], rtol=0, atol=0)
    torch.testing.assert_close(few.observed.values, many.observed.values[:7], rtol=0, atol=0)
    assert many.observed.query_steps.tolist() == [list(range(6, 21))] * 60


def test_gaps_by_hand() -> None:
    task = compare_curves.draw(PRIOR, 5, SETTINGS, 6)
    bars = TrendNetwork()(*task.observed)
    scores = compare_curves.score_all(TrendNetwork(), task, 25)
    assert list(scores) == ["network", "parametric fits", "last value", "oracle"]
    np.testing.assert_allclose(scores["network"]["log_prob"], bars.log_prob(task.hidden))
    np.testing.assert_allclose(scores["network"]["cdf"], bars.cdf(task.hidden))
    last = task.observed.values[:, -1:].expand(-1, 15)
    np.testing.assert_allclose(scores["network"]["median"], last, atol=1e-6)
    np.testing.assert_allclose(scores["last value"]["median"], last, atol=1e-6)
    law: Any = task.law
    known = Normal(law.mean, law.stddev)
    np.testing.assert_allclose(scores["oracle"]["log_prob"], known.log_prob(task.hidden), rtol=1e-5)
    hidden = task.hidden.double().numpy()
    cells = compare_curves.table_row("network", scores["network"], scores["oracle"], hidden)
    gap = (known.log_prob(task.hidden) - bars.log_prob(task.hidden)).mean(1).double().numpy()
    assert cells[0] == "network"
    assert cells[1] == f"{gap.mean():.3f} ± {gap.std(ddof=1) / 6**0.5:.3f}"
    assert [float(cell) for cell in cells[2:4]] == pytest.approx([np.median(gap), gap.max()], abs=0.006)
    assert float(cells[4]) == pytest.approx(((last - task.hidden) ** 2).mean().item(), abs=1e-5)
    inside = (np.abs(2 * scores["network"]["cdf"] - 1) <= 0.5).mean()
    assert number(cells[5]) == pytest.approx(100 * inside, abs=0.06)


def test_published_numbers_stand_beside_their_cutoffs() -> None:
    task = compare_curves.draw(PRIOR, 5, SETTINGS, 3)
    scores = compare_curves.score_all(TrendNetwork(), task, 20)
    found = rows(compare_curves.table(scores, task.hidden.numpy(), 20))
    assert ["published P3", "0.448"] in [row[:2] for row in found]
    assert len(rows(compare_curves.table(scores, task.hidden.numpy(), None))) == len(found) - 4
    assert compare_curves.observed_steps(20, 50) == 10
    for percent, length in ((1, 20), (99, 20), (0, 100)):
        with pytest.raises(ValueError, match="nothing to observe or to predict"):
            compare_curves.observed_steps(percent, length)


def test_mcmc_is_cached_and_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    task = compare_curves.draw(PRIOR, 5, SETTINGS, 3)

    def score(folder: str, workers: int, prior: LearningCurve = PRIOR) -> compare_curves.Scores:
        return compare_curves.score_mcmc(prior, 5, task, SETTINGS, TINY, tmp_path / folder, workers)

    first = score("one", 1)
    assert first["log_prob"].shape == first["cdf"].shape == first["median"].shape == (3, 15)
    assert first["acceptance"].shape == (3,)
    again = score("one", 1, PRIOR.replace(queries=5, thinning=0.5))
    np.testing.assert_array_equal(again["cpu_seconds"], first["cpu_seconds"])  # read, not computed
    other = score("two", 2)
    np.testing.assert_array_equal(other["log_prob"], first["log_prob"])


def test_paired_difference() -> None:
    network = {"log_prob": np.array([[1.0, 3.0], [2.0, 2.0], [0.0, 1.0]])}
    mcmc = {
        "log_prob": np.array([[0.5, 1.5], [2.0, 3.0], [0.0, 0.0]]),
        "acceptance": np.array([0.1, 0.2, 0.3]),
        "effective_sample_size": np.array([500.0, 40.0, 700.0]),
        "cpu_seconds": np.array([1.0, 1.0, 2.5]),
    }
    note = compare_curves.mcmc_notes(network, mcmc)  # differences -1, 0.5, -0.5
    assert "paired: -0.333 ± 0.441; the network is better on 67%" in note
    assert "acceptance 0.200, effective sample size 500 (median; smallest 40), 1.50 CPU seconds" in note


def test_prior_curves_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(compare_curves, "network_seconds", lambda network, task, batch: 0.002 / batch)
    paths = ["--cache", tmp_path / "cache", "--output", tmp_path / "out.md", "--timed", 1]
    threads = torch.get_num_threads()
    run(monkeypatch, compare_curves, checkpoint(PRIOR), *OPTIONS, *paths)
    assert torch.get_num_threads() == threads
    text = (tmp_path / "out.md").read_text()
    assert text in capsys.readouterr().out
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert re.findall("## .* steps observed", text) == ["## 20 %: 4 steps observed", "## 80 %: 16 steps observed"]
    table = rows(text)
    names = [row[0] for row in table]
    methods = [
        "method",
        "-" * (names[1].count("-")) + ":",
        "network",
        "MCMC",
        "parametric fits",
        "last value",
        "oracle",
    ]
    assert names[:7] == methods
    gaps = {row[0]: number(row[1]) for row in table[2:7]}
    paired = float(text.split("paired: ")[1].split()[0])
    assert paired == pytest.approx(gaps["network"] - gaps["MCMC"], abs=0.002)
    assert gaps["oracle"] == 0
    slow, single, batched, ratio, batch_ratio = table[-1][1:]
    assert (single, batched) == ("2.00 ms", "0.03 ms")
    assert float(ratio) == pytest.approx(number(slow) / 0.002, abs=3)
    assert float(batch_ratio) == pytest.approx(64 * number(slow) / 0.002, rel=0.2)
    assert "published" not in text  # curves of another length


def test_without_mcmc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(compare_curves, "network_seconds", lambda network, task, batch: 0.002)
    strange = checkpoint(LearningCurve(length=20, late_start=0.5))
    run(monkeypatch, compare_curves, strange, *OPTIONS, "--no-mcmc")
    text = capsys.readouterr().out
    assert "MCMC" not in text
    assert [row[1:] for row in rows(text)[-2:]] == [["2.00 ms"] * 2] * 2


def test_network_time_is_per_curve() -> None:
    task = compare_curves.draw(PRIOR, 5, SETTINGS, 3)
    network = TrendNetwork()
    single = compare_curves.network_seconds(network, task, 1, least=0.0)
    batched = compare_curves.network_seconds(network, task, 64, least=0.0)
    assert 0 < batched < single < 1
    assert {len(call[0]) for call in network.calls} == {1, 64}
    assert len(network.calls) == 8  # one to warm up, at least three to measure


@pytest.mark.parametrize(
    ("prior", "arguments", "message"),
    [
        (GaussianProcess({"points": 5, "features": 1}), [], "not on learning curves"),
        (LearningCurve(noise=0.1), [], "differs in: noise"),
        (LearningCurve(), ["--walkers", "5"], "even number from 26"),
        (LearningCurve(), ["--curves", "1"], "at least 2"),
        (LearningCurve(length=5), ["--cutoffs", "99"], "nothing to observe"),
    ],
)
def test_one_line_about_prior_curves_that_cannot_be_compared(
    prior: Prior,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, compare_curves, checkpoint(prior), *arguments)
    assert message in capsys.readouterr().err


@pytest.fixture
def real() -> RealCurves:
    """Ten curves of two groups, of 4 to 13 values: rising ones, and flat ones."""
    length = np.arange(4, 14)
    steps = np.arange(1, 14)
    y = np.stack([0.8 - 0.5 / steps if i % 2 else np.full(13, 0.3) for i in range(10)])
    y += 0.01 * np.random.default_rng(0).normal(size=y.shape)
    y[steps > length[:, None]] = np.nan
    return RealCurves(y, length, np.array(["flat", "rising"] * 5))


@pytest.fixture
def file(real: RealCurves, tmp_path: Path) -> Path:
    np.savez(tmp_path / "curves.npz", **real._asdict())
    return tmp_path / "curves.npz"


def test_real_curves_are_cut_at_a_share_of_their_length(real: RealCurves) -> None:
    observed, hidden = compare_real_curves.cut(real, 40)
    seen = [2, 2, 2, 3, 3, 4, 4, 4, 5, 5]  # 40 % of 4, 5, … 13; halves go to the even number
    assert observed.visible[:, 0].tolist() == seen
    for index, n in enumerate(seen):
        length = 4 + index
        values = real.y[index].astype(np.float32)
        np.testing.assert_array_equal(observed.values[index, :n], values[:n])
        later = hidden[index][~np.isnan(hidden[index])]
        np.testing.assert_array_equal(later, real.y[index, n:length])
        expected = [min(n + 1 + j, length) for j in range(hidden.shape[1])]
        assert observed.query_steps[index].tolist() == expected
    for percent in (1, 99):  # something is always seen and something hidden
        observed, hidden = compare_real_curves.cut(real, percent)
        assert observed.visible.min() >= 1
        assert (~np.isnan(hidden)).any(1).all()


def test_scores_of_real_curves_by_hand(real: RealCurves) -> None:
    scores = compare_real_curves.score_all({"last": last_value}, real, [40, 80])["last"]
    assert scores.mse.shape == scores.log_score.shape == (10, 2)
    truth, last = real.y[3, 3:7], real.y[3, 2]  # 7 values, 3 of them seen
    assert scores.mse[3, 0] == pytest.approx(((truth - last) ** 2).mean(), rel=1e-5)
    steps, values = torch.arange(1.0, 8)[None], torch.from_numpy(real.y[3:4, :3]).float()
    law = last_value(steps[:, :3], values, steps[:, 3:], torch.full((1, 4), 3))
    assert scores.log_score[3, 0] == pytest.approx(law.log_prob(torch.from_numpy(truth)).mean().item(), rel=1e-5)


def test_tables_of_real_curves_by_hand(real: RealCurves) -> None:
    def scores(mse: float, log_score: float) -> Scores:
        flat = real.group == "flat"
        return Scores(np.full((10, 1), mse), np.where(flat, log_score, -log_score)[:, None])

    some = {"net": scores(0.001, 2.0), "parametric fits": scores(0.002, 1.0), "last value": scores(0.003, 1.5)}
    flat, rising = rows(compare_real_curves.table(some, real, 0))[2:]
    assert flat[:2] == ["flat", "5"]
    assert flat[2:] == ["**1**", "2", "3", "**2.00**", "1.00", "1.50", "**2.00**", "1.00", "1.50"]
    assert rising[2:] == ["**1**", "2", "3", "-2.00", "**-1.00**", "-1.50", "-2.00", "**-1.00**", "-1.50"]
    wins = rows(compare_real_curves.wins("net", some, real, [30]))
    assert wins[2:] == [["30 %", "2 of 2", "1 of 2", "1 of 2"], ["all", "2 of 2", "1 of 2", "1 of 2"]]
    some["net"].log_score[4, 0] = -9.0
    worst = rows(compare_real_curves.failures("net", some, real, [30]))[2]
    assert worst == ["4", "flat", "30 %", "-9.00", "1.00", "1.50"]


def test_real_curves_from_end_to_end(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    loaded = checkpoint(LearningCurve())
    options = ["--checkpoint", "a", "--checkpoint", "b", "--cutoffs", 30, 60, "--output", tmp_path / "out"]
    run(monkeypatch, compare_real_curves, loaded, file, *options)
    text = (tmp_path / "out" / "report.md").read_text()
    assert text in capsys.readouterr().out
    assert text.startswith("# 10 real curves")
    assert text.count("## ") == 2 + 2 + 2  # wins and failures of two networks, two cutoffs
    header = next(row for row in rows(text) if row[0] == "group")
    assert header[2:6] == [f"1000 MSE: {name}" for name in ("a", "b", "parametric fits", "last value")]
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_figure_shows_the_median_curve(real: RealCurves) -> None:
    scores = Scores(np.zeros((10, 2)), np.stack([np.zeros(10), np.arange(10.0)], 1))
    figure = compare_real_curves.figure(TrendNetwork(), scores, real, [20, 50])
    assert [axis.get_title() for axis in figure.axes] == ["flat, curve 4", "rising, curve 5"]
    points = figure.axes[0].lines[-1].get_xydata()
    np.testing.assert_allclose(points, np.stack([np.arange(1, 5), real.y[4, :4]], 1))  # half of 8


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"group": None}, [], "needs the arrays y"),
        ({"length": np.full(10, 13)}, [], "curves with gaps"),
        ({"length": np.ones(10, int)}, [], "fewer than 2 values"),
        ({}, ["--cutoffs", "100"], "between 0 and 100"),
        ({}, ["--cutoffs", "20"], "trained on steps up to 12, and some curves have 13"),
    ],
)
def test_one_line_about_real_curves_that_cannot_be_compared(
    change: dict[str, Any],
    arguments: list[str],
    message: str,
    real: RealCurves,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    arrays = {key: value for key, value in {**real._asdict(), **change}.items() if value is not None}
    np.savez(tmp_path / "curves.npz", **arrays)
    loaded = checkpoint(LearningCurve(), horizon=12)
    with pytest.raises(SystemExit):
        run(monkeypatch, compare_real_curves, loaded, tmp_path / "curves.npz", *arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("script", "arguments"), [(compare_curves, []), (compare_real_curves, ["curves.npz"])])
def test_unknown_checkpoints_and_files(
    script: ModuleType, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, script, None, *arguments, "--checkpoint", "none.safetensors")
    assert re.search("no such file|No such file", capsys.readouterr().err)
