"""What predictive resampling makes of exact and of trained predictions, beside posteriors in closed form.

    python -m scripts.study_resampling --output study     # prints Markdown tables, draws a figure

Two models whose posteriors are known: Bayesian linear regression, whose network is trained first, and the Gaussian
process of the checkpoint gp-1d. A few rows are observed, and parameters are drawn with the exact predictive and with
the network. Takes about 3 minutes of one core, half of them for the training.

Source: Fong, Holmes, Walker 2023, "Martingale posterior distributions".
Letters: n observed rows, k drawn rows, N = n + k, F features, R draws, G points.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from scipy.stats import kstest, norm
from torch import Generator
from tqdm import tqdm

from priorfit.checkpoints import CheckpointError
from priorfit.evaluation.writers import markdown_table, write_text
from priorfit.files import replacing
from priorfit.hub import load
from priorfit.models import PFN, Network
from priorfit.predictors import MartingaleDefect, predictive_resample
from priorfit.predictors.limits import check_count
from scripts.exact_networks import ExactNetwork, GaussianPrior, LinearModel, covariance_of, linear_law
from scripts.resampling_figure import draw_figure

EXACT, TRAINED = "exact", "network"
ROWS = 80  # of the training tasks of the linear model
GRID = 200  # G for an average over the unit interval
CRITICAL = 1.358  # / √R: the Kolmogorov-Smirnov distance that exact draws exceed in 5 % of all cases


class Parameter(NamedTuple):
    """A number that is linear in the targets.

    Attributes:
        name: for people.
        value: of completed rows X (N, F) and y (N,); None for the predictive mean at the first probe.
        weights: of the targets, from X, (N,).
        points, shares: as N grows it is the sum of shares (G,) times the function without noise at points (G, F).
    """

    name: str
    value: Callable[[ndarray, ndarray], float] | None
    weights: Callable[[ndarray], ndarray]
    points: ndarray
    shares: ndarray


class Model(NamedTuple):
    """A prior, a network that was trained on it, and parameters.

    Attributes:
        inputs: draws inputs (R, k, F), from R, k and a RandomState.
    """

    name: str
    prior: GaussianPrior
    network: Network
    inputs: Callable[[int, int, RandomState], ndarray]
    parameters: Sequence[Parameter]


@dataclass(frozen=True)
class Outcome:
    """What resampling gave for one parameter, given one data set.

    Attributes:
        draws: (R,).
        posterior: mean and standard deviation of the exact posterior, which is normal.
        means, stds: of the normal laws that exact draws have, each given its inputs, (R,).
        defect: of the predictions.
    """

    draws: ndarray
    posterior: tuple[float, float]
    means: ndarray
    stds: ndarray
    defect: MartingaleDefect

    @property
    def same_rows(self) -> tuple[float, float]:
        """Mean and standard deviation of exact draws from tables of N rows."""
        return float(self.means.mean()), float(np.sqrt(np.square(self.stds).mean() + self.means.var()))

    @property
    def distance(self) -> tuple[float, float]:
        """The Kolmogorov-Smirnov distance between the draws and their exact laws, and its p-value."""
        test = kstest(norm.cdf(self.draws, self.means, self.stds), "uniform")
        return float(test.statistic), float(test.pvalue)


Results = dict[tuple[str, int, str], dict[str, Outcome]]  # by model, data set and predictions; then by parameter


def value_at(prior: GaussianPrior, point: ndarray) -> Parameter:
    """The function at a point (1, F)."""

    def weights(X: ndarray) -> ndarray:
        covariance = covariance_of(prior, np.concatenate([X, point]))[0]
        return np.linalg.solve(covariance[:-1, :-1], covariance[:-1, -1])

    name = f"f({', '.join(f'{x:g}' for x in point[0])})"
    return Parameter(name, None, weights, point, np.ones(1))


def linear_model(steps: int) -> Model:
    """Two features; the least-squares slope of the first, and the value at a point."""
    prior = LinearModel({"points": ROWS, "features": 2, "context": "log_uniform"})
    slope = Parameter(
        "slope 1",
        lambda X, y: np.linalg.lstsq(X, y)[0][0],
        lambda X: np.linalg.pinv(X)[0],
        np.eye(2)[:1],
        np.ones(1),
    )
    parameters = [value_at(prior, np.ones((1, 2))), slope]
    network = train(prior, steps)
    return Model("linear", prior, network, lambda *shape: shape[2].normal(size=(*shape[:2], 2)), parameters)


def process_model() -> Model:
    """One feature; the average over the unit interval, and the value at its middle."""
    checkpoint = load("gp-1d")
    prior = checkpoint.prior
    assert isinstance(prior, GaussianPrior)
    average = Parameter(
        "mean of f",
        lambda X, y: y.mean(),
        lambda X: np.full(len(X), 1 / len(X)),
        ((np.arange(GRID) + 0.5) / GRID)[:, None],
        np.full(GRID, 1 / GRID),
    )
    parameters = [value_at(prior, np.full((1, 1), 0.5)), average]
    network = checkpoint.network
    return Model("GP", prior, network, lambda *shape: shape[2].uniform(size=(*shape[:2], 1)), parameters)


def train(prior: LinearModel, steps: int) -> Network:
    """A small network, trained on the expected log density under the exact predictive."""
    generator = Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PFN(max_features=2, n_buckets=128, width=48, n_layers=3, n_heads=4)
    tasks = [prior.with_context(0, 8).sample(64, generator=generator) for _ in range(64)]
    network.fit_to_prior([task.observed for task in tasks], [task.hidden for task in tasks])
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in tqdm(range(steps), desc="training", unit="step"):
        task = prior.sample(32, generator=generator)
        loss = -network(*task.observed).expected_log_prob(task.law).mean()  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def resample(model: Model, network: Network, sizes: tuple[int, int, int], seed: int) -> dict[str, Outcome]:
    """Resamples all parameters given one data set.

    Args:
        model: a prior and parameters of it.
        network: what predicts.
        sizes: n, k and R.
        seed: of data and draws; the same for all networks.
    """
    n, n_future, n_draws = sizes
    random = RandomState(seed)
    X = model.inputs(1, n, random)[0]
    y = np.linalg.cholesky(covariance_of(model.prior, X)[0]) @ random.normal(size=n)
    first, *others = model.parameters
    posterior = predictive_resample(
        network,
        X,
        y,
        lambda X, y: [p.value(X, y) for p in others if p.value],
        n_future,
        n_draws,
        inputs=model.inputs,
        probes=np.concatenate([first.points, X[:7]]),
        random_state=random,
    )
    columns = [posterior.predictions[:, 0], *posterior.draws.T]
    completed = [np.concatenate([X, x]) for x in posterior.x_future]
    outcomes = {}
    for parameter, draws in zip(model.parameters, columns, strict=True):
        laws = [_law(covariance_of(model.prior, table)[0], y, parameter.weights(table)) for table in completed]
        means, stds = np.array(laws).T
        outcomes[parameter.name] = Outcome(draws, _limit(model.prior, X, y, parameter), means, stds, posterior.defect)
    return outcomes


def _law(covariance: ndarray, y: ndarray, weights: ndarray) -> tuple[float, float]:
    """Mean and standard deviation of one number that is linear in the targets, see `linear_law`."""
    mean, variance = linear_law(covariance, y, weights[None])
    return float(mean[0]), float(np.sqrt(variance[0, 0]))


def _limit(prior: GaussianPrior, X: ndarray, y: ndarray, parameter: Parameter) -> tuple[float, float]:
    """Mean and standard deviation of a parameter's exact posterior."""
    covariance, noise = covariance_of(prior, np.concatenate([X, parameter.points]))
    n, size = len(y), len(covariance)
    covariance[range(n, size), range(n, size)] -= noise
    return _law(covariance, y, np.concatenate([np.zeros(n), parameter.shares]))


