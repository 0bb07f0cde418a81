"""Compares a network for Markov jump processes with maximum likelihood: on its prior, and on systems it never saw.

    python scripts/compare_jump.py markov-jump
    python scripts/compare_jump.py runs/jump/checkpoint.safetensors --tasks 4 --repeats 2 --parts prior ratchet

On one thread, so that processor times can be compared: about three quarters of an hour of one core with the defaults.
Likelihood fits of six states with noise take two to four seconds at 300 paths, full Bayes of two states ten. What it
has drawn is kept in --cache, so that the next comparison and an interrupted one go on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from priorfit.evaluation.jump_mcmc import Chain, check_covered, sample
from priorfit.evaluation.metrics import Estimate, coverage
from priorfit.evaluation.reference_cache import ReferenceCache, fingerprints
from priorfit.evaluation.scoring import Array
from priorfit.evaluation.writers import markdown_table, with_error
from priorfit.hub import load
from priorfit.predictors.jump_posterior import off_diagonal
from priorfit.priors import MarkovJump, Task
from scripts.jump_methods import POINTS, Answer, Method, Panel, error, from_draws, mean, methods
from scripts.jump_systems_tables import channel_part, folding_part, potentials_part, ratchet_part
from scripts.threads import run_comparison

LEVELS = (0.5, 0.9)
PARTS = ("prior", "calibration", "bayes", "ratchet", "potentials", "channel", "folding")


def prior_part(ways: Mapping[str, Method], options: argparse.Namespace) -> str:
    """Fresh tasks of the published prior: errors, coverage and time."""
    errors, covered, times = [], [], []
    cells = list(product(options.states, options.noise, options.paths))
    with tqdm(total=len(cells) * options.tasks, unit="task") as bar:
        for n_states, noise, n_paths in cells:
            bar.set_description(f"{n_states} states, noise {noise:.0%}, {n_paths} paths")
            answers, truth = solve(ways, cell_prior(n_states, noise, n_paths), options, bar)
            name = [str(n_states), f"{noise:.0%}", str(n_paths)]
            guess = [error(prior_mean(n_states), rates) for rates in truth]
            found = {way: [error(a.rates, t) for a, t in zip(own, truth, strict=True)] for way, own in answers.items()}
            errors.append([*name, *map(mean_and_median, ({"prior": guess} | found).values())])
            covered.append([*name, *(cell for way, own in answers.items() for cell in shares(way, own, truth))])
            times.append([*name, *timing(answers)])
    titles = ["states", "noise", "paths"]
    intervals = [f"{way}, {level:.0%}" for way in ways for level in LEVELS]
    return "\n\n".join(
        [
            f"## Published prior, {options.tasks} tasks each: RMSE of the rates, mean ± standard error (median)",
            f"{POINTS} regular points per path. Fits may go up to ten jumps in the smallest gap between observations: "
            "where the likelihood grows for ever, that is how far they go.",
            markdown_table([*titles, "prior mean", *ways], errors),
            "How often central intervals hold the rate, in per cent: of the network all rates, of the others, which "
            "know none that are absent, those above 0.",
            markdown_table([*titles, *intervals], covered),
            "Processor seconds per process, one thread.",
            markdown_table([*titles, *ways, "noise known / network"], times),
        ]
    )


def solve(
    ways: Mapping[str, Method], prior: MarkovJump, options: argparse.Namespace, bar: tqdm
) -> tuple[dict[str, list[Answer]], Array]:
    """Every method's answers on the same tasks, and the true rates (tasks, S, S)."""
    generator = torch.Generator().manual_seed(options.seed)
    draw = prior.simulate(options.tasks, generator=generator)
    answers: dict[str, list[Answer]] = {way: [] for way in ways}
    for times, states, n_states, noise in zip(*draw.observed, draw.noise, strict=True):
        panel = Panel(times, states, int(n_states), float(noise))
        for way, method in ways.items():
            answers[way].append(method(panel))
        bar.update()
    return answers, draw.rates.double().numpy()


