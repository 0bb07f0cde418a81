"""Writes tasks of any prior into an HDF5 file, for training or for evaluation.

    python -m scripts.dump_tasks experiment=quickstart --tasks 100000 --output tasks.h5
    python train.py experiment=quickstart data=hdf5 path=tasks.h5

    python -m scripts.dump_tasks prior=learning_curve --context-sizes 10 20 40 80 --queries 100 --tasks 500 \\
        --reference mcmc --output curves.h5
    python evaluate.py checkpoint=learning-curve data=hdf5 path=curves.h5 reference=mcmc

Without --context-sizes, tasks are for training: their sizes are as the prior draws them, batch for batch what train.py
would draw. With them, tasks are for evaluation: as many for each size, the same that evaluate.py would draw. Takes the
same changes of the configuration as train.py or, with checkpoint=NAME, as evaluate.py.

Seconds for most priors; MCMC takes a second per curve, and is spread over --workers processes. An interrupted run goes
on where it stopped when it is started again. Without --tasks, only the --reference is added to the file that exists.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from priorfit.evaluation.bnn_mcmc import chain_seed
from priorfit.evaluation.reference_methods import reference_method, reference_methods
from priorfit.evaluation.scoring import Array, draw_tasks
from priorfit.evaluation.settings import Settings, changed_prior
from priorfit.hub import load
from priorfit.priors import Prior, Task
from priorfit.task_files import TaskFile, write_reference, write_tasks
from priorfit.training.instantiate import plain_config
from priorfit.training.task_stream import TaskStream
from scripts.draw_prior import build_prior, configuration


class Plan(NamedTuple):
    """What a file is to hold."""

    key: dict[str, Any]
    batches: int
    tasks: int
    draw: Callable[[int], Iterable[Task]]  # the batches from a number on


def chosen_prior(overrides: Sequence[str]) -> Prior:
    """The prior of a configuration for training or, where a checkpoint is named, for evaluation.

    Raises:
        ValueError: an unknown option, checkpoint or prior.
    """
    if not names_checkpoint(overrides):
        return build_prior(overrides)
    config = configuration("evaluate", overrides)
    return changed_prior(load(config.checkpoint), plain_config(config)["prior"])


def names_checkpoint(overrides: Sequence[str]) -> bool:
    """Whether the prior is to be a checkpoint's."""
    return any(override.startswith("checkpoint=") for override in overrides)


def plan(options: argparse.Namespace) -> Plan:
    """What the options ask for.

    Raises:
        ValueError: an unknown option, checkpoint or prior, or impossible sizes.
    """
    if options.tasks < 1:
        raise ValueError(f"--tasks must be at least 1, not {options.tasks}.")
    prior = chosen_prior(options.overrides)
    common = {"prior": {"name": prior.registered_name, "arguments": prior.arguments}, "seed": options.seed}
    make = training_plan if options.context_sizes is None else evaluation_plan
    made = make(prior, options)
    return made._replace(key={**common, **made.key})