def study(models: Sequence[Model], sizes: tuple[int, int, int], data_sets: int, seed: int) -> Results:
    """The outcomes of exact and trained predictions."""
    return {
        (model.name, index + 1, label): resample(model, network, sizes, seed + index)
        for model in models
        for index in range(data_sets)
        for label, network in ((EXACT, ExactNetwork(model.prior)), (TRAINED, model.network))
    }


def report(results: Results, sizes: tuple[int, int, int]) -> str:
    """Two Markdown tables: the parameters, and the defects."""
    n, n_future, n_draws = sizes
    rows, defects = [], []
    for (model, index, label), outcomes in results.items():
        for name, outcome in outcomes.items():
            pairs = outcome.posterior, outcome.same_rows, (outcome.draws.mean(), outcome.draws.std())
            distance, p_value = outcome.distance
            cells = [f"{mean:.3f} ± {std:.3f}" for mean, std in pairs]
            rows.append([model, str(index), name, label, *cells, f"{distance:.3f}", f"{p_value:.2g}"])
        defect = next(iter(outcomes.values())).defect
        assert defect.mean_drift is not None
        numbers = defect.largest, defect.expected_largest, float(np.abs(defect.mean_drift).max())
        defects.append([model, str(index), label, *(f"{x:.3f}" for x in numbers), f"{defect.p_value:.2g}"])
    intro = (
        f"{n} observed rows, {n_future} drawn, {n_draws} draws. Mean ± standard deviation: of the exact posterior, of "
        f"exact draws from tables of {n + n_future} rows, and of the draws. KS: distance from these exact draws, "
        f"above {CRITICAL / np.sqrt(n_draws):.3f} in 5 % of all cases where draws are exact."
    )
    head = ["model", "data", "parameter", "predictions", "posterior", "same rows", "draws", "KS", "p"]
    note = (
        "Largest drift of a predictive probability, what is expected of a martingale, and the largest drift of a "
        "predictive mean in predictive standard deviations."
    )
    defect_head = ["model", "data", "predictions", "drift", "expected", "drift of a mean", "p"]
    return "\n\n".join([intro, markdown_table(head, rows), note, markdown_table(defect_head, defects)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10, help="observed, n")
    parser.add_argument("--future", type=int, default=60, help="drawn, k")
    parser.add_argument("--draws", type=int, default=200, help="R")
    parser.add_argument("--data-sets", type=int, default=2, help="of each model")
    parser.add_argument("--steps", type=int, default=1500, help="of training, for the linear model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for resampling.md and resampling.png")
    options = parser.parse_args()
    sizes = options.rows, options.future, options.draws
    try:
        for name in ("rows", "future", "draws", "data_sets", "steps"):
            check_count(name, getattr(options, name))
        results = study([linear_model(options.steps), process_model()], sizes, options.data_sets, options.seed)
    except (CheckpointError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    text = report(results, sizes)
    print(text)
    if options.output:
        write_text(options.output / "resampling.md", f"{text}\n")
        with replacing(options.output / "resampling.png") as temporary:
            draw_figure(results).savefig(temporary, format="png", dpi=150)


if __name__ == "__main__":
    main()
