"""Posteriors of parameters from a network that predicts rows: martingale posteriors by predictive resampling.

Sources: Fong, Holmes, Walker 2023, "Martingale posterior distributions"; for prior-data fitted networks Nagler and
Rügamer 2025, "Uncertainty Quantification for Prior-Data Fitted Networks using Martingale Posteriors".
Letters: n observed rows, k future rows, N = n + k, F features, R draws, m probes, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from tqdm import tqdm

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.models import Network
from priorfit.predictors.columns import Chosen
from priorfit.predictors.future_inputs import Inputs, checked_inputs, draw_inputs
from priorfit.predictors.limits import check_count, trained_sizes, warn_user
from priorfit.predictors.loading import open_checkpoint
from priorfit.predictors.martingale_defect import Look, MartingaleDefect, ProbeWatch
from priorfit.predictors.network_rows import NetworkRows

PROBES = 8  # observed rows at which the defect is looked for, at most

Functional = Callable[[ndarray, ndarray], Any]


@dataclass(frozen=True, eq=False)
class MartingalePosterior:
    """Draws of a functional from its martingale posterior.

    Attributes:
        draws: values of the functional, (R, ...).
        x_future, y_future: the rows that were drawn, (R, k, F) and (R, k).
        predictions: predictive means at the probes given each completed table, (R, m), or probabilities of classes,
            (R, m, C): draws of the regression function there.
        defect: how far the predictions are from a martingale, which they would have to be; holds the probes.
    """

    draws: ndarray
    x_future: ndarray
    y_future: ndarray
    predictions: ndarray
    defect: MartingaleDefect


def predictive_resample(
    network: Network | Checkpoint | AnyPath,
    X: Any,
    y: ArrayLike,
    functional: Functional,
    n_future: int,
    n_draws: int,
    *,
    inputs: Inputs = "bootstrap",
    probes: ArrayLike | None = None,
    standardize: bool = False,
    categorical_features: Chosen = None,
    batch_size: int = 100,
    random_state: int | RandomState | None = None,
) -> MartingalePosterior:
    """Draws parameters from the posterior that a network's predictions imply, whatever the parameter.

    A parameter is a functional of all rows there could be. Future rows are drawn one after the other, each target from
    the network's prediction given all rows so far, and the functional of the completed table is one draw. The draws
    make up a posterior as n_future grows, if the predictions are a martingale: see `defect` of the result. With finite
    n_future they are wider or narrower than that, by what N rows do not tell of the parameter.

    Takes n_future forward passes over n_draws tables that grow from n to n + n_future rows, where the network is.

    Args:
        network: a network that predicts rows, or a checkpoint of one, by name, path or as loaded. Only a checkpoint
            tells how many rows it was trained on.
        X: observed inputs, (n, F), as the network takes them.
        y: observed numbers, or classes for a network that classifies, (n,).
        functional: from X (N, F) and y (N,), in the units of X and y, to finite numbers of a fixed shape.
        n_future: k.
        n_draws: R.
        inputs: where future inputs come from: "bootstrap" for the Bayesian bootstrap, which draws them from X with
            weights that are random themselves (Rubin 1981); given inputs (k, F), the same in all draws; or a
            function of R, k and a RandomState that returns (R, k, F).
        probes: inputs (m, F) at which predictions are watched; by default up to 8 random rows of X.
        standardize: whether columns of X, and y, are shifted and scaled to the mean and standard deviation that they
            have in the network's prior. By default they come in its units, as the prior is what a posterior rests on.
            Networks that take tables do this themselves.
        categorical_features: columns that hold categories, see `PFNClassifier`; for networks that take tables.
        batch_size: draws at once. Costs memory; changes results by rounding only.
        random_state: a seed or generator that makes the draws repeatable.

    Raises:
        TypeError: a network of unknown kind.
        CheckpointError: no such checkpoint, or its network does not predict rows.
        ValueError: data, counts or inputs that cannot be used, or a functional that is not finite or changes its shape.

    Example:
        >>> slopes = lambda X, y: np.linalg.lstsq(X, y)[0]  # least squares; also y.mean(), np.quantile(y, 0.9), …
        >>> posterior = predictive_resample("gp-regression", X, y, slopes, 200, 500, standardize=True)  # doctest: +SKIP
        >>> low, high = np.quantile(posterior.draws, (0.05, 0.95), 0)  # doctest: +SKIP
    """
    for name, count in (("n_future", n_future), ("n_draws", n_draws), ("batch_size", batch_size)):
        check_count(name, count)
    opened, trained = _open(network)
    rows = NetworkRows.read(opened, X, y, categorical_features, standardize)
    n_rows = len(rows.X) + n_future
    if trained is not None and n_rows > trained:
        warn_user(
            f"The completed tables have {n_rows} rows and this network was trained on at most {trained}: how good its "
            "predictions are beyond that is not known. Choose a smaller n_future, or look at the defect."
        )
    random = check_random_state(RandomState() if random_state is None else random_state)
    x_future = draw_inputs(inputs, rows.X, (n_draws, n_future), random)
    levels = random.uniform(np.finfo(np.float64).tiny, 1.0, (n_draws, n_future))
    at = random.permutation(len(rows.X))[:PROBES]
    points = rows.X[at] if probes is None else checked_inputs(probes, rows.X, ("m",), "probes")
    return _resample(rows, functional, x_future, levels, points, batch_size, random)


def _resample(
    rows: NetworkRows,
    functional: Functional,
    x_future: ndarray,
    levels: ndarray,
    probes: ndarray,
    batch_size: int,
    random: RandomState,
) -> MartingalePosterior:
    """Completes the table `batch_size` times at once: inputs (R, k, F), levels (R, k) of targets, probes (m, F)."""
    n_draws, n_future = levels.shape
    draws: list[ndarray] = []
    targets, looks = [], []
    with torch.inference_mode(), tqdm(total=levels.size, desc="resampling", unit="row", disable=None) as bar:
        watch = ProbeWatch(rows, probes, n_future)
        for start in range(0, n_draws, batch_size):
            part = slice(start, start + batch_size)
            y, seen = _complete(rows, x_future[part], levels[part], watch, bar)
            targets.append(y)
            looks.append(seen)
            draws += _evaluated(functional, rows, x_future[part], y, draws[:1])
    joined = [Look(*map(np.concatenate, zip(*horizon, strict=True))) for horizon in zip(*looks, strict=True)]
    predictions = joined[-1].means
    if rows.classes is None:
        predictions = rows.tables.y_units.loc + rows.tables.y_units.scale * predictions
    defect = watch.defect(joined, random)
    return MartingalePosterior(np.stack(draws), x_future, np.concatenate(targets), predictions, defect)


def _complete(
    rows: NetworkRows, x_future: ndarray, levels: ndarray, watch: ProbeWatch, bar: tqdm
) -> tuple[ndarray, list[Look]]:
    """Draws targets one after the other: the user's (R, k), and what the watch sees at each of its horizons."""
    n_draws, n_future = levels.shape
    x_observed, y_observed = rows.context()
    n = y_observed.shape[1]
    x = torch.cat([x_observed.expand(n_draws, -1, -1), rows.queries(x_future)], 1)  # (R, N, F)
    y = torch.cat([y_observed.expand(n_draws, -1), y_observed.new_zeros(n_draws, n_future)], 1)  # (R, N)
    at, looks = torch.from_numpy(levels).to(x.device), []
    for step in range(n_future):
        end = n + step
        predictive = rows.predict(x[:, :end], y[:, :end], x[:, end, None])
        y[:, end] = rows.quantiles(predictive, at[:, step, None])[:, 0].to(y.dtype)
        if not y[:, end].isfinite().all():
            raise ValueError(f"The network drew NaN or infinity given {end} rows: it does not take data like these.")
        if step + 1 in watch.horizons:
            looks.append(watch.look(x[:, : end + 1], y[:, : end + 1]))
        bar.update(n_draws)
    return rows.to_user(y[:, n:]), looks


