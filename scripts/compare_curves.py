"""Compares a curve network with MCMC, parametric fits and the last value, on the same curves of its prior.

    python scripts/compare_curves.py                                  # 500 curves at four cutoffs
    python scripts/compare_curves.py --curves 50 --workers 2
    python scripts/compare_curves.py --checkpoint runs/curves/checkpoint.safetensors --no-mcmc

MCMC takes about a second per curve and cutoff: half an hour of one core with the defaults, spread over --workers
processes. Its scores are kept in --cache, so that the next comparison takes two minutes and an interrupted one goes
on where it stopped. All else runs on one thread, so that processor times can be compared.

Every number is about the noisy values of all later steps. The gap is the log score of the oracle, which knows the
curve and its noise level, minus a method's: 0 is out of reach for all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from torch.distributions import Distribution
from tqdm import tqdm

from priorfit.evaluation.curve_fits import last_value, parametric_fits
from priorfit.evaluation.curve_mcmc import Chain, check_covered, score_curve
from priorfit.evaluation.metrics import Estimate, coverage, estimate
from priorfit.evaluation.quantiles import quantile
from priorfit.evaluation.reference_cache import ReferenceCache, fingerprints, task_key
from priorfit.evaluation.scoring import Array, draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.evaluation.writers import markdown_table, with_error
from priorfit.hub import load
from priorfit.models import Network
from priorfit.priors import Curves, LearningCurve, Prior, Task
from scripts.threads import run_comparison

Scores = Mapping[str, Array]  # "log_prob", "cdf" and "median", each (N, m) for N curves of m later steps
BATCH = 50
LEVELS = (0.5, 0.9)
# Adriaensen et al. 2023: log scores on 10 000 curves, as gaps to the oracle's expected 2.581. P2 and P3 are networks
# of 2.2 and 26.8 million parameters; M1 and M3 are MCMC, 100 walkers with 2000 and 4000 steps after 500 of burn-in.
PUBLISHED = {
    "P3": {10: 0.823, 20: 0.448, 40: 0.178, 80: 0.062},
    "P2": {10: 0.927, 20: 0.537, 40: 0.234, 80: 0.088},
    "M1": {10: 0.953, 20: 0.642, 40: 0.316, 80: 0.112},
    "M3": {10: 0.939, 20: 0.625, 40: 0.296, 80: 0.095},
}
HEADER = ("method", "gap", "median", "worst", "MSE", *(f"{level:.0%} interval" for level in LEVELS))


def draw(prior: Prior, n_context: int, settings: Settings, curves: int) -> Task:
    """The first `curves` fixed tasks that are observed on n_context steps, as one batch."""
    batches = list(draw_tasks(prior, n_context, settings))
    observed = Curves(*(torch.cat(parts)[:curves] for parts in zip(*(task.observed for task in batches), strict=True)))
    hidden = torch.cat([task.hidden for task in batches])[:curves]
    laws = [task.law for task in batches]
    mean, std = (torch.cat([getattr(law, name) for law in laws])[:curves] for name in ("loc", "scale"))
    return Task(observed, hidden, torch.distributions.Normal(mean, std))


def curve_rows(task: Task) -> list[tuple[Array, Array, Array]]:
    """Of each curve the observed values (n,), the later steps (m,) and the noisy values there (m,), float64."""
    parts = (task.observed.values, task.observed.query_steps, task.hidden)
    return list(zip(*(part.double().numpy() for part in parts), strict=True))


@torch.inference_mode()
def score(predict: Callable[..., Distribution], task: Task, advance: Callable[[int], object]) -> Scores:
    """What a method that is called as a network is says of the hidden values; `advance` hears of every batch."""
    parts: list[tuple[Array, ...]] = []
    for rows in torch.arange(len(task)).split(BATCH):
        predicted, hidden = predict(*(part[rows] for part in task.observed)), task.hidden[rows]
        found = predicted.log_prob(hidden), predicted.cdf(hidden), quantile(predicted, 0.5)
        parts.append(tuple(part.double().numpy() for part in found))
        advance(len(rows))
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return dict(zip(("log_prob", "cdf", "median"), columns, strict=True))


def score_mcmc(
    prior: Prior, n_context: int, task: Task, settings: Settings, chain: Chain, folder: Path, workers: int = 1
) -> Scores:
    """The same of the MCMC, and its diagnostics, (N,); read from the cache in `folder` as far as it has them.

    Raises:
        ValueError: a prior that it does not cover, or a cache that cannot be used.
    """
    length = check_covered(prior).length
    rows = curve_rows(task)
    key = {**task_key(prior, n_context, settings), "method": {"name": "curve_mcmc", **asdict(chain)}}

    def compute(missing: range) -> Iterable[Any]:
        """One curve after the other, `workers` at a time."""
        jobs = (delayed(score_curve)(length, *rows[i], chain, (settings.seed, n_context, i)) for i in missing)
        with parallel_config("loky", inner_max_num_threads=1):
            results = Parallel(n_jobs=workers, return_as="generator")(jobs)
        return tqdm(results, f"MCMC, {n_context} steps", len(rows), initial=missing.start, unit="curve")

    return ReferenceCache(folder, "curve-mcmc", key).complete(fingerprints(task), compute)


def oracle(task: Task) -> Scores:
    """What the law of the hidden values says of them."""
    assert task.law is not None
    found = task.law.log_prob(task.hidden), task.law.cdf(task.hidden), task.law.mean
    return dict(zip(("log_prob", "cdf", "median"), (part.double().numpy() for part in found), strict=True))


def table(scores: Mapping[str, Scores], hidden: Array, percent: int | None) -> str:
    """One row per method, the oracle's last, then the published ones that are about `percent`."""
    rows = [table_row(name, one, scores["oracle"], hidden) for name, one in scores.items()]
    for name, gaps in PUBLISHED.items():
        if percent in gaps:
            rows.append([f"published {name}", f"{gaps[percent]:.3f}", *[""] * (len(HEADER) - 2)])
    return markdown_table(HEADER, rows)


