"""Runs `train.py` as a user would, on a network small enough for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "prior.sizes.points=12",
    "model.width=16",
    "model.n_layers=1",
    "model.n_buckets=16",
    "batch_size=4",
    "preparation_tasks=500",
    "check_tasks=0",
    "warmup=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=5",
    "validation={context_sizes: [1, 5], tasks: 8, queries: 4}",
]


def command(folder: Path, *overrides: str) -> list[str]:
    """The command line of a tiny training that writes into `folder`."""
    return [sys.executable, str(ROOT / "train.py"), f"hydra.run.dir={folder}", *TINY, *overrides]


def environment() -> dict[str, str]:
    """One thread, so that runs can be compared bit by bit and tests share the cores."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def train(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Runs a tiny training to its end."""
    return subprocess.run(
        command(folder, *overrides), env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=240
    )
