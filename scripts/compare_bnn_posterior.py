"""Compares a network with Hamiltonian Monte Carlo on the same tasks of its Bayesian-neural-network prior.

    python scripts/compare_bnn_posterior.py runs/linear_bnn/checkpoint.safetensors --context-sizes 5 20 100
    python scripts/compare_bnn_posterior.py runs/bnn/checkpoint.safetensors --tasks 50 --prior '{"depth": 2, "width": 8,
        "activations": "tanh", "weight_scale": 2.0, "sparsity": 0.0, "unit_noise": null, "noise": 0.1,
        "standardized": false}'

The prior must fix its architecture, or --prior must. HMC averages the probabilities (densities) of all draws of its
chains. For classes the table also scores the same chains as it was published: one label is sampled from each draw, and
the frequency of the true one among 16, 64, … labels is its probability. That is worse than the posterior which the
chains have found, and only because of the scoring.

Chains take a second or so per task and are kept in --cache: the next comparison reads them from there. R-hat and ESS
(effective sample size) are those of each task's worst query: chains with an R-hat far above 1 have not met.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from priorfit.checkpoints import CheckpointError
from priorfit.evaluation.bnn_mcmc import LABELS, score_cached
from priorfit.evaluation.hmc import Chain
from priorfit.evaluation.metrics import estimate
from priorfit.evaluation.scoring import Array, Scores, score
from priorfit.evaluation.settings import Settings, changed_prior
from priorfit.evaluation.writers import markdown_table, publish, with_error
from priorfit.hub import load
from priorfit.priors import Prior


def compare(options: argparse.Namespace) -> str:
    """The whole comparison as Markdown.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: a prior that HMC does not cover, a network that does not take its tasks, or a cache of other tasks.
    """
    checkpoint = load(options.checkpoint)
    prior = changed_prior(checkpoint, options.prior)
    settings = Settings(
        tasks=options.tasks, queries=options.queries, batch_size=options.batch_size, seed=options.seed, device="cpu"
    )
    chain = Chain(options.chains, options.warmup, options.draws, options.leapfrogs)
    network, rows, classes = checkpoint.network.eval(), [], False
    for n_context in options.context_sizes or prior.context_sizes():
        hmc = score_cached(prior, n_context, settings, chain, options.cache)
        with tqdm(total=settings.tasks, desc=f"network, n = {n_context}", unit="task") as bar:
            own = score(network, prior, n_context, settings, bar.update)
        rows.append(table_row(own, hmc))
        classes = "label_log_prob" in hmc
    return markdown_table(header(prior, classes), rows)


def header(prior: Prior, classes: bool) -> list[str]:
    """The columns' names."""
    labels = [f"{number} labels" for number in LABELS] if classes else []
    checks = ["acceptance", "R-hat", "worst", "ESS", "worst", "s / task"]
    return ["n", "network", "HMC", prior.reference or "oracle", "network - HMC", "median", *labels, *checks]


def table_row(own: Scores, hmc: dict[str, Array]) -> list[str]:
    """NLL of network, HMC and reference, their paired difference, NLL by sampled labels, and how the chains did."""

    def nll(log_prob: Array | None) -> str:
        return "" if log_prob is None else with_error(estimate(-log_prob, own.unit), 3)

    difference = hmc["log_prob"] - own.log_prob
    labels = hmc.get("label_log_prob", np.empty((len(difference), 0, 1)))
    rhat, size = hmc["rhat"], hmc["effective_sample_size"]
    return [
        str(own.n_context),
        *map(nll, (own.log_prob, hmc["log_prob"], own.reference)),
        with_error(estimate(difference, own.unit), 3),
        f"{np.median(difference.mean(1)):.3f}",
        *(nll(labels[:, index]) for index in range(labels.shape[1])),
        f"{hmc['acceptance'].mean():.2f}",
        *(f"{value:.3f}" for value in (np.median(rhat), rhat.max())),
        *(f"{value:.0f}" for value in (np.median(size), size.min())),
        f"{hmc['seconds'].mean():.2g}",
    ]


def json_object(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ArgumentTypeError: other text.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'must be a JSON object such as {{"depth": 2}}, not {text}')
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    own = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("checkpoint", help="name or file; its prior is linear_bnn or bnn")
    own.add_argument("--prior", type=json_object, default={}, help="changes of its arguments, as JSON")
    own.add_argument("--context-sizes", type=int, nargs="+", help="n; the prior's own unless they are given")
    own.add_argument("--tasks", type=int, default=100, help="per n, a multiple of the batch size")
    own.add_argument("--queries", type=int, default=50, help="scored per task")
    own.add_argument("--batch-size", type=int, default=25, help="tasks whose chains run at once")
    own.add_argument("--seed", type=int, default=0, help="chooses tasks and chains")
    own.add_argument("--chains", type=int, default=Chain.chains, help="per task")
    own.add_argument("--warmup", type=int, default=Chain.warmup, help="iterations that are dropped")
    own.add_argument("--draws", type=int, default=Chain.draws, help="of each chain, kept")
    own.add_argument("--leapfrogs", type=int, default=Chain.leapfrogs, help="steps of an iteration, at most")
    own.add_argument("--cache", type=Path, default=Path("runs/references"), help="folder for the chains' scores")
    own.add_argument("--output", type=Path, help="also write the table there")
    return own


def main() -> None:
    own = parser()
    options = own.parse_args()
    try:
        table = compare(options)
    except (CheckpointError, OSError, ValueError) as error:
        own.exit(1, f"{error}\n")
    publish(table, options.tasks, options.queries, options.output)


if __name__ == "__main__":
    main()
