"""Comparisons on a fixed number of threads, so that processor times of methods can be compared."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import torch
from threadpoolctl import threadpool_limits

from priorfit.checkpoints import CheckpointError
from priorfit.evaluation.writers import write_text


def run_comparison(
    parser: argparse.ArgumentParser, compare: Callable[[argparse.Namespace], str], n_threads: int | None = None
) -> None:
    """Reads the command line, compares, and prints the tables, also into the file of `--output`.

    Args:
        parser: with an option `--output`.
        compare: makes the tables, as Markdown, from the options.
        n_threads: of torch and of numerical libraries; None for the option `--threads`.
    """
    options = parser.parse_args()
    limit: int = options.threads if n_threads is None else n_threads
    before = torch.get_num_threads()
    torch.set_num_threads(limit)
    # What jax counts as processors when it first computes, which comparisons do later if at all; it has no such option.
    os.environ["NPROC"] = str(limit)
    try:
        with threadpool_limits(limit):
            text = compare(options)
    except (CheckpointError, ImportError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    finally:
        torch.set_num_threads(before)
    print(f"\n{text}")
    if options.output:
        write_text(options.output, f"{text}\n")