def prior_mean(n_states: int) -> Array:
    """Mean rates of the published prior, from draws; by symmetry all are equal."""
    prior = MarkovJump(n_states, state_weights=None, paths=1, points=2)
    rates = prior.simulate(4000, generator=torch.Generator().manual_seed(0)).rates.double().numpy()
    return np.full((n_states, n_states), rates[:, off_diagonal(n_states)].mean()) * off_diagonal(n_states)


def mean_and_median(values: Sequence[float]) -> str:
    """Likelihood fits go astray on some tasks, which then make the mean."""
    return f"{mean(values)} ({np.median(values):.3f})"


def shares(way: str, answers: Sequence[Answer], truth: Array) -> list[str]:
    """Coverage at every level, in per cent."""
    levels = levels_of(answers, truth)
    if way != "network":  # the others know no rates that are absent, nor intervals at the bounds of a fit
        levels = levels[(truth[:, off_diagonal(truth.shape[-1])] > 0) & ~np.isnan(levels)]
    return [f"{100 * (np.abs(2 * levels - 1) <= level).mean():.1f}" for level in LEVELS]


def levels_of(answers: Sequence[Answer], truth: Array) -> Array:
    """Probability integral transforms of the true rates (tasks, S, S), (tasks, S (S - 1))."""
    spread = np.random.default_rng(0).uniform(size=(len(truth), truth.shape[-1] * (truth.shape[-1] - 1)))
    return np.stack([answer.level(*pair) for answer, *pair in zip(answers, truth, spread, strict=True)])


def timing(answers: Mapping[str, Sequence[Answer]]) -> list[str]:
    """Mean seconds of every method, and how many times the network's the likelihood fit takes."""
    seconds = {way: float(np.mean([answer.seconds for answer in own])) for way, own in answers.items()}
    return [*(f"{value:.3f}" for value in seconds.values()), f"{seconds['ML, noise known'] / seconds['network']:.0f}"]


def calibration_part(ways: Mapping[str, Method], options: argparse.Namespace) -> str:
    """The network alone, on more tasks of the published prior."""
    rows, own = [], {"network": ways["network"]}
    cells = list(product(options.states, options.noise, options.paths))
    more = argparse.Namespace(tasks=options.calibration_tasks, seed=options.seed + 1)
    with tqdm(total=len(cells) * more.tasks, desc="calibration", unit="task") as bar:
        for n_states, noise, n_paths in cells:
            answers, truth = solve(own, cell_prior(n_states, noise, n_paths), more, bar)
            pairs = list(zip(answers["network"], truth, strict=True))
            levels = levels_of(answers["network"], truth)
            found = coverage(levels, LEVELS, np.arange(len(levels)))
            inside = [with_error(Estimate(100 * one.mean, 100 * one.standard_error), 1) for one in found]
            distance = mean([error(answer.rates, rates) for answer, rates in pairs])
            rows.append([str(n_states), f"{noise:.0%}", str(n_paths), distance, *inside])
    header = ["states", "noise", "paths", "RMSE", *(f"{level:.0%} interval" for level in LEVELS)]
    return f"## The network alone, {more.tasks} tasks each\n\n{markdown_table(header, rows)}"


def cell_prior(n_states: int, noise: float, n_paths: int) -> MarkovJump:
    """The published prior at fixed sizes, on 100 regular points."""
    return MarkovJump(n_states, state_weights=None, paths=n_paths, points=POINTS, grids={"full": 1}, noise=noise)


