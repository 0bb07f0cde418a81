"""Compares a network with full Bayes, a maximum-a-posteriori fit and NUTS on the same Gaussian-process tasks.

    python -m scripts.compare_map gp-hyperprior
    python -m scripts.compare_map gp-regression --nuts-tasks 0
    python -m scripts.compare_map runs/gp/checkpoint.safetensors --features 1 --tasks 50

The comparison of Müller et al. 2022, section 5.2. Full Bayes averages over hyperparameters by importance sampling from
their law; ESS is its effective sample size, mean over tasks. The oracle knows each task's hyperparameters. NUTS runs on
the first tasks only, as published one chain with as many warm-up iterations as draws; its scores are kept in --cache,
so that the next comparison reads them from there. It needs numpyro: pip install 'priorfit[mcmc]'.

Negative differences mean that the first of the two predicts better; fits have heavy tails at few points, hence the
medians. Times are processor times of one thread and of this run, one task at a time, compilation left out. About ten
minutes with the defaults on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from priorfit.evaluation import nuts_gp
from priorfit.evaluation.bnn_mcmc import chain_seed
from priorfit.evaluation.cached_scores import cached_scores
from priorfit.evaluation.gp_map import map_predictive
from priorfit.evaluation.metrics import estimate
from priorfit.evaluation.nuts import Chain
from priorfit.evaluation.scoring import Array, draw_tasks, effective_sample_size
from priorfit.evaluation.settings import Settings, changed_prior
from priorfit.evaluation.writers import markdown_table, with_error
from priorfit.hub import load
from priorfit.models import Network
from priorfit.priors import GaussianProcess, Prior, Task
from scripts.threads import run_comparison
from scripts.timing import milliseconds, ratio, seconds_per_task

METHODS = ("network", "full Bayes", "MAP", "oracle")
PAIRS = (("network", "full Bayes"), ("network", "MAP"), ("MAP", "full Bayes"), ("full Bayes", "oracle"))
# NLL at the published setting by features and n: oracle, full Bayes, MAP, and the difference of the last two. The paper
# has curves only (figure 4b): these are from a computation outside of this project, 100 to 200 tasks of 16 queries.
PUBLISHED_LAWS = {
    "kernel": "matern52",
    "lengthscale": {"law": "gamma", "concentration": 3.0, "rate": 6.0},
    "output_scale": {"law": "gamma", "concentration": 2.0, "rate": 0.15},
    "noise": 1e-4,
    "noise_floor": 0.0,
    "scale_with_dimension": False,
    "inputs": "uniform",
}
PUBLISHED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("1", "1"): ("1.933", "2.128", "2.445", "0.32 ± 0.11"),
    ("1", "3"): ("0.636", "0.925", "2.236", "1.31 ± 0.58"),
    ("1", "5"): ("-0.126", "0.078", "0.727", "0.65 ± 0.39"),
    ("1", "10"): ("-1.124", "-1.043", "-0.995", "0.048 ± 0.015"),
    ("1", "20"): ("-2.013", "-2.000", "-1.995", "0.006"),
    ("1", "30"): ("-2.426", "-2.418", "-2.420", "-0.002"),
    ("5", "1"): ("2.567", "2.654", "2.856", "0.20 ± 0.05"),
    ("5", "5"): ("2.477", "2.551", "2.614", "0.062 ± 0.019"),
    ("5", "10"): ("2.410", "2.502", "2.568", "0.066 ± 0.018"),
    ("5", "20"): ("2.292", "2.396", "2.463", "0.067 ± 0.018"),
    ("5", "30"): ("2.195", "2.281", "2.324", "0.043 ± 0.013"),
}
HEADER = ["d", "n", *METHODS, "ESS", *(cell for a, b in PAIRS for cell in (f"{a} - {b}", "median"))]
PUBLISHED_HEADER = ["d", "n", "oracle, published setting", "full Bayes", "MAP", "MAP - full Bayes"]
NUTS_HEADER = ["d", "n", "network", "full Bayes", "NUTS", "network - NUTS", "NUTS - full Bayes"]
NUTS_HEADER += ["R-hat", "worst", "ESS", "worst", "divergent"]
RATIOS = ("full Bayes", "MAP", "NUTS")


class Row(NamedTuple):
    """What was found at one number of features and one context size."""

    place: list[str]  # d and n
    nll: dict[str, Array]  # by method, mean over each task's queries, (tasks, 1)
    sample_size: float  # of full Bayes
    nuts: dict[str, Array] | None
    seconds: dict[str, float]  # by method


@torch.inference_mode()
def task_nll(
    network: Network, prior: GaussianProcess, n_context: int, settings: Settings, bar: tqdm
) -> tuple[dict[str, Array], float]:
    """NLL of each method, (tasks, 1), and the mean effective sample size of full Bayes."""
    batches: dict[str, list[Array]] = {name: [] for name in METHODS}
    sizes = []
    for task in draw_tasks(prior, n_context, settings):
        assert task.law is not None
        bayes = prior.posterior(task)
        laws = (network(*task.observed), bayes, map_predictive(prior, task), task.law)
        for name, law in zip(METHODS, laws, strict=True):
            batches[name].append(-law.log_prob(task.hidden).double().mean(1, keepdim=True).numpy())
        sizes.append(1.0 if prior.fixed else float(effective_sample_size(bayes).mean()))
        bar.update(len(task))
    return {name: np.concatenate(parts) for name, parts in batches.items()}, float(np.mean(sizes))


def nuts_scores(prior: Prior, n_context: int, settings: Settings, chain: Chain, folder: Path) -> dict[str, Array]:
    """The scores of NUTS on the first tasks, from the cache as far as it has them."""

    def compute(task: Task, number: int) -> dict[str, Array]:
        return nuts_gp.score_tasks(prior, task, chain, chain_seed(settings.seed, n_context, number))

    method = ("gp-nuts", {"name": "gp_nuts", **asdict(chain)})
    return cached_scores(prior, n_context, settings, method, compute, folder)


def row(network: Network, prior: GaussianProcess, n_context: int, options: argparse.Namespace, bar: tqdm) -> Row:
    """Every method at one number of features and one context size."""
    settings = Settings(
        tasks=options.tasks, queries=options.queries, batch_size=options.batch_size, seed=options.seed, device="cpu"
    )
    chain, with_nuts = Chain(options.chains, options.draws, options.draws), options.nuts_tasks and not prior.fixed
    if with_nuts and options.nuts_tasks > options.tasks:
        raise ValueError(f"NUTS runs on the first of {options.tasks} tasks: --nuts-tasks must be no more than these.")
    bar.set_description(f"d = {prior.sizes.features[0]}, n = {n_context}")
    nll, size = task_nll(network, prior, n_context, settings, bar)
    methods: dict[str, Callable[[Task], object]] = {
        "network": lambda task: network(*task.observed),
        "full Bayes": prior.posterior,
        "MAP": lambda task: map_predictive(prior, task),
    }
    found = None
    if with_nuts:
        methods["NUTS"] = lambda task: nuts_gp.score_tasks(prior, task, chain, options.seed)
        few = replace(settings, tasks=options.nuts_tasks)
        found = nuts_scores(prior, n_context, few, chain, options.cache)
    seconds = {
        name: seconds_per_task(method, prior, n_context, settings, options.timed) for name, method in methods.items()
    }
    return Row([str(prior.sizes.features[0]), str(n_context)], nll, size, found, seconds)


def with_unit(values: Array) -> str:
    """Mean and standard error of values (tasks, 1) as a cell."""
    return with_error(estimate(values, np.arange(len(values))), 3)


def main_cells(row: Row) -> list[str]:
    """NLL of every method, and paired differences with their medians."""
    cells = [*map(with_unit, row.nll.values()), f"{row.sample_size:.0f}"]
    for first, second in PAIRS:
        difference = row.nll[first] - row.nll[second]
        cells += [with_unit(difference), f"{np.median(difference):.3f}"]
    return [*row.place, *cells]


def nuts_cells(row: Row) -> list[str]:
    """The same beside NUTS, on its tasks, and how its chains did."""
    assert row.nuts is not None
    nuts = -row.nuts["log_prob"].mean(1, keepdims=True)
    network, bayes = (row.nll[name][: len(nuts)] for name in ("network", "full Bayes"))
    values = (network, bayes, nuts, network - nuts, nuts - bayes)
    rhat, size = row.nuts["rhat"], row.nuts["effective_sample_size"]
    return [
        *row.place,
        *map(with_unit, values),
        *(f"{value:.3f}" for value in (np.median(rhat), rhat.max())),
        *(f"{value:.0f}" for value in (np.median(size), size.min())),
        f"{100 * row.nuts['divergent'].mean():.1f} %",
    ]


def time_table(rows: Sequence[Row]) -> str:
    """Times, and ratios to the network's."""
    slow = [name for name in RATIOS if name in rows[0].seconds]
    header = ["d", "n", *(f"{name}, ms" for name in ("network", *slow)), *(f"{name} / network" for name in slow)]
    cells = [
        [
            *row.place,
            *(milliseconds(row.seconds[name]) for name in ("network", *slow)),
            *(ratio(row.seconds[name], row.seconds["network"]) for name in slow),
        ]
        for row in rows
    ]
    return markdown_table(header, cells)


