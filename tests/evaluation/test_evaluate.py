"""`python evaluate.py` from end to end: what it writes, that its parts agree, and how it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from matplotlib.image import imread

from priorfit import checkpoints, manifest
from priorfit.evaluation.main import checkpoint_name, evaluate
from priorfit.models import PFN
from priorfit.priors import GaussianProcess, StudentTProcess

ROOT = Path(__file__).resolve().parents[2]
CALIBRATION = ["pit.png", "coverage.png", "tarp.png", "recovery.png", "contraction.png"]
SHIFTS = "shifts.png"


def save_tiny(path: Path, prior: GaussianProcess, max_features: int = 1) -> Path:
    """A small untrained network in a file."""
    network = PFN(max_features, n_buckets=32, width=16, n_layers=1, n_heads=1)
    task = prior.with_context(0, 20).sample(200, generator=torch.Generator().manual_seed(0))
    network.fit_to_prior([task.observed], [task.hidden])
    return checkpoints.save(path, network, prior, description="A tiny one.")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(
        tmp_path_factory.mktemp("run") / "tiny" / "checkpoint.safetensors", GaussianProcess({"points": 32})
    )


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in `folder`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning"}
    command = [sys.executable, str(ROOT / "evaluate.py"), *overrides]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)


def measure(tmp_path: Path, *overrides: str) -> dict:
    """Runs the command's function in this process; returns the JSON report."""
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        config = compose("evaluate", ["tasks=6", "context_sizes=[0,3]", "device=cpu", *overrides, f"output={tmp_path}"])
    evaluate(config)
    return json.loads((tmp_path / "report.json").read_text())


def test_the_command_writes_a_report_whose_parts_agree(tiny: Path, tmp_path: Path) -> None:
    done = run(tmp_path, f"checkpoint={tiny}", "tasks=12", "context_sizes=[0,3,10]", "device=cpu")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "evaluate" / "tiny"
    document = json.loads((folder / "report.json").read_text())
    text = (folder / "report.md").read_text()
    assert [row["n_context"] for row in document["sizes"]] == [0, 3, 10]
    table = [line for line in text.split("## Calibration")[0].splitlines() if line.startswith("|")]
    assert "\n".join(table) in done.stdout
    for row, line in zip(document["sizes"], table[2:], strict=True):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        found = [
            f"{row[key]['mean']:.4f} ± {row[key]['standard_error']:.4f}" for key in ("nll", "reference_nll", "gap")
        ]
        assert cells[1:4] == found
        assert row["gap"]["mean"] == pytest.approx(row["nll"]["mean"] - row["reference_nll"]["mean"])
    worst = max(row["gap"]["mean"] for row in document["sizes"])
    assert f"{worst:.4f}" in done.stdout.strip().splitlines()[-1]
    assert document["checkpoint"]["weights_sha256"] == checkpoints.read_metadata(tiny)["weights_sha256"]
    assert document["settings"] == {
        "context_sizes": [0, 3, 10], "tasks": 12, "queries": 16, "batch_size": 50, "draws": 100, "seed": 0,
        "levels": [0.5, 0.8, 0.9, 0.95], "device": "cpu", "prior": {}, "path": None, "reference": None,
        "shifts": True, "shift_tasks": 100,
    }  # fmt: skip
    assert document["figures"] == re.findall(r"\]\((.*?)\)", text) == ["gap.png", "posterior.png", *CALIBRATION, SHIFTS]
    for name in document["figures"]:
        assert imread(folder / name).std() > 0.01
    assert not list(folder.glob("*.part"))
    assert "12/36" not in done.stdout  # progress goes to stderr
    assert "36/36" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["checkpoint=no-such-one"], "There is no checkpoint and no file named 'no-such-one'"),
        (["checkpoint=runs/none.safetensors"], "there is no such file"),
        ([], "Give checkpoint=NAME"),
    ],
)
def test_without_a_checkpoint_the_command_says_so_in_one_line(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_misspelled_name_is_answered_with_the_nearest(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text('{"schema_version": 1, "base_url": "https://none/", "checkpoints": {}}')
    monkeypatch.setattr(manifest, "folder", lambda: tmp_path)
    manifest.register_file(tiny, "gp-1d")
    with pytest.raises(checkpoints.CheckpointError, match="did you mean 'gp-1d'"):
        measure(tmp_path, "checkpoint=gp-d1")


def test_changes_of_the_prior_are_measured(tiny: Path, tmp_path: Path) -> None:
    own = measure(tmp_path, f"checkpoint={tiny}")
    shifted = measure(tmp_path, f"checkpoint={tiny}", "+prior.noise=0.5", "+prior.sizes.points=20")
    assert own["prior"]["arguments"]["noise"] == 0.01
    assert shifted["prior"]["arguments"]["noise"] == 0.5
    assert shifted["checkpoint"]["prior"] == own["checkpoint"]["prior"]
    assert shifted["sizes"][0]["reference_nll"]["mean"] > own["sizes"][0]["reference_nll"]["mean"]


def test_metrics_are_stored_in_the_checkpoint_on_request_only(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "own.safetensors", GaussianProcess({"points": 8}))
    measure(tmp_path, f"checkpoint={path}")
    assert checkpoints.read_metadata(path)["metrics"] == {}
    document = measure(tmp_path, f"checkpoint={path}", "store=true")
    stored = checkpoints.read(path).metadata["metrics"]["evaluation"]
    assert stored["sizes"] == document["sizes"]
    assert stored["settings"]["tasks"] == 6
    assert stored["shifts"] == document["shifts"]
    shifted = measure(tmp_path, f"checkpoint={path}", "store=true", "+prior.noise=1.0", "+prior.sizes.features=1")
    metrics = checkpoints.read(path).metadata["metrics"]
    assert metrics["evaluation"] == stored
    assert metrics["evaluation, noise=1.0, sizes.features=1"]["sizes"] == shifted["sizes"]
    with pytest.raises(checkpoints.CheckpointError, match="is a name, not a file"):
        measure(tmp_path, "checkpoint=a-name", "store=true")


@pytest.mark.parametrize(
    "prior",
    [
        GaussianProcess(
            {"points": 8, "features": [1, 3]},
            noise={"law": "uniform", "low": 0.1, "high": 0.2},
            importance_draws=20,
        ),
        StudentTProcess({"points": 8}),
    ],
    ids=["sampled reference of several features", "reference without quantiles"],
)
def test_posteriors_are_drawn_in_one_dimension(prior: GaussianProcess, tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "own.safetensors", prior, max_features=3)
    assert measure(tmp_path, f"checkpoint={path}")["figures"] == ["gap.png", "posterior.png", *CALIBRATION, SHIFTS]


def test_functions_of_several_features_have_no_picture_of_the_posterior(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "own.safetensors", GaussianProcess({"points": 8, "features": 2}), max_features=2)
    assert measure(tmp_path, f"checkpoint={path}")["figures"] == ["gap.png", *CALIBRATION, SHIFTS]


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("gp-1d", "gp-1d"),
        ("runs/quickstart/checkpoint.safetensors", "quickstart"),
        ("models/small.safetensors", "small"),
        ("/tmp/x/checkpoint.safetensors", "x"),
        ("checkpoint", "checkpoint"),
        ("unknown", "unknown"),
    ],
)
def test_results_are_named_after_the_checkpoint(checkpoint: str, name: str) -> None:
    assert checkpoint_name(checkpoint) == name
