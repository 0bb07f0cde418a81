"""`scripts/threads.py`: comparisons keep to their threads, jax included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import argparse
from pathlib import Path

from scripts.threads import run_comparison


def ticks():
    tasks = Path("/proc/self/task").iterdir()
    return {task.name: sum(map(int, (task / "stat").read_text().rsplit(")", 1)[1].split()[11:13])) for task in tasks}


def compare(options):
    import jax

    multiply = jax.jit(lambda x: x @ x)
    x = multiply(jax.numpy.ones((1500, 1500))).block_until_ready()
    before = ticks()
    for _ in range(6):
        multiply(x).block_until_ready()
    spent = [after - before.get(name, 0) for name, after in ticks().items()]
    return f"{max(spent)} {sum(spent)}"


parser = argparse.ArgumentParser()
parser.add_argument("--output")
run_comparison(parser, compare, n_threads=1)
"""


@pytest.mark.jax
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="tells threads apart by /proc")
def test_jax_works_on_one_thread() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    largest, total = map(int, done.stdout.split()[-2:])
    assert largest >= 0.8 * total
