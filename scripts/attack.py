"""Attacks networks: the smallest changes of measured values that move their answers most, and what they do.

    python -m scripts.attack gp-1d
    python -m scripts.attack runs/gp-plain/checkpoint.safetensors --against runs/gp-robust/checkpoint.safetensors
    python -m scripts.attack markov-jump --eps        # no measured numbers: observations twice and left out only

An attack changes the measured values of a task by d, of Euclidean length eps in standard deviations of what the prior
draws, so that KL(answer before || answer after) is as large as gradient ascent can make it (Glöckler, Deistler and
Macke 2023, "Adversarial robustness of amortized Bayesian inference"). Beside it stand random changes of that length,
one observation that is given twice or left out, and, where the prior knows it, the exact posterior under the very same
changes: a network can be blamed only for what that does not do. Training with fisher=… makes answers move less.

The defaults take half a minute to five minutes of one core per network, more where the reference is slow. The figure
shows sizes and results of the attacks, and one of them (--show) on the task of median KL divergence.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from priorfit.checkpoints import Checkpoint
from priorfit.evaluation.attack_example import Example, attack_example
from priorfit.evaluation.main import checkpoint_name
from priorfit.evaluation.robustness import Response, responses
from priorfit.evaluation.robustness_figure import robustness_figure
from priorfit.evaluation.settings import Settings
from priorfit.evaluation.writers import markdown_table, with_error
from priorfit.files import replacing
from priorfit.hub import load
from priorfit.priors import Prior
from scripts.threads import run_comparison

HEADER = ("change", "eps", "KL, network", "KL, exact", "KL exact to network", "NLL of the truth", "coverage, %")
NOTES = (
    "Nats per hidden value, mean ± one standard error over {tasks} tasks of n = {n}. eps: length of the change of all "
    "measured values of a task, in standard deviations. KL, network: from the answer before the change to that after "
    "it; exact: the same of the exact posterior, under the same change; exact to network: from the exact posterior to "
    "the network's answer, both after the change (0 for a perfect network). Coverage: of 90 % intervals."
)


def table(rows: Sequence[Response]) -> str:
    """All changes of one network, as a Markdown table without empty columns."""
    columns = [[row.kind for row in rows], [f"{row.size:g}" if row.size else "" for row in rows]]
    estimates = [(row.moved, row.exact, row.gap, row.nll) for row in rows]
    columns += [[with_error(one) for one in column] for column in zip(*estimates, strict=True)]
    columns.append(["" if row.coverage is None else f"{100 * row.coverage.mean:.1f}" for row in rows])
    kept = [(name, column) for name, column in zip(HEADER, columns, strict=True) if any(column)]
    return markdown_table([name for name, _ in kept], list(zip(*(column for _, column in kept), strict=True)))


def middle_size(prior: Prior) -> int:
    """The middle one of the context sizes that an evaluation of the prior measures at, without 0.

    Raises:
        ValueError: there is none.
    """
    sizes = [n for n in prior.context_sizes() if n > 0]
    if not sizes:
        raise ValueError(f"Tasks of '{prior.registered_name}' have no observations that could be changed.")
    return sizes[len(sizes) // 2]


def load_pair(options: argparse.Namespace) -> dict[str, Checkpoint]:
    """The networks by short names.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: networks of different priors, or twice the same.
    """
    names = [name for name in (options.checkpoint, options.against) if name]
    loaded = {checkpoint_name(name): load(name) for name in names}
    if len(loaded) < len(names):
        raise ValueError(f"--against needs a network of another name than '{next(iter(loaded))}'.")
    described = [(one.prior.registered_name, one.prior.arguments) for one in loaded.values()]
    if any(one != described[0] for one in described):
        raise ValueError("Networks can be compared on one prior only; these were trained on different ones.")
    return loaded


def draw(
    loaded: Mapping[str, Checkpoint],
    found: Mapping[str, Sequence[Response]],
    n_context: int,
    size: float,
    settings: Settings,
    path: Path,
) -> None:
    """Writes the figure, with one attack of this size on the same task for all networks."""
    examples: dict[str, Example] = {}
    for name, one in loaded.items():
        chosen = next((example.task for example in examples.values()), None)
        examples[name] = attack_example(one.network, one.prior, n_context, size, settings, chosen)
    figure = robustness_figure(found, examples, size, n_context)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def compare(options: argparse.Namespace) -> str:
    """Attacks one or two networks, and writes the figure.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: impossible options, a prior without measured numbers, or networks of different priors.
    """
    loaded, names = load_pair(options), ("tasks", "queries", "batch_size", "draws", "seed")
    settings = Settings(**{name: getattr(options, name) for name in names}, device="cpu")
    prior = next(iter(loaded.values())).prior
    n_context = middle_size(prior) if options.context is None else options.context
    found = {}
    for name, one in loaded.items():
        with tqdm(desc=name, total=options.tasks, unit="task") as bar:
            found[name] = responses(one.network, prior, n_context, options.eps, settings, bar.update)
    if options.eps:
        size = options.eps[-1] if options.show is None else options.show
        draw(loaded, found, n_context, size, settings, options.figure)
    tables = [f"## {name}\n\n{table(rows)}" for name, rows in found.items()]
    return "\n\n".join(["# Robustness", NOTES.format(tasks=options.tasks, n=n_context), *tables])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="name or file")
    parser.add_argument("--against", help="another network of the same prior, name or file")
    parser.add_argument("--eps", type=float, nargs="*", default=[0.01, 0.03, 0.1, 0.3], help="sizes of changes")
    parser.add_argument("--context", type=int, help="observations of each task; by default one that evaluations use")
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--queries", type=int, default=8, help="hidden values of each task, where the prior can choose")
    parser.add_argument("--batch-size", type=int, default=25, help="tasks that are attacked at once")
    parser.add_argument("--draws", type=int, default=256, help="per task, for KL divergences")
    parser.add_argument("--seed", type=int, default=0, help="chooses the tasks")
    parser.add_argument("--show", type=float, help="size of the attacks in the figure; by default the largest")
    parser.add_argument("--figure", type=Path, default=Path("runs/attack.png"), help="the figure's file, .png")
    parser.add_argument("--output", type=Path, help="also write the tables there")
    run_comparison(parser, compare, n_threads=1)


if __name__ == "__main__":
    main()