def table_row(name: str, scores: Scores, best: Scores, hidden: Array) -> list[str]:
    """The cells of one method."""
    unit = np.arange(len(hidden))
    gap = (best["log_prob"] - scores["log_prob"]).mean(1)
    shares = coverage(scores["cdf"], LEVELS, unit)
    return [
        name,
        with_error(estimate(gap[:, None], unit), 3),
        f"{np.median(gap):.3f}",
        f"{gap.max():.2f}",
        f"{np.square(scores['median'] - hidden).mean():.5f}",
        *(with_error(Estimate(100 * one.mean, 100 * one.standard_error), 1) for one in shares),
    ]


def mcmc_notes(network: Scores, mcmc: Scores) -> str:
    """The paired difference, and how well the chains mixed."""
    difference = mcmc["log_prob"] - network["log_prob"]  # of the gaps, network minus MCMC
    paired = with_error(estimate(difference, np.arange(len(difference))), 3)
    better = (difference.mean(1) < 0).mean()
    size = mcmc["effective_sample_size"]
    return (
        f"Gap of the network minus gap of MCMC, paired: {paired}; the network is better on {better:.0%} of the curves. "
        f"MCMC: acceptance {mcmc['acceptance'].mean():.3f}, effective sample size {np.median(size):.0f} (median; "
        f"smallest {size.min():.0f}), {mcmc['cpu_seconds'].mean():.2f} CPU seconds per curve when it was run."
    )


@torch.inference_mode()
def network_seconds(network: Network, task: Task, batch: int, least: float = 1.0) -> float:
    """Processor seconds per curve for predicting `batch` curves in one pass and scoring them."""
    rows = torch.arange(batch) % len(task)
    observed, hidden = [part[rows] for part in task.observed], task.hidden[rows]
    network(*observed).log_prob(hidden)  # the first pass allocates memory
    started, passes = time.process_time(), 0
    while passes < 3 or time.process_time() - started < least:
        network(*observed).log_prob(hidden)
        passes += 1
    return (time.process_time() - started) / passes / batch


def mcmc_seconds(length: int, task: Task, chain: Chain, curves: int) -> float:
    """The same for the MCMC, of the first few curves."""
    results = [score_curve(length, *row, chain, (0,)) for row in curve_rows(task)[:curves]]
    return float(np.mean([result["cpu_seconds"] for result in results]))


def timing_row(network: Network, prior: LearningCurve, task: Task, chain: Chain | None, curves: int) -> list[str]:
    """Processor times per curve of network and MCMC, measured one after the other, and their ratios."""
    single, batched = (network_seconds(network, task, batch) for batch in (1, 64))
    cells = [f"{1000 * single:.2f} ms", f"{1000 * batched:.2f} ms"]
    if chain is None:
        return cells
    slow = mcmc_seconds(prior.length, task, chain, curves)
    return [f"{slow:.2f} s", *cells, f"{slow / single:.0f}", f"{slow / batched:.0f}"]


