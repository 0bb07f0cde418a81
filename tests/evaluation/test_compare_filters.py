"""`scripts/compare_filters.py` from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from priorfit import checkpoints
from priorfit.models import MixtureTransformer
from priorfit.priors import FactorVolatility, LinearGaussian, Prior, RangeBearing
from scripts import compare_filters

SIZES = {"width": 8, "n_layers": 1, "n_heads": 1}


def saved(folder: Path, prior: Prior, n_latent: int, sources: list[dict]) -> str:
    """A network with random weights, as a file."""
    network = MixtureTransformer(n_latent, sources, **SIZES)
    return str(checkpoints.save(folder / "own.safetensors", network, prior))


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, without its header's rule."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for i, line in enumerate(b) if i != 1] for b in blocks]


@pytest.mark.filterwarnings("ignore:.*far from those:UserWarning")  # the network was not fitted to its prior
@pytest.mark.parametrize("kind", ["tracking", "volatility"])
def test_all_filters_see_the_same_series(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "tracking":
        sources = [{"name": "range", "size": 1}, {"name": "bearing", "size": 1, "angle": True}]
        path = saved(tmp_path, RangeBearing(), 4, sources)
    else:
        prior = FactorVolatility(factors=2, assets=3)
        path = saved(tmp_path, prior, 2, [{"name": "returns", "size": 3}])
    output = tmp_path / "t.md"
    options = ["--series", "4", "--steps", "7", "--particles", "20", "50", "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["compare_filters.py", path, *options])
    compare_filters.main()
    written = output.read_text()
    assert written in capsys.readouterr().out
    summary, steps = tables(written)
    names = [row[0] for row in summary[1:]]
    assert names[:5] == ["network", *(f"{n} particles, {way}" for n in (50, 20) for way in ("kernels", "moments"))]
    assert ("extended Kalman filter" in names) == (kind == "tracking")
    assert names[-1] == "no observations"
    assert [row[0] for row in steps[1:]] == ["1", "2-4", "5-7"]
    sizes = {"1": 1, "2-4": 3, "5-7": 3}
    for column, row in enumerate(summary[1:], start=1):
        mean = sum(sizes[line[0]] * float(line[column].split(" / ")[0]) for line in steps[1:]) / 7
        assert mean == pytest.approx(float(row[1].split()[0]), rel=2e-3, abs=0.02)
    assert "to 50 particles, moments, in 1/" in written


@pytest.mark.parametrize(("options", "message"), [([], "not for 'linear_gaussian'"), (["--steps", "1"], "at least 2")])
def test_problems_are_one_line(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = saved(tmp_path, LinearGaussian(dimension=2, outputs=1), 2, [{"name": "output", "size": 1}])
    monkeypatch.setattr("sys.argv", ["compare_filters.py", path, *options])
    with pytest.raises(SystemExit) as stop:
        compare_filters.main()
    assert stop.value.code == 1
    assert message in capsys.readouterr().err
