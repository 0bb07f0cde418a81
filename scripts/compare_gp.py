"""Compares networks with the exact posterior of their fixed Gaussian process, by the size of the context.

    python -m scripts.compare_gp
    python -m scripts.compare_gp runs/gp-5d/checkpoint.safetensors --context-sizes 1 10 100 1000

The curve of Müller et al. 2022, figure 4a. Where the process is one of the published settings, its exact NLL stands
beside ours: from a computation of its own, as the paper has curves only. The gap of network and exact NLL is the KL
divergence of the network from the posterior. Times are processor times of one thread, per task of all its queries, one
task at a time: of the network, of the exact posterior, and of what a user without the prior would do, which is to fit
scikit-learn's Gaussian process by maximum likelihood. About two minutes with the defaults on one core.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from tqdm import tqdm

from priorfit.checkpoints import Checkpoint
from priorfit.evaluation.metrics import estimate
from priorfit.evaluation.scoring import score
from priorfit.evaluation.settings import Settings
from priorfit.evaluation.writers import markdown_table, with_error
from priorfit.hub import load
from priorfit.priors import GaussianProcess, Task
from scripts.threads import run_comparison
from scripts.timing import milliseconds, ratio, seconds_per_task

# Exact NLL by context size; features, lengthscale, output scale and noise of the published settings (kernel RBF, inputs
# uniform). Figure 4a has the first; the others are those of figures 3, 7 and 8 and the defaults of the released code.
# From a computation outside of this project, standard errors at most .016.
PUBLISHED: dict[tuple[float, ...], dict[int, float]] = {
    (5, 0.6, 1.0, 1e-4): {
        0: 1.419, 1: 1.286, 2: 1.203, 5: 1.021, 10: 0.792, 20: 0.468,
        50: -0.189, 100: -0.850, 200: -1.627, 500: -2.448, 1000: -2.794, 2000: -2.977,
    },
    (1, 0.6, 1.0, 1e-4): {
        0: 1.419, 1: 0.334, 2: -0.806, 3: -1.635, 5: -2.376, 10: -2.845, 20: -3.030, 50: -3.129, 100: -3.156,
    },
    (1, 0.1, 1.0, 1e-4): {
        0: 1.419, 1: 1.202, 2: 0.968, 3: 0.718, 5: 0.224, 10: -0.950, 20: -2.245, 50: -2.946, 100: -3.082,
    },
    (1, 0.1, 0.1, 0.1): {
        0: 0.615, 1: 0.596, 2: 0.575, 3: 0.555, 5: 0.527, 10: 0.472, 20: 0.410, 50: 0.342, 100: 0.310,
    },
}  # fmt: skip
HEADER = ["n", "network", "exact", "network - exact", "published setting, exact"]
TIMES = ["network, ms", "exact, ms", "MLE fit, ms", "exact / network", "MLE fit / network"]


def published(prior: GaussianProcess) -> dict[int, float]:
    """Exact NLL by context size; empty for a process that is none of the published ones."""
    given = prior.arguments
    rest = (prior.kernels, prior.inputs, prior.noise_floor, prior.scale_with_dimension)
    low, high = prior.sizes.features
    if rest != (["rbf"], "uniform", 0.0, False) or low != high:
        return {}
    return PUBLISHED.get((low, given["lengthscale"], given["output_scale"], given["noise"]), {})


def fit_scikit_learn(task: Task) -> None:
    """Fits a Gaussian process to one task by maximum likelihood, and predicts its queries."""
    x, y, x_query = (part[0].double().numpy() for part in task.observed)
    kernel = ConstantKernel() * RBF([0.5] * x.shape[1]) + WhiteKernel()  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an optimum at a bound
        GaussianProcessRegressor(kernel).fit(x, y).predict(x_query, return_std=True)


def table_row(
    checkpoint: Checkpoint, prior: GaussianProcess, n_context: int, settings: Settings, timed: int, bar: tqdm
) -> list[str]:
    """One context size: NLL and times."""
    network = checkpoint.network.eval()
    found = score(network, prior, n_context, settings, bar.update)
    assert found.reference is not None
    nll = (-found.log_prob, -found.reference, found.reference - found.log_prob)
    known = published(prior).get(n_context)
    methods = {"network": lambda task: network(*task.observed), "exact": prior.posterior, "MLE fit": fit_scikit_learn}
    if not n_context:
        methods.pop("MLE fit")
    seconds = {key: seconds_per_task(one, prior, n_context, settings, timed) for key, one in methods.items()}
    times = [milliseconds(seconds[key]) if key in seconds else "" for key in ("network", "exact", "MLE fit")]
    ratios = [ratio(seconds[key], seconds["network"]) if key in seconds else "" for key in ("exact", "MLE fit")]
    cells = [with_error(estimate(values, found.unit)) for values in nll]
    return [str(n_context), *cells, "" if known is None else f"{known:.3f}", *times, *ratios]


def curve(name: str, options: argparse.Namespace) -> str:
    """The table of one checkpoint.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: its prior is not a Gaussian process with fixed numbers.
    """
    checkpoint = load(name)
    prior = checkpoint.prior
    if type(prior) is not GaussianProcess or not prior.fixed:
        raise ValueError(
            f"'{name}' has no Gaussian process with fixed numbers: use scripts.compare_map where it draws them."
        )
    settings = Settings(
        tasks=options.tasks, queries=options.queries, batch_size=50, draws=2, seed=options.seed, device="cpu"
    )
    sizes = options.context_sizes or prior.context_sizes()
    with tqdm(total=len(sizes) * options.tasks, desc=name, unit="task") as bar:
        rows = [table_row(checkpoint, prior, n, settings, options.timed, bar) for n in sizes]
    return f"{name}: {checkpoint.metadata['description']}\n\n{markdown_table([*HEADER, *TIMES], rows)}"


def compare(options: argparse.Namespace) -> str:
    """The whole comparison as Markdown.

    Raises:
        CheckpointError: no such checkpoint.
        ValueError: a prior that is not a Gaussian process with fixed numbers.
    """
    title = (
        f"NLL in nats per query, {options.tasks} tasks of {options.queries} queries; ± is one standard error. Times: "
        f"one task of {options.queries} queries, one thread, mean of {options.timed}."
    )
    return "\n\n".join([title, *(curve(name, options) for name in options.checkpoints)])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    own = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own.add_argument("checkpoints", nargs="*", default=["quickstart", "gp-1d"], help="names or files")
    own.add_argument("--context-sizes", type=int, nargs="+", help="n; the prior's own unless they are given")
    own.add_argument("--tasks", type=int, default=1000, help="per n")
    own.add_argument("--queries", type=int, default=16, help="scored per task")
    own.add_argument("--timed", type=int, default=10, help="tasks whose times are measured, per n")
    own.add_argument("--seed", type=int, default=0)
    own.add_argument("--output", type=Path, help="also write the tables there")
    return own


def main() -> None:
    run_comparison(parser(), compare, n_threads=1)


if __name__ == "__main__":
    main()
