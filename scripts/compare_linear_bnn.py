"""Compares a network with the exact posterior, NUTS and variational inference on the published linear "BNN".

    python -m scripts.compare_linear_bnn bnn-small
    python -m scripts.compare_linear_bnn bnn-big --tasks 50

The comparison of Müller et al. 2022, section 5.3 and figure 5: 100 tasks of 100 rows and 200 queries, one chain of NUTS
with as many warm-up iterations as draws, and mean-field variational inference with as many steps as draws. Here both
are scored twice: by the average of their draws' probabilities, and as published, by the frequency of labels sampled
from them, one from each draw (log probabilities cut at -100). The exact posterior, which is importance sampling over
the few coefficients that a linear network has, is scored in both ways too. It shows what the published scoring adds.

Scores of NUTS and SVI are kept in --cache. They need numpyro: pip install 'priorfit[mcmc]'. Times are processor times
of one thread and of this run, one task at a time, compilation left out. With the defaults about five minutes on one
core for the smaller and fifteen for the larger network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from priorfit.checkpoints import Checkpoint
from priorfit.evaluation.bnn_mcmc import chain_seed
from priorfit.evaluation.cached_scores import cached_scores
from priorfit.evaluation.metrics import estimate
from priorfit.evaluation.nuts import Chain
from priorfit.evaluation.nuts_linear import check_covered, score_chances, score_nuts, score_svi
from priorfit.evaluation.scoring import Array, Scores, draw_tasks, score
from priorfit.evaluation.settings import Settings, changed_prior
from priorfit.evaluation.writers import markdown_table, with_error
from priorfit.hub import load
from priorfit.models import Network
from priorfit.priors import LinearBNN, Task
from scripts.threads import run_comparison
from scripts.timing import milliseconds, ratio, seconds_per_task

# Exact NLL and accuracy by features, hidden units and n, and NLL of the true weights; from a computation outside of
# this project on 300 tasks of 200 queries (s.e. .007 and .002 at n = 100). The paper has curves only.
PUBLISHED: dict[tuple[int, int], dict[int, tuple[float, float]]] = {
    (3, 5): {
        2: (0.589, 69.2), 5: (0.488, 76.3), 10: (0.397, 82.2), 20: (0.315, 86.4), 50: (0.265, 88.5), 100: (0.247, 89.4),
    },
    (8, 64): {
        2: (0.646, 62.0), 5: (0.566, 69.9), 10: (0.458, 77.6), 20: (0.313, 85.3), 50: (0.161, 92.7), 100: (0.099, 95.7),
    },
}  # fmt: skip
PUBLISHED_ORACLE = {(3, 5): 0.226, (8, 64): 0.043}
# The exact posterior of the smaller network at n = 100 by the published scoring, by the number of labels; likewise.
PUBLISHED_LABELS = {(3, 5): {16: 1.03, 64: 0.414, 256: 0.288, 1024: 0.253, 4096: 0.251}, (8, 64): {}}
HEADER = ["n", "network", "exact", "network - exact", "true weights", "published setting: exact", "its true weights"]
HEADER += ["accuracy of network, %", "of exact", "published setting: of exact", "ESS"]
METHOD_HEADER = ["method", "draws", "NLL", "method - exact", "network - method", "NLL, published scoring"]
METHOD_HEADER += ["published setting, exact posterior so", "R-hat", "worst", "ESS", "worst", "ms", "method / network"]


class Method(NamedTuple):
    """One way to a posterior.

    Attributes:
        name: as the table has it.
        draws: that it makes.
        described: all that its scores depend on beside the tasks.
        compute: from tasks and a seed to scores, see `nuts_linear`.
    """

    name: str
    draws: int
    described: Mapping[str, object]
    compute: Callable[[Task, int], Mapping[str, Array]]


def methods(prior: LinearBNN, options: argparse.Namespace) -> list[Method]:
    """Every method at every number of draws."""
    exact = [
        Method(
            "exact",
            number,
            {"draws": number},
            lambda task, seed, number=number: exact_labels(prior, task, number, seed),
        )
        for number in sorted({*options.nuts, *options.svi})
    ]
    chains = [Chain(1, number, number) for number in options.nuts]
    nuts = [
        Method("NUTS", chain.draws, asdict(chain), lambda task, seed, chain=chain: score_nuts(prior, task, chain, seed))
        for chain in chains
    ]
    svi = [
        Method("SVI", number, {"steps": number, "draws": number},
               lambda task, seed, number=number: score_svi(prior, task, number, seed))
        for number in options.svi
    ]  # fmt: skip
    return [*exact, *nuts, *svi]


def exact_labels(prior: LinearBNN, task: Task, number: int, seed: int) -> dict[str, Array]:
    """Scores of the exact posterior, averaged and by so many labels."""
    chance = prior.posterior(task).probs[..., 1].numpy()
    return score_chances(np.broadcast_to(chance[:, None, None], (len(chance), 1, number, chance.shape[1])), task, seed)


def oracle(prior: LinearBNN, n_context: int, settings: Settings) -> Array:
    """Log probability given each task's weights, (T, S)."""
    parts = []
    for task in draw_tasks(prior, n_context, settings):
        assert task.law is not None
        parts.append(task.law.log_prob(task.hidden).double().numpy())
    return np.concatenate(parts)


