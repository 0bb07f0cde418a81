"""Regression with a trained prior-data fitted network, as a scikit-learn estimator.

Letters: n training rows, m queries, F features, Q quantile levels, S draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state

from priorfit.checkpoints import AnyPath, Checkpoint, CheckpointError
from priorfit.distributions import BarDistribution
from priorfit.predictors.columns import Chosen
from priorfit.predictors.limits import check_count, check_limits, trained_sizes
from priorfit.predictors.loading import predicts_numbers
from priorfit.predictors.member_tables import MemberTables
from priorfit.predictors.outputs import joined, mixed, quantiles_of, statistic
from priorfit.predictors.plain_tables import PlainTables
from priorfit.predictors.table_estimator import TableEstimator
from priorfit.predictors.targets import read_numbers


class PFNRegressor(RegressorMixin, TableEstimator):
    """Bayesian regression in one forward pass: a predictive distribution for each query.

    `fit` trains nothing: it encodes the training rows once, and every prediction reuses that. What X may hold depends
    on the checkpoint's network. One that takes tables is asked as `PFNClassifier` asks it: columns of any kind,
    missing values, and an ensemble whose distributions are mixed. Others take finite numbers, and are asked once.

    Args:
        checkpoint: a name from `priorfit.list_checkpoints()`, the path of a checkpoint file, or what
            `priorfit.load` returned.
        device: where the network runs: "cpu", "cuda", or "auto" for a GPU if there is one.
        standardize: whether each column of X, and y, is shifted and scaled to the mean and standard deviation
            that it has in the network's prior. Without it, data must come in the prior's own units. Priors of one
            fixed scale draw no tables that look standardised: for their networks this often brings the warning of
            unlike data. For networks that take finite numbers only; others do this themselves.
        query_batch: queries per forward pass. Shorter lists are padded to it, so that no prediction depends
            on what else is asked for. Larger costs memory, and time where lists are short.
        ignore_limits: accept far more rows than the network was trained on, with a warning.
        n_estimators, transforms, categorical_features, max_rows, random_state: see `PFNClassifier`; for networks that
            take tables.

    Attributes:
        unfamiliarity_: how unlike the draws of the training's prior the training rows are, to the first member of an
            ensemble: 1 in 200 draws is above 1, and a warning tells of such. NaN where the checkpoint has no check.
        metadata_: the checkpoint's own description of itself (see `priorfit.checkpoint_file`).
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Example:
        >>> regressor = PFNRegressor().fit(X_train, y_train)  # doctest: +SKIP
        >>> low, high = regressor.predict(X_test, "quantiles", quantiles=(0.05, 0.95)).T  # doctest: +SKIP
    """

    _purpose, _needs = "predict tables", ("encode", "decode", "max_features")

    def __init__(
        self,
        checkpoint: AnyPath | Checkpoint = "tabular-regressor",
        *,
        device: str | torch.device = "cpu",
        standardize: bool = True,
        query_batch: int = 256,
        ignore_limits: bool = False,
        n_estimators: int = 1,
        transforms: Sequence[str] = ("none", "quantile", "power"),
        categorical_features: Chosen = None,
        max_rows: int | None = None,
        random_state: int | RandomState | None = 0,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.standardize = standardize
        self.query_batch = query_batch
        self.ignore_limits = ignore_limits
        self.n_estimators = n_estimators
        self.transforms = transforms
        self.categorical_features = categorical_features
        self.max_rows = max_rows
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Encodes the training rows.

        Args:
            X: (n, F), an array or a data frame: of finite numbers, or of any kind (see `PFNClassifier.fit`) where the
                network takes tables.
            y: finite numbers, (n,).

        Raises:
            CheckpointError: the checkpoint cannot be loaded or does not predict numbers from tables.
            ValueError: data or settings that cannot be used; the message says what to do.
        """
        table = self._read_training(X, y)
        return self._fit(table, read_numbers(y), 0)

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
        return joined(parts, (sum(len(bars.logits) for bars in parts),))

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

    def _open(self) -> Checkpoint:
        """The checkpoint, whose network predicts numbers."""
        checkpoint = super()._open()
        if not predicts_numbers(checkpoint.network):
            raise CheckpointError(
                f"The network of checkpoint {self.checkpoint!r} predicts classes, not numbers: use PFNClassifier, or "
                "choose another from priorfit.list_checkpoints()."
            )
        return checkpoint

    def _tables_for(
        self, network: Any, metadata: dict[str, Any], x: ndarray, y: ndarray, n_classes: int
    ) -> PlainTables | MemberTables:
        """What the network is shown, by what it takes."""
        if getattr(network, "takes_tables", False):
            return self._member_tables(network, metadata, x, y, n_classes)
        tables = PlainTables.fit(x, y, self._columns, network, self.standardize)
        check_limits(x.shape, trained_sizes(metadata), network.max_features, self.ignore_limits)
        return tables

    def _distributions(self, X: Any) -> Iterator[BarDistribution]:
        """Predictive distributions of `query_batch` rows or fewer, in the units of y, float64 on the CPU."""
        for parts, n_rows in self._answers(X):
            yield mixed(parts, n_rows).affine(*map(torch.as_tensor, self._tables.y_units))