def bayes_part(ways: Mapping[str, Method], options: argparse.Namespace) -> str:
    """The network and full Bayes, for few states."""
    rows, own = [], {name: way for name, way in ways.items() if name in ("ML, noise known", "network")}
    for n_states, noise, n_paths in product(options.bayes_states, options.noise, options.bayes_paths):
        prior = cell_prior(n_states, noise, n_paths)
        task = prior.sample(options.tasks, generator=torch.Generator().manual_seed(options.seed))
        with tqdm(total=options.tasks, desc=f"network, {n_states} states, {n_paths} paths", unit="task") as bar:
            answers, truth = solve(own, prior, options, bar)
        answers["full Bayes"] = full_bayes(prior, task, noise, options)
        found = {way: [error(a.rates, t) for a, t in zip(some, truth, strict=True)] for way, some in answers.items()}
        difference = np.subtract(found["network"], found["full Bayes"]).tolist()
        covered = shares("network", answers["full Bayes"], truth)
        seconds = np.mean([answer.seconds for answer in answers["full Bayes"]])
        cells = [*map(mean, found.values()), mean(difference), *covered, f"{seconds:.1f}"]
        rows.append([str(n_states), f"{noise:.0%}", str(n_paths), *cells])
    intervals = [f"full Bayes, {level:.0%}" for level in LEVELS]
    header = ["states", "noise", "paths", *own, "full Bayes", "network - full Bayes", *intervals, "CPU seconds"]
    title = f"## Full Bayes by MCMC, {options.tasks} tasks each: RMSE of the rates"
    return f"{title}\n\n{markdown_table(header, rows)}"


def full_bayes(prior: MarkovJump, task: Task, noise: float, options: argparse.Namespace) -> list[Answer]:
    """Posterior draws of every task, read from the cache as far as it has them."""
    times, states, n_states = task.observed
    key = {"prior": check_covered(prior).arguments, "seed": options.seed, "tasks": len(task), **asdict(Chain())}

    def compute(missing: range) -> Iterator[dict[str, Array]]:
        for i in tqdm(missing, "MCMC", unit="task"):
            yield sample(times[i], states[i], int(n_states[i]), noise, Chain(), (options.seed, i))

    found = ReferenceCache(options.cache, "jump-mcmc", key).complete(fingerprints(task), compute)
    return [from_draws(*pair) for pair in zip(found["rates"], found["cpu_seconds"], strict=True)]


def compare(options: argparse.Namespace) -> str:
    """The whole comparison as Markdown.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: its network does not read jump processes.
    """
    ways = methods(load(options.checkpoint), options.refine)
    parts = {
        "prior": prior_part,
        "calibration": calibration_part,
        "bayes": bayes_part,
        "ratchet": ratchet_part,
        "potentials": potentials_part,
        "channel": channel_part,
        "folding": folding_part,
    }
    title = f"# {options.checkpoint} against maximum likelihood, seed {options.seed}"
    return "\n\n".join([title, *(parts[name](ways, options) for name in options.parts)])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    own = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("checkpoint", nargs="?", default="markov-jump", help="name or file")
    own.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    own.add_argument("--tasks", type=int, default=12, help="of the prior, per cell, at least 2")
    own.add_argument("--calibration-tasks", type=int, default=200, help="of the prior, for the network alone")
    own.add_argument("--states", type=int, nargs="+", default=[2, 4, 6])
    own.add_argument("--noise", type=float, nargs="+", default=[0.01, 0.1])
    own.add_argument("--paths", type=int, nargs="+", default=[10, 30, 300])
    own.add_argument("--bayes-states", type=int, nargs="+", default=[2], help="at most 3")
    own.add_argument("--bayes-paths", type=int, nargs="+", default=[10, 30])
    own.add_argument("--cache", type=Path, default=Path("runs/references"), help="folder for what MCMC has drawn")
    own.add_argument("--repeats", type=int, default=10, help="sets of ratchet paths, at least 2")
    own.add_argument("--ratchet-paths", type=int, nargs="+", default=[1, 30, 100, 300, 500, 1000, 5000])
    own.add_argument("--system-paths", type=int, default=300, help="of ratchets at other potentials or times")
    own.add_argument("--potentials", type=float, nargs="+", default=[0, 0.5, 1, 1.5, 2, 2.5, 3], help="V")
    own.add_argument("--folding-paths", type=int, default=1000)
    own.add_argument("--refine", action=argparse.BooleanOptionalAction, default=True, help="also ask with refine=True")
    own.add_argument("--seed", type=int, default=0)
    own.add_argument("--output", type=Path, help="also write the tables there")
    return own


def main() -> None:
    run_comparison(parser(), compare, n_threads=1)


if __name__ == "__main__":
    main()