def exact_accuracy(prior: LinearBNN, n_context: int, settings: Settings) -> Array:
    """Whether the exact posterior's most probable class is the hidden one, (T, S)."""
    tasks = draw_tasks(prior, n_context, settings)
    return np.concatenate([(prior.posterior(task).probs.argmax(-1) == task.hidden).double().numpy() for task in tasks])


def size_row(own: Scores, prior: LinearBNN, settings: Settings) -> list[str]:
    """One context size: network, exact posterior and true weights."""
    assert own.reference is not None
    assert own.correct is not None
    assert own.effective_sample_size is not None
    key = (prior.sizes.features[0], prior.hidden)
    nll, accuracy = PUBLISHED.get(key, {}).get(own.n_context, (None, None))
    known = PUBLISHED_ORACLE.get(key)

    def cell(values: Array, digits: int = 3) -> str:
        return with_error(estimate(values, own.unit), digits)

    return [
        str(own.n_context),
        cell(-own.log_prob),
        cell(-own.reference),
        cell(own.reference - own.log_prob, 4),
        cell(-oracle(prior, own.n_context, settings)),
        *("" if value is None else f"{value:.3f}" for value in (nll, known)),
        cell(100 * own.correct, 1),
        cell(100 * exact_accuracy(prior, own.n_context, settings), 1),
        "" if accuracy is None else f"{accuracy:.1f}",
        f"{own.effective_sample_size.mean():.0f}",
    ]


def method_row(
    method: Method, prior: LinearBNN, own: Scores, settings: Settings, options: argparse.Namespace, fast: float
) -> list[str]:
    """One method at one number of draws, on the tasks of the network's scores; `fast` is the network's time."""
    assert own.reference is not None

    def compute(task: Task, number: int) -> Mapping[str, Array]:
        return method.compute(task, chain_seed(settings.seed, own.n_context, method.draws, number))

    described = {"name": f"linear_bnn_{method.name.lower()}", **method.described}
    name = f"linear-bnn-{method.name.lower()}"
    found = cached_scores(prior, own.n_context, settings, (name, described), compute, options.cache)
    seconds = seconds_per_task(lambda task: compute(task, 0), prior, own.n_context, settings, options.timed)
    known = PUBLISHED_LABELS.get((prior.sizes.features[0], prior.hidden), {}).get(method.draws)
    from_exact = np.round(own.reference - found["log_prob"], 9) + 0.0  # no -0.000 for the exact posterior itself
    differences = (from_exact, found["log_prob"] - own.log_prob)
    cells = [with_error(estimate(values, own.unit), 3) for values in (-found["log_prob"], *differences)]
    checks = [""] * 4
    if "rhat" in found:
        rhat, size = found["rhat"], found["effective_sample_size"]
        checks = [f"{np.median(rhat):.3f}", f"{rhat.max():.3f}", f"{np.median(size):.0f}", f"{size.min():.0f}"]
    return [
        method.name,
        str(method.draws),
        *cells,
        with_error(estimate(-found["label_log_prob"], own.unit), 3),
        f"{known:.3f}" if known is not None and method.name == "exact" else "",
        *checks,
        milliseconds(seconds),
        ratio(seconds, fast),
    ]


