"""Compares a network as a filter with particle filters and an extended Kalman filter, on the same series.

    python scripts/compare_filters.py                                  # range and bearing, 100 series of 100 steps
    python scripts/compare_filters.py dt-volatility --particles 500 5000 50000
    python scripts/compare_filters.py runs/tracking/checkpoint.safetensors --series 20 --particles 2000

Which problem it is, the checkpoint's prior tells. Particle filters take most of the time: with 10 000 particles about
a second per step of 100 series on one thread, a few minutes in all. Every method runs on --threads threads.

A particle filter knows its belief by weighted particles only. Its density at the true state is estimated in two ways:
by kernels, and by the Gaussian with the particles' mean and covariance. Where particles collapse onto one, either is
far off: hence the medians, and the column of such steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from tqdm import tqdm

from priorfit.checkpoints import Checkpoint
from priorfit.evaluation.filter_problems import extended_kalman_belief, state_space
from priorfit.evaluation.metrics import estimate
from priorfit.evaluation.particle_filter import (
    kernel_log_density,
    moment_belief,
    particle_clouds,
    particle_filter,
)
from priorfit.evaluation.scoring import Array
from priorfit.evaluation.state_space import StateSpace
from priorfit.evaluation.writers import markdown_table, with_error
from priorfit.hub import load
from priorfit.predictors import GaussianMixtureFilter
from priorfit.priors import RangeBearing
from priorfit.sources import unpack
from priorfit.training.task_stream import EVALUATION, task_generator
from scripts.threads import run_comparison

COLLAPSED = 10  # effective particles below which a step counts as one at which they collapsed
EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # first steps of the rows of the second table
TIMED_STEPS = 10  # of particle filters
# Whittle et al. 2025, table 3: NLL and seconds per step of 100 series. Their particle filter weighs by another
# likelihood than its own sensors', and their extended Kalman filter has a wrong process noise.
PUBLISHED = [
    ["published network", "-0.197 ± 0.020", "", "", "0.017"],
    ["published particle filter", "-0.244 ± 0.024", "", "", "0.818"],
    ["published extended Kalman filter", "95.9 ± 2.2", "", "", "0.010"],
]
HEADER = ["method", "NLL", "median", "collapsed", "s per step"]


class Track(NamedTuple):
    """What a method says of the true states.

    Attributes:
        nll: (S, t), nats.
        seconds: of processor time per step of all series.
        collapsed: whether particles did, (S, t), or None.
    """

    nll: Array
    seconds: float
    collapsed: Array | None = None


def nll_of(belief: Distribution, states: Tensor) -> Array:
    """NLL of states (S, t, d) under beliefs, (S, t)."""
    return -belief.log_prob(states.to(belief.mean.dtype)).double().numpy()


def network_track(checkpoint: Checkpoint, space: StateSpace, rows: Tensor, states: Tensor, n_components: int) -> Track:
    """The network as a filter."""
    model = GaussianMixtureFilter(
        checkpoint, space.transition_matrix, space.process_noise, n_components=n_components, device="cpu"
    )
    observations = by_source(space.sensors, rows)
    model.filter(space.initial, {name: values[:, :2] for name, values in observations.items()})  # allocates memory
    started = time.process_time()
    model.filter(space.initial, observations)
    seconds = (time.process_time() - started) / states.shape[1]
    return Track(-model.score(states), seconds)


def by_source(prior: Any, rows: Tensor) -> dict[str, Tensor]:
    """Observations (S, t, N, size) by source of rows (S, t, N, D), whose sources are the same in all steps."""
    found = {}
    for name, (values, here) in unpack(prior.sources, rows.flatten(0, 1)).items():
        kept = here[0] > 0
        if kept.any():
            found[name] = values[:, kept].unflatten(0, rows.shape[:2])
    return found


def kalman_track(prior: RangeBearing, rows: Tensor, states: Tensor) -> Track:
    """The extended Kalman filter."""
    started = time.process_time()
    belief = extended_kalman_belief(prior, rows)
    seconds = (time.process_time() - started) / states.shape[1]
    return Track(nll_of(belief, states), seconds)


def blind_track(space: StateSpace, states: Tensor) -> Track:
    """The dynamics alone, which observe nothing."""
    beliefs, started = [space.initial], time.process_time()
    while len(beliefs) < states.shape[1]:
        beliefs.append(beliefs[-1].affine(space.transition_matrix, space.offset, space.process_noise))
    seconds = (time.process_time() - started) / states.shape[1]
    scores = [nll_of(belief, state) for belief, state in zip(beliefs, states.unbind(1), strict=True)]
    return Track(np.stack(scores, 1), seconds)


def particle_tracks(space: StateSpace, rows: Tensor, states: Tensor, n_particles: int, seed: int) -> dict[str, Track]:
    """A particle filter, scored in two ways."""
    generator = torch.Generator().manual_seed(seed)
    scores = particle_filter(space, rows, states, n_particles, generator)
    collapsed = (scores.effective < COLLAPSED).numpy()
    ways: dict[str, tuple[Tensor, Callable[[Tensor, Tensor, Tensor], object]]] = {
        "kernels": (scores.kernel, kernel_log_density),
        "moments": (scores.moments, lambda particles, weights, _: moment_belief(particles, weights)),
    }
    return {
        f"{n_particles} particles, {name}": Track(
            -score.numpy(), particle_seconds(space, rows, states, n_particles, generator, believe), collapsed
        )
        for name, (score, believe) in ways.items()
    }


def particle_seconds(
    space: StateSpace,
    rows: Tensor,
    states: Tensor,
    n_particles: int,
    generator: torch.Generator,
    believe: Callable[[Tensor, Tensor, Tensor], object],
) -> float:
    """Processor time per step of a particle filter, with what makes a belief of particles, weights and true state."""
    n_timed = min(TIMED_STEPS, states.shape[1])
    clouds, started = particle_clouds(space, rows[:, :n_timed], n_particles, generator), time.process_time()
    for cloud, state in zip(clouds, states[:, :n_timed].unbind(1), strict=True):
        believe(*cloud, state)
    return (time.process_time() - started) / n_timed


def tracks(options: argparse.Namespace, checkpoint: Checkpoint, space: StateSpace) -> dict[str, Track]:
    """Every method on the same series."""
    generator = task_generator(options.seed, EVALUATION)
    states, rows = space.simulate(options.series, options.steps, generator)
    methods: list[Callable[[], dict[str, Track]]] = [
        lambda: {"network": network_track(checkpoint, space, rows, states, options.components)},
        *(
            lambda number=number: particle_tracks(space, rows, states, number, options.seed)
            for number in sorted(options.particles, reverse=True)
        ),
        lambda: {"no observations": blind_track(space, states)},
    ]
    prior = checkpoint.prior
    if isinstance(prior, RangeBearing):
        methods.insert(-1, lambda: {"extended Kalman filter": kalman_track(prior, rows, states)})
    found: dict[str, Track] = {}
    for method in tqdm(methods, "filters", unit="method"):
        found |= method()
    return found


def summary(found: dict[str, Track]) -> list[list[str]]:
    """One row per method."""
    return [
        [
            name,
            with_error(estimate(track.nll, np.arange(len(track.nll))), 3),
            f"{np.median(track.nll):.3f}",
            "" if track.collapsed is None else str(track.collapsed.sum()),
            f"{track.seconds:.4f}",
        ]
        for name, track in found.items()
    ]


def by_step(found: dict[str, Track], steps: int) -> list[list[str]]:
    """One row per part of the series: mean and median NLL of every method."""
    starts = [edge for edge in EDGES if edge <= steps]
    rows = []
    for start, following in zip(starts, [*starts[1:], steps + 1], strict=True):
        parts = [track.nll[:, start - 1 : following - 1] for track in found.values()]
        label = str(start) if following == start + 1 else f"{start}-{following - 1}"
        rows.append([label, *(f"{part.mean():.2f} / {np.median(part):.2f}" for part in parts)])
    return rows


def compare(options: argparse.Namespace) -> str:
    """The whole comparison as Markdown.

    Raises:
        CheckpointError: no such checkpoint, or its network is no filter.
        ValueError: its prior has no dynamics, or impossible options.
    """
    if min(options.series, options.steps, options.components, *options.particles) < 2:
        raise ValueError("--series, --steps, --components and --particles must be at least 2.")
    checkpoint = load(options.checkpoint)
    prior = checkpoint.prior
    space = state_space(prior)
    found = tracks(options, checkpoint, space)
    published = PUBLISHED if isinstance(prior, RangeBearing) and options.steps == 100 else []
    return "\n\n".join(
        [
            f"# {options.checkpoint}: {options.series} series of {options.steps} steps of '{prior.registered_name}'",
            "NLL of the true state given all observations up to then, nats, mean over steps and series ± one standard "
            "error from the spread between series; then the median. Collapsed: steps at which fewer than "
            f"{COLLAPSED} particles carry the weight. Seconds: of processor time per step of all series, from one "
            f"belief to the next, {options.threads} thread(s). The network has {options.components} components. "
            f"Seed {options.seed}.",
            markdown_table(HEADER, summary(found) + published),
            "## By step: mean / median NLL",
            markdown_table(["steps", *found], by_step(found, options.steps)),
            excess(found),
        ]
    )


def excess(found: dict[str, Track]) -> str:
    """How the network compares with the largest particle filter, in sentences."""
    own, sentences = found["network"], []
    filters = {name: track for name, track in found.items() if track.collapsed is not None}
    for name, track in list(filters.items())[:2]:
        assert track.collapsed is not None
        difference = np.ma.masked_array(own.nll - track.nll, track.collapsed)
        series = difference.mean(1).compressed()  # those with a step at which particles did not collapse
        paired = with_error(estimate(series[:, None], np.arange(len(series))), 3)
        sentences.append(
            f"{paired} (median {np.ma.median(difference):.3f}) to {name}, in 1/{track.seconds / own.seconds:.0f} of "
            "their time"
        )
    return (
        f"NLL of the network minus theirs, paired, without the steps at which they collapsed: {'; '.join(sentences)}."
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="dt-sensor-fusion", help="name or file")
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--components", type=int, default=4, help="of the network's beliefs")
    parser.add_argument("--particles", type=int, nargs="+", default=[500, 2000, 10000], help="of the particle filters")
    parser.add_argument("--threads", type=int, default=1, help="for every method")
    parser.add_argument("--seed", type=int, default=0, help="chooses the series")
    parser.add_argument("--output", type=Path, help="also write the tables there")
    return parser


def main() -> None:
    run_comparison(parser(), compare)


if __name__ == "__main__":
    main()
