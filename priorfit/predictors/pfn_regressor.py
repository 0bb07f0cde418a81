"""Regression with a trained prior-data fitted network, as a scikit-learn estimator.

Letters: n training rows, m queries, F features, K buckets, Q quantile levels, S draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.distributions import BarDistribution
from priorfit.predictors.limits import check_count, check_limits, trained_sizes
from priorfit.predictors.loading import RegressionNetwork, network_on, resolve_device
from priorfit.predictors.network_estimator import NetworkEstimator
from priorfit.predictors.outputs import quantiles_of, statistic
from priorfit.predictors.units import Units


class PFNRegressor(RegressorMixin, NetworkEstimator):
    """Bayesian regression in one forward pass: a predictive distribution for each query.

    `fit` trains nothing: it encodes the training rows once, and every prediction reuses that.

    Args:
        checkpoint: a name from `priorfit.list_checkpoints()`, the path of a checkpoint file, or what
            `priorfit.load` returned.
        device: where the network runs: "cpu", "cuda", or "auto" for a GPU if there is one.
        standardize: whether each column of X, and y, is shifted and scaled to the mean and standard deviation
            that it has in the network's prior. Without it, data must come in the prior's own units.
        query_batch: queries per forward pass. Shorter lists are padded to it, so that no prediction depends
            on what else is asked for. Larger costs memory, and time where lists are short.
        ignore_limits: accept far more rows than the network was trained on, with a warning.

    Attributes:
        metadata_: the checkpoint's own description of itself (see `priorfit.checkpoint_file`).
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Example:
        >>> regressor = PFNRegressor().fit(X_train, y_train)  # doctest: +SKIP
        >>> low, high = regressor.predict(X_test, "quantiles", quantiles=(0.05, 0.95)).T  # doctest: +SKIP
    """

    _purpose, _needs = "predict tables", ("encode", "decode", "max_features")
    _left_out = (*NetworkEstimator._left_out, "_cache")

    def __init__(
        self,
        checkpoint: AnyPath | Checkpoint = "gp-regression",
        *,
        device: str | torch.device = "cpu",
        standardize: bool = True,
        query_batch: int = 256,
        ignore_limits: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.standardize = standardize
        self.query_batch = query_batch
        self.ignore_limits = ignore_limits

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Encodes the training rows.

        Args:
            X: finite numbers, (n, F), an array or a DataFrame.
            y: finite numbers, (n,).

        Raises:
            CheckpointError: the checkpoint cannot be loaded or does not predict tables.
            ValueError: data or settings that cannot be used; the message says what to do.
        """
        check_count("query_batch", self.query_batch)
        device = resolve_device(self.device)
        x, targets = _validated(self, X, y, y_numeric=True)
        checkpoint = self._open()
        network: RegressionNetwork = network_on(checkpoint, device)
        check_limits(x.shape, trained_sizes(checkpoint.metadata), network.max_features, self.ignore_limits)
        self._x_units = self._y_units = Units.unchanged()
        if self.standardize:
            self._x_units = Units.matching(x, network.x_loc.item(), network.x_scale.item())
            self._y_units = Units.matching(targets, network.y_loc.item(), network.y_scale.item())
        self._context = self._x_units.to_network(x, "X"), self._y_units.to_network(targets, "y")
        self._attach(network, device)
        self.metadata_ = checkpoint.metadata
        return self

    def predict(self, X: ArrayLike, output_type: str = "mean", quantiles: Sequence[float] | None = None) -> ndarray:
        """One number per query, or one per query and quantile level, in the units of y.

        Args:
            X: queries, (m, F).
            output_type: "mean", "median", "mode" (where the density is highest), "std" or "quantiles".
            quantiles: Q levels between 0 and 1 for output_type="quantiles"; by default the nine deciles.

        Returns:
            (m,), or (m, Q) for quantiles; float64.

        Raises:
            NotFittedError: before `fit`.
            ValueError: queries, an output_type or levels that cannot be used.
        """
        output = statistic(output_type, quantiles)
        return torch.cat([output(bars) for bars in self._distributions(X)]).numpy()

    def predict_distribution(self, X: ArrayLike) -> BarDistribution:
        """The predictive distributions themselves, in the units of y: densities, probabilities, improvement.

        Args:
            X: queries, (m, F).

        Returns:
            Batch shape (m,), float64, on the CPU.

        Raises:
            NotFittedError, ValueError: as `predict`.
        """
        parts = list(self._distributions(X))
        logits = torch.cat([bars.logits for bars in parts])  # (m, K)
        return BarDistribution(logits, parts[0].borders, parts[0].loc, parts[0].scale)

    def sample(self, X: ArrayLike, n: int = 1, random_state: int | RandomState | None = None) -> ndarray:
        """Independent draws from each query's own distribution: no functions drawn from the posterior.

        Args:
            X: queries, (m, F).
            n: number of draws, S.
            random_state: a seed or generator that makes the draws repeatable.

        Returns:
            (S, m), float64, in the units of y.

        Raises:
            NotFittedError, ValueError: as `predict`, and for n that is not a positive whole number.
        """
        check_count("n", n)
        generator = check_random_state(RandomState() if random_state is None else random_state)
        draws = []
        for bars in self._distributions(X):
            levels = generator.uniform(np.finfo(np.float64).tiny, 1.0, (*bars.batch_shape, n))
            draws.append(quantiles_of(bars, torch.from_numpy(levels).T))
        return torch.cat(draws, 1).numpy()

    def _distributions(self, X: ArrayLike) -> Iterator[BarDistribution]:
        """Predictive distributions of `query_batch` rows or fewer, in the units of y, float64 on the CPU."""
        check_is_fitted(self)
        check_count("query_batch", self.query_batch)
        x = _validated(self, X, reset=False)
        self._restore()
        z = torch.from_numpy(self._x_units.to_network(x, "X"))  # (m, F)
        for rows in z.split(self.query_batch):
            logits, borders = self._decode(rows)
            yield BarDistribution(logits, borders).affine(*map(torch.as_tensor, self._y_units))

    def _decode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (rows, K) and borders (K + 1,) for queries (rows, F), float64 on the CPU.

        The network always sees `query_batch` rows: matrix products of other shapes round differently.
        """
        padded = torch.nn.functional.pad(rows, (0, 0, 0, self.query_batch - len(rows)))
        with torch.inference_mode():
            bars = self._network.decode(self._cache, padded[None].to(self._device))
        return bars.logits[0, : len(rows)].to("cpu", torch.float64), bars.borders.to("cpu", torch.float64)

    def _attach(self, network: RegressionNetwork, device: torch.device) -> None:
        """Encodes the training rows too."""
        x, y = (torch.from_numpy(part)[None].to(device) for part in self._context)
        with torch.inference_mode():
            self._cache = network.encode(x, y)
        super()._attach(network, device)


def _validated(estimator: BaseEstimator, *data: Any, **settings: Any) -> Any:
    """What scikit-learn's own checks make of `data`: finite arrays of the right ranks, X in float64."""
    return validate_data(estimator, *data, dtype=np.float64, **settings)