def network_row(
    network: Network, prior: LinearBNN, own: Scores, settings: Settings, timed: int
) -> tuple[list[str], float]:
    """The network itself as a row, and its time per task."""
    assert own.reference is not None
    seconds = seconds_per_task(lambda task: network(*task.observed), prior, own.n_context, settings, timed)
    values = (-own.log_prob, own.reference - own.log_prob)
    cells = [with_error(estimate(one, own.unit), 3) for one in values]
    return ["network", "", *cells, *[""] * 7, milliseconds(seconds), "1 ×"], seconds


def compare(options: argparse.Namespace) -> str:
    """The whole comparison as Markdown.

    Raises:
        CheckpointError: no such checkpoint.
        ImportError: numpyro is not installed.
        ValueError: another prior than `LinearBNN`, batches that are not whole, or a cache that cannot be used.
    """
    checkpoint: Checkpoint = load(options.checkpoint)
    prior = check_covered(changed_prior(checkpoint, {"importance_draws": options.importance_draws}))
    network = checkpoint.network.eval()
    settings = Settings(
        tasks=options.tasks,
        queries=options.queries,
        batch_size=options.batch_size,
        draws=2,
        seed=options.seed,
        device="cpu",
    )
    sizes = {}
    with tqdm(total=len(options.context_sizes) * options.tasks, unit="task") as bar:
        for n_context in options.context_sizes:
            bar.set_description(f"network and exact posterior, n = {n_context}")
            sizes[n_context] = score(network, prior, n_context, settings, bar.update)
    with torch.inference_mode():
        first = markdown_table(HEADER, [size_row(own, prior, settings) for own in sizes.values()])
        own = sizes[max(sizes)]
        row, fast = network_row(network, prior, own, settings, options.timed)
        rows = [method_row(method, prior, own, settings, options, fast) for method in methods(prior, options)]
    return "\n\n".join(
        [
            f"NLL in nats per query, {options.tasks} tasks of {options.queries} queries; ± is one standard error. ESS "
            f"is that of the exact posterior's {options.importance_draws} importance draws, mean over tasks.",
            first,
            f"Methods at n = {own.n_context}. The same tasks; R-hat and ESS are those of each task's worst query, "
            f"median and worst task. Times: a task of {options.queries} queries, one thread, mean of {options.timed}. "
            "Published: the network's NLL is reached by SVI in 1000 and by NUTS in 10000 times its time, by the "
            "published scoring, the network and SVI on a GPU and NUTS on a CPU.",
            markdown_table(METHOD_HEADER, [row, *rows]),
        ]
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    own = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("checkpoint", nargs="?", default="bnn-small", help="name or file; its prior is linear_bnn")
    own.add_argument("--context-sizes", type=int, nargs="+", default=[2, 5, 10, 20, 50, 100], help="n")
    own.add_argument("--tasks", type=int, default=100, help="per n, a multiple of the batch size")
    own.add_argument("--queries", type=int, default=200, help="scored per task")
    own.add_argument("--batch-size", type=int, default=10, help="tasks at once")
    own.add_argument("--nuts", type=int, nargs="*", default=[16, 64, 256], help="draws of NUTS, at the largest n")
    own.add_argument("--svi", type=int, nargs="*", default=[16, 64, 256, 1024, 4096], help="steps and draws of SVI")
    own.add_argument("--importance-draws", type=int, default=10_000, help="of the exact posterior")
    own.add_argument("--timed", type=int, default=3, help="tasks whose times are measured")
    own.add_argument("--seed", type=int, default=0, help="chooses tasks and draws")
    own.add_argument(
        "--cache", type=Path, default=Path("runs/references"), help="folder for the scores of NUTS and SVI"
    )
    own.add_argument("--output", type=Path, help="also write the tables there")
    return own


def main() -> None:
    run_comparison(parser(), compare, n_threads=1)


if __name__ == "__main__":
    main()