def training_plan(prior: Prior, options: argparse.Namespace) -> Plan:
    """The batches of rank 0 of a training."""
    own = [] if names_checkpoint(options.overrides) else options.overrides
    batch_size = options.batch_size or configuration("train", own).batch_size
    stream = TaskStream(prior, batch_size, options.seed)
    batches = -(-options.tasks // batch_size)

    def draw(first: int) -> Iterator[Task]:
        return map(stream.batch, count(first))

    return Plan({"purpose": "training", "batch_size": batch_size}, batches, batches * batch_size, draw)


def evaluation_plan(prior: Prior, options: argparse.Namespace) -> Plan:
    """The batches of an evaluation."""
    sizes = options.context_sizes
    given = {name: getattr(options, name) for name in ("tasks", "queries", "seed")}
    given["batch_size"] = options.batch_size or Settings.batch_size
    settings = Settings(sizes, **given, device="cpu")
    key = {"purpose": "evaluation", "context_sizes": sizes, **given}
    batches = len(sizes) * -(-settings.tasks // settings.batch_size)
    return Plan(key, batches, len(sizes) * settings.tasks, partial(evaluation_tasks, prior, settings))


def evaluation_tasks(prior: Prior, settings: Settings, first: int) -> Iterator[Task]:
    """The batches that an evaluation draws, one context size after the other, from number `first` on.

    Batches of one context size share a generator, so that all of them are drawn.
    """
    each = -(-settings.tasks // settings.batch_size)
    for position, n_context in enumerate(settings.context_sizes or ()):
        if (position + 1) * each > first:
            for number, task in enumerate(draw_tasks(prior, n_context, settings), position * each):
                if number >= first:
                    yield task


def add_reference(name: str, path: Path, workers: int) -> None:
    """Computes a reference for the batches that lack it, and writes each as soon as it is there.

    Raises:
        ValueError: a file without fixed context sizes, or a method that is unknown or not for its prior.
    """
    file = TaskFile(path).check_complete()
    if not file.context_sizes:
        raise ValueError(f"'{path}' has tasks for training: references are for tasks that --context-sizes fixes.")
    method = reference_method(name, file.prior)
    jobs = delayed(score_batch)

    def compute(missing: range) -> Iterator[dict[str, Array]]:
        with parallel_config("loky", inner_max_num_threads=1):
            found: Any = Parallel(workers, return_as="generator")(jobs(name, file, number) for number in missing)
            yield from found

    key = {"method": name, "settings": method.settings, "seed": file.key["seed"]}
    with tqdm(total=len(file.context_sizes) * file.key["tasks"], desc=f"Reference {name}", unit="task") as bar:
        write_reference(path, name, key, compute, bar.update)


def score_batch(name: str, file: TaskFile, number: int) -> dict[str, Array]:
    """What a reference says of one batch; a function of the file's seed and the batch's number."""
    prior = file.prior.with_context(file.context_of(number), file.key["queries"])
    return reference_method(name, prior).compute(prior, file.batch(number), chain_seed(file.key["seed"], number))


def summary(path: Path) -> str:
    """What the file holds."""
    file = TaskFile(path)
    size = path.stat().st_size / 2**20
    lines = [f"{path}: {file.tasks} tasks in {len(file)} batches, {size:.1f} MiB"]
    return "\n".join([*lines, *(f"reference {name}" for name in file.references)])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    own = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("overrides", nargs="*", help="as for train.py: prior=NAME prior.sizes.features=2")
    own.add_argument("--output", type=Path, required=True, help="the file, .h5")
    own.add_argument("--tasks", type=int, help="in all or, with --context-sizes, for each of them")
    own.add_argument("--batch-size", type=int, help="the configuration's, or 50 with --context-sizes")
    own.add_argument("--context-sizes", type=int, nargs="+", help="observed items of tasks for an evaluation")
    own.add_argument("--queries", type=int, default=Settings.queries, help="hidden items of these tasks")
    own.add_argument("--seed", type=int, default=0, help="chooses the tasks and the reference's random numbers")
    own.add_argument("--reference", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(reference_methods)}")
    own.add_argument("--workers", type=int, default=1, help="processes that compute references")
    return own


def main() -> None:
    own = parser()
    options = own.parse_args()
    try:
        if options.tasks is not None:
            wanted = plan(options)
            with tqdm(total=wanted.tasks, desc="Tasks", unit="task") as bar:
                write_tasks(options.output, wanted.key, wanted.batches, wanted.draw, bar.update)
        elif options.overrides or not options.output.exists():
            raise ValueError("How many tasks? Give --tasks; without it, a reference is added to a file that exists.")
        for name in options.reference:
            add_reference(name, options.output, options.workers)
        print(summary(options.output))
    except (ImportError, OSError, ValueError) as error:
        own.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