def report(rows: Sequence[Row], prior: Prior, options: argparse.Namespace) -> str:
    """All tables, each with what it shows."""
    queries = f"tasks of {options.queries} queries"
    parts = [
        f"NLL in nats per query, {options.tasks} {queries}; ± is one standard error.",
        markdown_table(HEADER, list(map(main_cells, rows))),
    ]
    known = [[*place, *PUBLISHED[tuple(place)]] for place in (row.place for row in rows) if tuple(place) in PUBLISHED]
    if known and all(prior.arguments[name] == value for name, value in PUBLISHED_LAWS.items()):
        parts += [
            "The published setting computed elsewhere, on 100 to 200 tasks of 16 queries (the paper has curves only):",
            markdown_table(PUBLISHED_HEADER, known),
        ]
    if rows[0].nuts is not None:
        parts += [
            f"NUTS, {options.chains} × {options.draws} draws after as many warm-up iterations, on the first "
            f"{options.nuts_tasks} of these tasks. R-hat and ESS are those of each task's worst hyperparameter, "
            "median and worst task.",
            markdown_table(NUTS_HEADER, list(map(nuts_cells, rows))),
        ]
    return "\n\n".join(
        [
            *parts,
            f"Processor times of one thread, one task of {options.queries} queries at a time, mean of {options.timed} "
            "tasks. Published: MAP above 200 times and NUTS 1000 to 8000 times the network's, which ran on a GPU.",
            time_table(rows),
        ]
    )