def compare(options: argparse.Namespace) -> str:
    """The whole comparison as Markdown.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: its prior draws no learning curves, or none that the MCMC covers; impossible options.
    """
    checkpoint = load(options.checkpoint)
    prior = checkpoint.prior
    if not isinstance(prior, LearningCurve):
        raise ValueError(f"'{options.checkpoint}' was trained on '{prior.registered_name}', not on learning curves.")
    chain = None if options.no_mcmc else Chain(options.walkers, options.burn_in, options.steps, start=options.start)
    if chain:
        check_covered(prior)
    if options.curves < 2:
        raise ValueError("--curves must be at least 2, for standard errors.")
    whole_batches = -(-options.curves // BATCH) * BATCH  # so that more curves begin with the same ones
    settings = Settings(tasks=whole_batches, queries=prior.length, batch_size=BATCH, seed=options.seed, device="cpu")
    parts, times = [heading(options, prior)], []
    for percent in options.cutoffs:
        n_context = observed_steps(percent, prior.length)
        task = draw(prior, n_context, settings, options.curves)
        scores = score_all(checkpoint.network, task, percent)
        if chain:
            mcmc = score_mcmc(prior, n_context, task, settings, chain, options.cache, options.workers)
            scores = {"network": scores["network"], "MCMC": mcmc, **scores}
        published = percent if prior.length == 100 else None
        parts += [f"## {percent} %: {n_context} steps observed", table(scores, task.hidden.double().numpy(), published)]
        parts += [mcmc_notes(scores["network"], scores["MCMC"])] if chain else []
        times.append([f"{percent} %", *timing_row(checkpoint.network, prior, task, chain, options.timed)])
    titles = ["network, batch 1", "network, batch 64"]
    titles = ["MCMC", *titles, "ratio, batch 1", "ratio, batch 64"] if chain else titles
    parts += ["## Processor time per curve, one thread", markdown_table(["cutoff", *titles], times)]
    return "\n\n".join(parts)


def observed_steps(percent: int, length: int) -> int:
    """The number of steps that a cutoff stands for.

    Raises:
        ValueError: nothing would be observed, or nothing hidden.
    """
    steps = round(percent / 100 * length)
    if not 1 <= steps < length:
        raise ValueError(f"A cutoff of {percent} % of {length} steps leaves nothing to observe or to predict.")
    return steps


def score_all(network: Network, task: Task, percent: int) -> dict[str, Scores]:
    """Every quick method's scores."""
    methods: dict[str, Callable[..., Distribution]] = {
        "network": network,
        "parametric fits": parametric_fits,
        "last value": last_value,
    }
    with tqdm(desc=f"fits, {percent} %", total=len(methods) * len(task), unit="curve") as bar:
        scores = {name: score(predict, task, bar.update) for name, predict in methods.items()}
    return {**scores, "oracle": oracle(task)}


def heading(options: argparse.Namespace, prior: LearningCurve) -> str:
    """Title and what the columns mean."""
    return (
        f"# {options.checkpoint} on {options.curves} curves of its prior, {prior.length} steps\n\n"
        "Gap: log score of the oracle minus the method's, nats per point, mean over the curves ± one standard error; "
        "then the median curve's and the worst curve's. MSE: of the median against noisy values. Intervals: how often "
        f"they hold the noisy value, in per cent. Seed {options.seed}."
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="learning-curve", help="name or file")
    parser.add_argument("--curves", type=int, default=500, help="per cutoff, at least 2")
    parser.add_argument("--cutoffs", type=int, nargs="+", default=[10, 20, 40, 80], help="observed, in per cent")
    parser.add_argument("--seed", type=int, default=0, help="chooses the curves")
    parser.add_argument("--no-mcmc", action="store_true", help="leave out the slow reference")
    parser.add_argument("--cache", type=Path, default=Path("runs/references"), help="folder for the MCMC's scores")
    parser.add_argument("--workers", type=int, default=1, help="processes that run MCMC")
    parser.add_argument("--walkers", type=int, default=100)
    parser.add_argument("--burn-in", type=int, default=500)
    parser.add_argument("--steps", type=int, default=2000, help="of the chain after burn-in")
    parser.add_argument("--start", choices=("least squares", "prior"), default="least squares", help="of the chain")
    parser.add_argument("--timed", type=int, default=10, help="curves per cutoff on which MCMC's time is measured")
    parser.add_argument("--output", type=Path, help="also write the tables there")
    return parser


def main() -> None:
    run_comparison(parser(), compare, n_threads=1)


if __name__ == "__main__":
    main()
