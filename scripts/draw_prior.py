"""Draws a picture of tasks from any prior: python -m scripts.draw_prior prior=scm

    python -m scripts.draw_prior experiment=learning-curve --output curves.png
    python -m scripts.draw_prior prior=scm_graph 'prior.target={kind: classes}' --tasks 20 --seed 1

Takes the same changes of the configuration as train.py, and seconds. Prints how many of --count further tasks were
degenerate and drawn again, where the prior counts them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

import priorfit.training.main  # noqa: F401  registers what names runs in the configuration
from priorfit.evaluation.prior_figure import count_lines, prior_figure
from priorfit.files import replacing
from priorfit.priors import Prior
from priorfit.training.instantiate import instantiate, suggestions
from priorfit.training.task_stream import EVALUATION, task_generator

BATCH = 64


def configuration(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration of "train" or "evaluate" with these changes.

    Raises:
        ValueError: an unknown option.
    """
    try:
        with initialize_config_module("priorfit.configs", version_base="1.3"):
            return compose(command, [*overrides, "name=none", "output=."])
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError("\n".join([str(error), *suggestions(overrides)])) from error


def build_prior(overrides: Sequence[str]) -> Prior:
    """The prior that a configuration with these changes asks for.

    Raises:
        ValueError: an unknown option or an impossible prior.
    """
    return instantiate(configuration("train", overrides).prior)


def count(prior: Prior, tasks: int, seed: int) -> list[str]:
    """Draws tasks, and says how many were degenerate."""
    if not prior.counts:
        return ["This prior does not count degenerate draws."]
    for index in tqdm(range(-(-tasks // BATCH)), "counting", unit="batch"):
        prior.sample(BATCH, generator=task_generator(seed, EVALUATION, 3, index))
    return count_lines(prior.counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for train.py: prior=NAME prior.sizes.features=2")
    parser.add_argument("--tasks", type=int, default=12, help="panels")
    parser.add_argument("--count", type=int, default=1024, help="further tasks among which degenerate ones are counted")
    parser.add_argument("--seed", type=int, default=0, help="chooses the tasks")
    parser.add_argument("--output", type=Path, default=Path("runs/prior.png"), help="the picture's file, .png")
    options = parser.parse_args()
    try:
        prior = build_prior(options.overrides)
        figure = prior_figure(prior, options.tasks, options.seed)
        with replacing(options.output) as temporary:
            figure.savefig(temporary, format="png", dpi=150)
        lines = count(prior, options.count, options.seed)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print("\n".join([str(options.output), *lines]))


if __name__ == "__main__":
    main()
