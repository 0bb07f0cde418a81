"""Compares a network with full Bayes and with a maximum-a-posteriori fit, on the same Gaussian-process tasks.

    python scripts/compare_map.py gp-regression
    python scripts/compare_map.py runs/gp/checkpoint.safetensors --features 1 --tasks 50

Full Bayes averages over hyperparameters by importance sampling and takes most of the time: about a quarter of
an hour with the defaults on two cores. Negative differences mean that the first of the two predicts better.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.distributions import Distribution
from tqdm import tqdm

from priorfit.checkpoints import CheckpointError
from priorfit.evaluation.gp_map import map_predictive
from priorfit.evaluation.metrics import estimate
from priorfit.evaluation.scoring import Array, draw_tasks
from priorfit.evaluation.settings import Settings, changed_prior
from priorfit.evaluation.writers import markdown_table, publish, with_error
from priorfit.hub import load
from priorfit.models import Network
from priorfit.priors import GaussianProcess, Task

PAIRS = (("network", "full Bayes"), ("network", "MAP"), ("MAP", "full Bayes"))
HEADER = [
    "d",
    "n",
    "network",
    "full Bayes",
    "MAP",
    *(cell for a, b in PAIRS for cell in (f"{a} - {b}", "median")),
]


@torch.inference_mode()
def task_nll(
    network: Network, prior: GaussianProcess, n_context: int, settings: Settings, bar: tqdm
) -> dict[str, Array]:
    """NLL of each method, mean over each task's queries, (tasks, 1)."""
    methods: dict[str, Callable[[Task], Distribution]] = {
        "network": lambda task: network(*task.observed),
        "full Bayes": prior.posterior,
        "MAP": lambda task: map_predictive(prior, task),
    }
    batches: dict[str, list[Array]] = {name: [] for name in methods}
    for task in draw_tasks(prior, n_context, settings):
        for name, method in methods.items():
            log_prob = method(task).log_prob(task.hidden)
            batches[name].append(-log_prob.double().mean(1, keepdim=True).cpu().numpy())
        bar.update(len(task))
    return {name: np.concatenate(parts) for name, parts in batches.items()}


def table_row(features: int, n_context: int, nll: dict[str, Array]) -> list[str]:
    """One row of the table: every method's NLL, then the paired differences with their medians."""
    unit = np.arange(len(nll["MAP"]))
    cells = [with_error(estimate(values, unit), 3) for values in nll.values()]
    for first, second in PAIRS:
        difference = nll[first] - nll[second]
        cells += [with_error(estimate(difference, unit), 3), f"{np.median(difference):.3f}"]
    return [str(features), str(n_context), *cells]


def compare(options: argparse.Namespace) -> str:
    """The whole comparison as a Markdown table.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: its prior is not a Gaussian process, or its network does not take that many features.
    """
    checkpoint = load(options.checkpoint)
    settings = Settings(
        tasks=options.tasks,
        queries=options.queries,
        batch_size=options.batch_size,
        seed=options.seed,
        device="cpu",
    )
    rows = []
    with tqdm(total=len(options.features) * len(options.context_sizes) * options.tasks, unit="task") as bar:
        for features in options.features:
            prior = changed_prior(checkpoint, {"sizes": {"features": features}})
            if not isinstance(prior, GaussianProcess):
                raise ValueError(f"A MAP fit needs a Gaussian-process prior, not '{prior.registered_name}'.")
            for n_context in options.context_sizes:
                bar.set_description(f"d = {features}, n = {n_context}")
                nll = task_nll(checkpoint.network, prior, n_context, settings, bar)
                rows.append(table_row(features, n_context, nll))
    return markdown_table(HEADER, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="gp-regression", help="name or file; its prior is a GP")
    parser.add_argument("--features", type=int, nargs="+", default=[1, 5], help="numbers of features, d")
    parser.add_argument("--context-sizes", type=int, nargs="+", default=[1, 3, 5, 10, 20, 30], help="n")
    parser.add_argument("--tasks", type=int, default=200, help="per d and n")
    parser.add_argument("--queries", type=int, default=16, help="scored per task")
    parser.add_argument("--batch-size", type=int, default=50, help="tasks fitted at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the table there")
    options = parser.parse_args()
    try:
        table = compare(options)
    except (CheckpointError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    publish(table, options.tasks, options.queries, options.output)


if __name__ == "__main__":
    main()