def _evaluated(
    functional: Functional, rows: NetworkRows, x_future: ndarray, y_future: ndarray, first: Sequence[ndarray]
) -> Iterator[ndarray]:
    """The functional of each completed table; `first` holds an earlier value, if there is one."""
    for x, y in zip(x_future, y_future, strict=True):
        returned = functional(np.concatenate([rows.X, x]), np.concatenate([rows.y, y]))
        try:
            value = np.asarray(returned, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"functional must return numbers of one shape, not {returned!r}.") from None
        first = first or [value]
        if value.shape != first[0].shape:
            raise ValueError(f"functional must always return one shape; it returned {first[0].shape}, {value.shape}.")
        if not np.isfinite(value).all():
            raise ValueError(f"functional must return finite numbers, not {returned!r}: it has to exist for any y.")
        yield value


def _open(network: Any) -> tuple[Network, int | None]:
    """The network, and how many rows it was trained on where that is known."""
    needs = "max_features"  # tells networks of rows from those of curves, processes and latent vectors
    if not isinstance(network, torch.nn.Module):
        checkpoint = open_checkpoint(network, (needs,), "predict rows of a table")
        return checkpoint.network, trained_sizes(checkpoint.metadata).rows
    if not isinstance(network, Network) or not hasattr(network, needs):
        raise TypeError(
            f"A {type(network).__name__} does not predict rows of a table: give a priorfit.models.Network that maps "
            "x_context, y_context and x_query to a distribution and says how many features it takes (max_features)."
        )
    return network, None