def compare(options: argparse.Namespace) -> str:
    """The whole comparison as Markdown.

    Raises:
        CheckpointError: no such checkpoint.
        ImportError: numpyro is not installed, and NUTS is asked for.
        ValueError: its prior is not a Gaussian process, its network does not take that many features, more tasks for
            NUTS than there are, or batches that are not whole.
    """
    checkpoint = load(options.checkpoint)
    rows, network = [], checkpoint.network.eval()
    with tqdm(total=len(options.features) * len(options.context_sizes) * options.tasks, unit="task") as bar:
        for features in options.features:
            prior = changed_prior(checkpoint, {"sizes": {"features": features}})
            if not isinstance(prior, GaussianProcess):
                raise ValueError(f"A MAP fit needs a Gaussian-process prior, not '{prior.registered_name}'.")
            rows += [row(network, prior, n_context, options, bar) for n_context in options.context_sizes]
    return report(rows, checkpoint.prior, options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    own = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("checkpoint", nargs="?", default="gp-hyperprior", help="name or file; its prior is a GP")
    own.add_argument("--features", type=int, nargs="+", default=[1, 5], help="numbers of features, d")
    own.add_argument("--context-sizes", type=int, nargs="+", default=[1, 3, 5, 10, 20, 30], help="n")
    own.add_argument("--tasks", type=int, default=100, help="per d and n")
    own.add_argument("--queries", type=int, default=16, help="scored per task")
    own.add_argument("--batch-size", type=int, default=25, help="tasks fitted at once")
    own.add_argument("--nuts-tasks", type=int, default=50, help="for NUTS, a multiple of the batch size; 0 for none")
    own.add_argument("--chains", type=int, default=1, help="of NUTS, per task")
    own.add_argument("--draws", type=int, default=256, help="of each chain, and as many for warm-up")
    own.add_argument("--timed", type=int, default=3, help="tasks whose times are measured, per d and n")
    own.add_argument("--seed", type=int, default=0, help="chooses tasks and chains")
    own.add_argument("--cache", type=Path, default=Path("runs/references"), help="folder for the scores of NUTS")
    own.add_argument("--output", type=Path, help="also write the tables there")
    return own


def main() -> None:
    run_comparison(parser(), compare, n_threads=1)


if __name__ == "__main__":
    main()
