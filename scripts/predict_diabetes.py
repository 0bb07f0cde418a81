"""Predicts held-out diabetes patients with a trained network, and with a Gaussian process fitted to the rest.

    python scripts/predict_diabetes.py          # the network tabular-regressor, or name another or its file

Takes a few seconds. Log score: mean log density of the held-out targets in nats, higher is better.
"""

import argparse
import warnings
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.distributions import Distribution, Normal

from priorfit import PFNRegressor, load
from priorfit.checkpoints import Checkpoint, CheckpointError


def predict_pfn(x: Any, y: Any, queries: Any, checkpoint: str | Checkpoint) -> Distribution:
    """The network's predictive distributions at the queries (m, F), given x (n, F) and y (n,)."""
    return PFNRegressor(checkpoint).fit(x, y).predict_distribution(queries)


def predict_gp(x: Any, y: Any, queries: Any) -> Distribution:
    """The same of a Gaussian process: Matérn 5/2, ARD, by maximum marginal likelihood."""
    lengthscales: Any = np.ones(x.shape[1])
    matern = kernels.Matern(lengthscales, (1e-2, 1e3), nu=2.5)
    kernel = kernels.ConstantKernel() * matern + kernels.WhiteKernel()
    scaler = StandardScaler().fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # useless features: lengthscales at their bound
        model: Any = GaussianProcessRegressor(kernel, normalize_y=True).fit(scaler.transform(x), y)
    mean, std = model.predict(scaler.transform(queries), return_std=True)
    return Normal(torch.from_numpy(mean), torch.from_numpy(std))


def evaluate_regressor(predictor: Any, x: Any, queries: Any, y: Any, answers: Any) -> dict[str, float]:
    """Scores `predictor(x, y, queries) -> Distribution` on the queries' answers."""
    start, truth = perf_counter(), torch.from_numpy(answers)
    law = predictor(x, y, queries)
    seconds, level = perf_counter() - start, law.cdf(truth)
    rmse, log_score = (law.mean - truth).square().mean().sqrt(), law.log_prob(truth).mean()
    coverage = ((level > 0.05) & (level < 0.95)).double().mean()
    scores = {"RMSE": rmse.item(), "log score": log_score.item(), "90 % coverage": coverage.item()}
    return {**scores, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="tabular-regressor", help="a name or a file")
    try:
        pfn = partial(predict_pfn, checkpoint=load(parser.parse_args().checkpoint))
    except CheckpointError as error:
        parser.exit(1, f"{error}\n")
    data: Any = load_diabetes()
    split = train_test_split(data.data, data.target, test_size=0.2, random_state=0)
    for name, predictor in {"PFNRegressor": pfn, "Gaussian process": predict_gp}.items():
        scores = evaluate_regressor(predictor, *split)
        print(f"{name:18}" + "   ".join(f"{title} {score:6.4g}" for title, score in scores.items()))


if __name__ == "__main__":
    main()
