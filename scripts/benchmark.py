"""Speed as ratios, each pair of alternatives measured in turn in one run: python scripts/benchmark.py

Options: --experiment quickstart (whose training step is measured), --checkpoint gp-regression (which predicts),
--repeats 15, --threads 2, --skip-compile (torch.compile needs a C++ compiler on the CPU).
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_module
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from tqdm import tqdm

from priorfit.models.attention import attend
from priorfit.predictors import PFNRegressor
from priorfit.training.instantiate import instantiate
from priorfit.training.main import prepare
from priorfit.training.module import Amortized
from priorfit.training.task_stream import TaskStream

Work = Callable[[], Any]


def seconds(work: Work) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(name: str, first: Work, second: Work, repeats: int) -> None:
    """Prints median times of two pieces of work, measured in turn after a warm-up, and their ratio."""
    for work in (first, second):
        work()
    pairs = [(seconds(first), seconds(second)) for _ in tqdm(range(repeats), name, leave=False)]
    a, b = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(x / y for x, y in pairs)
    print(f"| {name} | {a * 1e3:.1f} ms | {b * 1e3:.1f} ms | {ratio:.2f} |", flush=True)


class Step:
    """One training step of an experiment, on the tasks of its own stream."""

    def __init__(self, experiment: str, precision: torch.dtype, compiled: bool = False) -> None:
        with initialize_config_module("priorfit.configs", version_base="1.3"):
            config = compose("train", [f"experiment={experiment}", "name=benchmark", "output=."])
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
            loss = self.module.loss(task)
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


def sampling(repeats: int, batch: int = 64) -> None:
    """Priors that draw a batch at once, against the same priors drawing one task after the other."""
    for name in ("learning_curve", "bnn", "scm"):
        with initialize_config_module("priorfit.configs", version_base="1.3"):
            prior = instantiate(compose("train", [f"prior={name}", "name=benchmark", "output=."]).prior)
        generator = torch.Generator().manual_seed(0)
        alone = lambda p=prior, g=generator: [p.sample(1, generator=g) for _ in range(batch)]  # noqa: E731
        together = lambda p=prior, g=generator: p.sample(batch, generator=g)  # noqa: E731
        compare(f"{name}: drawing {batch} tasks one by one / together", alone, together, repeats)


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


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="quickstart")
    parser.add_argument("--checkpoint", default="gp-regression")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, torch {torch.__version__}\n\n| A / B | A | B | ratio |\n|---|---|---|---|")
    sampling(max(3, options.repeats // 3))
    training(options.experiment, options.repeats, options.skip_compile)
    attention(options.repeats)
    for n in (100, 500):
        predicting(options.checkpoint, n, options.repeats)


if __name__ == "__main__":
    main()
