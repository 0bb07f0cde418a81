"""Speed as ratios, each pair of alternatives measured in turn in one run: python scripts/benchmark.py

    python scripts/benchmark.py --only sampling                                    # tasks per second of the priors
    python scripts/benchmark.py --only training --experiment tabular-classifier    # where a training step's time goes
    python scripts/benchmark.py --only tables --rows 100 1000 --features 5 50      # a network for tables, by size

Takes minutes; --repeats 3 is quicker. torch.compile needs a C++ compiler on the CPU: --skip-compile does without.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from tqdm import tqdm

from priorfit.models.attention import attend
from priorfit.predictors import PFNRegressor
from priorfit.priors import Table
from priorfit.priors.sized_prior import SizedPrior
from priorfit.training.instantiate import instantiate
from priorfit.training.main import prepare
from priorfit.training.module import Amortized
from priorfit.training.task_stream import TaskStream

Work = Callable[[], Any]
PARTS = ("sampling", "training", "attention", "predicting", "tables")


def seconds(work: Work) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(name: str, first: Work, second: Work, repeats: int, items: int | None = None) -> None:
    """Prints median times of two pieces of work, measured in turn after a warm-up, and their ratio.

    Args:
        name: what is compared, in the order of the work.
        first, second: the work.
        repeats: how often each is done.
        items: what each goes through, such as tasks; then items per second are printed in place of times.
    """
    for work in (first, second):
        work()
    pairs = [(seconds(first), seconds(second)) for _ in tqdm(range(repeats), name, leave=False)]
    medians = (statistics.median(times) for times in zip(*pairs, strict=True))
    a, b = (f"{items / time:.4g} /s" if items else f"{time * 1e3:.1f} ms" for time in medians)
    ratio = statistics.median(x / y for x, y in pairs)
    print(f"| {name} | {a} | {b} | {ratio:.2f} |", flush=True)


def configured(*overrides: str) -> DictConfig:
    """The training configuration with these changes."""
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        return compose("train", [*overrides, "name=benchmark", "output=."])


class Step:
    """One training step of an experiment, on the tasks of its own stream."""

    def __init__(self, experiment: str, precision: torch.dtype, compiled: bool = False) -> None:
        config = configured(f"experiment={experiment}")
        self.prior, network = instantiate(config.prior), instantiate(config.model)
        prepare(network, self.prior, config.seed, 1000)
        self.module = Amortized(network, instantiate(config.optimizer), compile=compiled)
        self.optimizer = instantiate(config.optimizer)(network.named_parameters())
        self.stream = TaskStream(self.prior, config.batch_size, config.seed)
        self.precision, self.index = precision, 0
        self.drawing = self.total = 0.0

    def __call__(self) -> None:
        """Draws a batch, computes the loss, steps."""
        started = time.perf_counter()
        task = self.stream.batch(self.index)
        self.drawing += time.perf_counter() - started
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision is torch.bfloat16):
            distribution = self.module.network.distribution(self.module.compute(*task.observed))
            loss = self.module.loss(distribution, task)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.index += 1
        self.total += time.perf_counter() - started


def training(experiment: str, repeats: int, skip_compile: bool) -> None:
    """Share of the prior, and alternatives of the training step."""
    step = Step(experiment, torch.bfloat16)
    step()
    step.drawing = step.total = 0.0
    for _ in tqdm(range(4 * repeats), "training steps", leave=False):
        step()
    share = step.drawing / step.total
    print(f"| {experiment}: drawing tasks / whole step | {step.drawing:.2f} s | {step.total:.2f} s | {share:.3f} |")
    full = Step(experiment, torch.float32)
    compare(f"{experiment}: step in float32 / bfloat16", full, Step(experiment, torch.bfloat16), repeats)
    if not skip_compile:
        compiled = Step(experiment, torch.bfloat16, compiled=True)
        for _ in tqdm(range(10), "compiling", leave=False):
            compiled()
        compare(f"{experiment}: step eager / compiled", Step(experiment, torch.bfloat16), compiled, repeats)


def sampling(priors: Sequence[str], repeats: int, batch: int = 64, rows: int = 128) -> None:
    """Priors that draw a batch at once, against the same priors drawing one task after the other."""
    for name in priors:
        prior = instantiate(configured(f"prior={name}").prior)
        if isinstance(prior, SizedPrior):
            prior = prior.with_context(rows // 2, rows // 2)
        generator = torch.Generator().manual_seed(0)
        alone = lambda p=prior, g=generator: [p.sample(1, generator=g) for _ in range(batch)]  # noqa: E731
        together = lambda p=prior, g=generator: p.sample(batch, generator=g)  # noqa: E731
        compare(f"{name}: tasks drawn one by one / {batch} together", alone, together, repeats, batch)


def table(n: int, m: int, n_features: int, n_classes: int) -> Table:
    """A table of n context rows and m queries, with targets that depend on its first column."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, n + m, n_features, generator=generator)
    order = x[..., 0].argsort(1).argsort(1)  # (1, n + m)
    y = (order * n_classes // (n + m)).float() if n_classes else x[..., 0]
    categorical = torch.zeros(1, n_features, dtype=torch.bool)
    return Table(x[:, :n], y[:, :n], x[:, n:], categorical, torch.tensor([n_classes]))


@torch.inference_mode()
def tables(experiment: str, rows: Sequence[int], features: Sequence[int], repeats: int, queries: int = 256) -> None:
    """A network for tables, untrained, by the size of the context: one pass, against a context encoded before."""
    network = instantiate(configured(f"experiment={experiment}").model).eval()
    for n in rows:
        for n_features in features:
            task = table(n, queries, n_features, min(3, network.max_classes))
            cache = network.encode(task.x_context, task.y_context, task.categorical, task.n_classes)
            whole = lambda task=task: network(*task)  # noqa: E731
            cached = lambda cache=cache, task=task: network.decode(cache, task.x_query)  # noqa: E731
            name = f"{experiment}, {n} × {n_features}: queries by a whole pass / with the context cached"
            compare(name, whole, cached, repeats, queries)


def attention(repeats: int) -> None:
    """Why training on a CPU computes attention from its parts."""
    q, k, v = (torch.randn(64, 3, rows, 32, dtype=torch.bfloat16, requires_grad=True) for rows in (128, 40, 40))

    def run(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Work:
        return lambda: function(q, k, v).sum().backward()

    name = "attention forward and backward, fused / parts (bfloat16)"
    compare(name, run(scaled_dot_product_attention), run(attend), repeats)


def predicting(checkpoint: str, n: int, repeats: int) -> None:
    """Prediction against a maximum-a-posteriori Gaussian process, and with against without the cached context."""
    rng = np.random.default_rng(0)
    x, queries = rng.normal(size=(n, 5)), rng.normal(size=(100, 5))
    y = np.sin(x[:, 0]) + 0.5 * x[:, 1] + 0.3 * rng.normal(size=n)
    fitted = PFNRegressor(checkpoint).fit(x, y)
    refit = PFNRegressor(checkpoint)

    def gaussian_process() -> None:
        matern = Matern(np.ones(5), nu=2.5)  # pyright: ignore[reportArgumentType]
        kernel = ConstantKernel() * matern + WhiteKernel()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lengthscales of the three irrelevant features reach their bound
            GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(x, y).predict(
                queries, return_std=True
            )

    uncached = lambda: refit.fit(x, y).predict(queries)  # noqa: E731
    compare(
        f"n={n}: predict 100 rows, context encoded anew / cached",
        uncached,
        lambda: fitted.predict(queries),
        repeats,
    )
    compare(f"n={n}: GP fit + predict / PFN fit + predict", gaussian_process, uncached, max(3, repeats // 3))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts; all by default")
    parser.add_argument("--priors", nargs="+", default=["learning_curve", "bnn", "scm", "scm_graph"], help="to draw")
    parser.add_argument("--experiment", default="quickstart", help="whose training step is measured")
    parser.add_argument("--checkpoint", default="gp-regression", help="which network predicts")
    parser.add_argument("--tables", default="tabular-classifier", help="experiment with a network for tables")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000], help="of its contexts")
    parser.add_argument("--features", type=int, nargs="+", default=[5, 20, 60], help="of its tables")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-compile", action="store_true")
    return parser


def main() -> None:
    """Prints one table."""
    options = parser().parse_args()
    torch.set_num_threads(options.threads)
    few = max(3, options.repeats // 3)
    print(f"{options.threads} threads, torch {torch.__version__}\n\n| A / B | A | B | ratio |\n|---|---|---|---|")
    parts: dict[str, Work] = {
        "sampling": lambda: sampling(options.priors, few),
        "training": lambda: training(options.experiment, options.repeats, options.skip_compile),
        "attention": lambda: attention(options.repeats),
        "predicting": lambda: [predicting(options.checkpoint, n, options.repeats) for n in (100, 500)],
        "tables": lambda: tables(options.tables, options.rows, options.features, few),
    }
    for name in PARTS:
        if name in options.only:
            parts[name]()


if __name__ == "__main__":
    main()
