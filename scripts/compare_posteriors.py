"""Compares networks that give posteriors of latent vectors with exact references and with published numbers.

    python scripts/compare_posteriors.py                                         # the shipped networks
    python scripts/compare_posteriors.py dt-linear-gaussian --components 2 5 10 20
    python scripts/compare_posteriors.py runs/pfn-conjugate/checkpoint.safetensors   # a PFN that is told the prior

What is compared depends on the checkpoint's prior: the KL divergence from the exact posterior where that can be drawn
from (variance of a normal law, linear observations under mixtures), else the log density of the true latents. The
defaults take about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from tqdm import tqdm

from priorfit.distributions.bijections import log_slope
from priorfit.evaluation.metrics import estimate
from priorfit.evaluation.scoring import Array, draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.evaluation.writers import markdown_table, with_error
from priorfit.hub import load
from priorfit.models import Network
from priorfit.priors import (
    Evidence,
    GPHyperparameters,
    InverseGammaVariance,
    LatentRegression,
    LinearGaussian,
    Prior,
    Task,
    TwoLevelSystem,
)
from priorfit.priors.latent_regression import features
from scripts.threads import run_comparison

SHIPPED = ["dt-conjugate", "dt-linear-gaussian", "dt-gp", "dt-quantum"]
BATCH = 50  # problems at once
DRAWS_AT_ONCE = 1000


class Shape(NamedTuple):
    """A law of both parameters of an inverse gamma prior, and the published KL divergence of five components."""

    concentration: float
    rate: float
    published: str


# Whittle et al. 2025: table 1 and, for the last, table 5 (their network was trained on the wide one).
SHAPES = {
    "wide": Shape(4.0, 6.0, "0.0003"),
    "narrow": Shape(10000.0, 20000.0, "0.0004"),
    "InverseGamma(24, 6)": Shape(24.0, 6.0, "0.0054"),
}
# The same, table 7: trained with ten components, dimension 8.
PUBLISHED_KL = {2: "0.149", 5: "0.099", 10: "0.087", 20: "0.095"}
# The same, section 4.2.1: five inputs. One input is shown in a figure only.
PUBLISHED_GP = {"value": "0.81", "lengthscale": "0.31"}
GP_ROWS = 5  # of the published problem


class Scored(NamedTuple):
    """What network and reference say of each problem, nats, and their processor seconds per 1000 problems.

    The time of the reference is that of finding it, without asking it for draws or densities.
    """

    network: Array
    reference: Array
    seconds: float
    reference_seconds: float


Says = Callable[[Tensor, Tensor], Any]  # prior and rows to a law of the latents
Say = Callable[[Distribution, Distribution, Task], tuple[Tensor, Tensor]]


@torch.inference_mode()
def score(network: Says, prior: Prior, options: argparse.Namespace, say: Say, n_rows: int | None = None) -> Scored:
    """Scores the fixed tasks of a prior.

    Args:
        network: of the posteriors.
        prior: draws the tasks and knows their posteriors.
        options: of the command line.
        say: from the network's posterior, the reference and the task to numbers (B,) of both.
        n_rows: of every task; None for the prior's largest number.
    """
    settings = Settings(tasks=options.tasks, batch_size=BATCH, seed=options.seed, device="cpu")
    parts, seconds = [], np.zeros(2)
    n_rows = prior.rows[1] if n_rows is None else n_rows  # type: ignore[attr-defined]
    for task in progress(draw_tasks(prior, n_rows, settings), options.tasks, prior.registered_name):
        started = time.process_time()
        posterior = network(*task.observed)
        between = time.process_time()
        reference = prior.posterior(task)
        seconds += between - started, time.process_time() - between
        parts.append([part.double().numpy() for part in say(posterior, reference, task)])
    own, exact = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Scored(own, exact, *(1000 * seconds / options.tasks))


def progress(tasks: Iterator[Task], total: int, name: str) -> Iterator[Task]:
    """The tasks, with a progress bar over problems."""
    with tqdm(desc=name, total=total, unit="problem") as bar:
        for task in tasks:
            yield task
            bar.update(len(task))


def sampled_scores(draws: int) -> Say:
    """Mean NLL of draws from the exact posterior, under the network and under itself: the difference is the KL."""

    def say(posterior: Distribution, reference: Distribution, task: Task) -> tuple[Tensor, Tensor]:
        totals = [torch.zeros(len(task), dtype=torch.float64) for _ in range(2)]
        for start in range(0, draws, DRAWS_AT_ONCE):
            points = reference.sample((min(DRAWS_AT_ONCE, draws - start),))  # (draws, B, d)
            for total, law in zip(totals, (posterior, reference), strict=True):
                total -= law.log_prob(points).double().sum(0)
        return totals[0] / draws, totals[1] / draws

    return say


def hidden_scores(posterior: Distribution, reference: Distribution, task: Task) -> tuple[Tensor, Tensor]:
    """NLL of the true latents."""
    return -posterior.log_prob(task.hidden), -reference.log_prob(task.hidden)


class Baseline:
    """A network for regression, trained on a `LatentRegression`, as one for posteriors of the latent itself."""

    def __init__(self, network: Network, prior: LatentRegression) -> None:
        self.network, self.prior = network, prior

    def __call__(self, prior: Tensor, rows: Tensor) -> Any:
        """What it says of the latents, of which only `log_prob` is asked."""
        x = features(Evidence(prior, rows))  # (B, 1, F)
        bars = self.network(x[:, :0], x[:, :0, 0], x)  # batch shape (B, 1)

        def log_prob(latents: Tensor) -> Tensor:
            target, slope = self.prior.target(latents), log_slope(self.prior.bijections, latents)
            return bars.log_prob(target)[..., 0] + slope

        return SimpleNamespace(log_prob=log_prob)


def marginal_scores(dim: int, name: str) -> Say:
    """NLL of one of the true latent numbers, under laws of it alone."""

    def say(posterior: Any, reference: Any, task: Task) -> tuple[Tensor, Tensor]:
        truth = task.hidden[:, dim : dim + 1]
        return -posterior.marginal([dim]).log_prob(truth), -getattr(reference, name).log_prob(truth.double())

    return say


def cells(scored: Scored) -> list[str]:
    """NLL of the network and of the reference, their paired difference and its median, and time."""
    gap = scored.network - scored.reference
    columns = [
        with_error(estimate(part[:, None], np.arange(len(part))), 4) for part in (scored.network, scored.reference, gap)
    ]
    ratio = scored.reference_seconds / scored.seconds
    return [*columns, f"{np.median(gap):.4f}", f"{scored.seconds:.3f}", f"{ratio:.2g}"]


HEADER = ["network NLL", "reference NLL", "difference", "median", "s per 1000", "reference / network"]
KL_HEADER = ["network NLL", "reference NLL", "KL", "median KL", "s per 1000", "reference / network"]


def variance(network: Says, prior: InverseGammaVariance, options: argparse.Namespace) -> str:
    """KL divergences under both published meta-priors, and under one that is far from them."""
    rows = []
    for name, shape in SHAPES.items():
        law = {"law": "inverse_gamma", "concentration": shape.concentration, "rate": shape.rate}
        changed = prior.replace(concentration=law, rate=law)
        scored = score(network, changed, options, sampled_scores(options.draws))
        rows.append([name, *cells(scored), shape.published])
    return markdown_table(["meta-prior", *KL_HEADER, "published KL"], rows)


def linear(network: Says, prior: LinearGaussian, options: argparse.Namespace) -> str:
    """KL divergences by number of components of the prior."""
    rows, dimension = [], prior.matrix.shape[1]
    for k in options.components:
        meta_prior: Mapping[str, Any] = {**prior.arguments["meta_prior"], "components": k}
        changed = prior.replace(meta_prior=meta_prior)
        scored = score(network, changed, options, sampled_scores(options.draws))
        published = PUBLISHED_KL.get(k, "") if dimension == 8 else ""
        rows.append([str(dimension), str(k), *cells(scored), published])
    return markdown_table(["d", "k", *KL_HEADER, "published KL"], rows)


def gaussian_process(network: Says, prior: GPHyperparameters, options: argparse.Namespace) -> str:
    """Log densities of the value at the query, of the lengthscale, and of both."""
    published = PUBLISHED_GP if prior.features == 5 else {}
    sayings: dict[str, Say] = {
        "value": marginal_scores(0, "prediction"),
        "lengthscale": marginal_scores(1, "lengthscale"),
        "both": hidden_scores,
    }
    rows = [
        [name, *cells(score(network, prior, options, say, GP_ROWS)), published.get(name, "")]
        for name, say in sayings.items()
    ]
    return markdown_table(["about", *HEADER, "published NLL"], rows)


def latents(network: Says, prior: Prior, options: argparse.Namespace) -> str:
    """Log densities of the latents."""
    return markdown_table(HEADER, [cells(score(network, prior, options, hidden_scores))])


def section(name: str, options: argparse.Namespace) -> str:
    """What is to be said of one checkpoint.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: its prior has no reference, or draws no latents.
    """
    checkpoint = load(name)
    prior, network = checkpoint.prior, checkpoint.network
    if isinstance(prior, LatentRegression):
        prior, network = prior.latent_prior, Baseline(network, prior)
    if prior.reference is None or not hasattr(prior, "draw_prior"):
        raise ValueError(f"The prior '{prior.registered_name}' has no reference for posteriors of latent vectors.")
    if isinstance(prior, InverseGammaVariance):
        table = variance(network, prior, options)
    elif isinstance(prior, LinearGaussian):
        table = linear(network, prior, options)
    elif isinstance(prior, GPHyperparameters):
        table = gaussian_process(network, prior, options)
    else:
        table = latents(network, prior, options)
    if isinstance(prior, TwoLevelSystem):
        table += "\n\nPublished: a figure only, of a problem that differs by one more sigmoid."
    return f"## {name}: {prior.registered_name}\n\n{table}"


def compare(options: argparse.Namespace) -> str:
    """All comparisons as Markdown.

    Raises:
        CheckpointError, ValueError: as `section`, and for impossible options.
    """
    if options.tasks < 2 or options.draws < 1 or min(options.components) < 1:
        raise ValueError("--tasks must be at least 2, --draws and --components at least 1.")
    heading = (
        f"# Posteriors\n\n{options.tasks} problems, seed {options.seed}; nats, mean ± one standard error; processor "
        f"seconds of the network per 1000 problems, {BATCH} at a time, on {torch.get_num_threads()} thread(s), and how "
        "many times as long finding the reference posterior takes. KL divergences are from the exact posterior, by "
        f"{options.draws} draws per problem."
    )
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)  # of the draws from exact posteriors
        return "\n\n".join([heading, *(section(name, options) for name in options.checkpoints)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", default=SHIPPED, help="names or files")
    parser.add_argument("--tasks", type=int, default=1000, help="problems per number")
    parser.add_argument("--draws", type=int, default=10_000, help="per problem, for KL divergences")
    parser.add_argument("--components", type=int, nargs="+", default=[2, 5, 10, 20], help="of mixtures as priors")
    parser.add_argument("--seed", type=int, default=0, help="chooses the problems")
    parser.add_argument("--output", type=Path, help="also write the tables there")
    run_comparison(parser, compare, 1)


if __name__ == "__main__":
    main()
