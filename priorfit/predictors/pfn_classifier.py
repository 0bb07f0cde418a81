"""Classification with a trained prior-data fitted network, as a scikit-learn estimator.

Letters: n training rows, m queries, F features, C classes, K classes that the network tells apart, E members,
D digits (see `priorfit.predictors.members.class_codes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from torch import Tensor
from torch.distributions import Categorical

from priorfit.checkpoints import AnyPath, Checkpoint, CheckpointError
from priorfit.predictors.columns import Chosen
from priorfit.predictors.loading import predicts_classes
from priorfit.predictors.member_tables import MemberTables
from priorfit.predictors.table_estimator import TableEstimator
from priorfit.predictors.targets import read_classes
from priorfit.registry import closest

AVERAGES = ("log_probabilities", "probabilities")


class PFNClassifier(ClassifierMixin, TableEstimator):
    """Bayesian classification of table rows in one forward pass: probabilities of classes for each query.

    `fit` trains nothing: it encodes the training rows once, as each member of an ensemble sees them, and every
    prediction reuses that. The first member sees the table as it is; others see its columns in random order, classes
    under other indices and numbers transformed. Constant columns are left out.

    Larger tables than the network takes: of more columns than it takes, or more rows than `max_rows`, each member sees
    random ones (rows with every class in about its share), with a warning. More classes are told apart by output
    codes: each member becomes several, each of which tells groups of classes apart; several members do that better.

    Args:
        checkpoint: a name from `priorfit.list_checkpoints()`, the path of a checkpoint file, or what
            `priorfit.load` returned.
        n_estimators: members, E. Time and memory grow with their number.
        softmax_temperature: positive; the members' logits are divided by it. Below 1 predictions become more certain.
        average: of the members' "log_probabilities" or "probabilities".
        transforms: what members do to numeric columns, taken in turn: "none", "quantile" (ranks of a normal law),
            "power" (Yeo-Johnson).
        categorical_features: columns that hold categories though they hold numbers: indices, names or a mask. Columns
            with text or a categorical type are categorical without it.
        max_rows: training rows that a member sees at most; by default 4 times as many as the network was trained on.
        device: where the network runs: "cpu", "cuda", or "auto" for a GPU if there is one.
        query_batch: queries per forward pass. Shorter lists are padded to it, so that no prediction depends
            on what else is asked for. Larger costs memory, and time where lists are short.
        ignore_limits: show all rows to every member, with a warning, where `max_rows` is not given.
        random_state: a seed or generator for what differs between members.

    Attributes:
        classes_: the classes, sorted, (C,).
        class_counts_: how often each occurs in y, (C,).
        unfamiliarity_: how unlike the draws of the training's prior the training rows are, to the first member of an
            ensemble: 1 in 200 draws is above 1, and a warning tells of such. NaN where the checkpoint has no check.
        metadata_: the checkpoint's own description of itself (see `priorfit.checkpoint_file`).
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Example:
        >>> classifier = PFNClassifier().fit(X_train, y_train)  # doctest: +SKIP
        >>> classifier.predict_proba(X_test)  # doctest: +SKIP
    """

    _tables: MemberTables
    _purpose, _needs = "classify rows of tables", ("encode", "decode", "max_features", "max_classes")

    def __init__(
        self,
        checkpoint: AnyPath | Checkpoint = "tabular-classifier",
        *,
        n_estimators: int = 1,
        softmax_temperature: float = 1.0,
        average: str = "log_probabilities",
        transforms: Sequence[str] = ("none", "quantile", "power"),
        categorical_features: Chosen = None,
        max_rows: int | None = None,
        device: str | torch.device = "cpu",
        query_batch: int = 256,
        ignore_limits: bool = False,
        random_state: int | RandomState | None = 0,
    ) -> None:
        self.checkpoint = checkpoint
        self.n_estimators = n_estimators
        self.softmax_temperature = softmax_temperature
        self.average = average
        self.transforms = transforms
        self.categorical_features = categorical_features
        self.max_rows = max_rows
        self.device = device
        self.query_batch = query_batch
        self.ignore_limits = ignore_limits
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Encodes the training rows.

        Args:
            X: (n, F), an array or a data frame. Numbers, truth values, texts and categorical columns are taken as they
                come; None, NaN and pandas' NA are missing values. Of more than 50 categories in a column the most
                frequent are kept, the others count as missing, and so do categories that `fit` has not seen. Not
                taken: dates, infinite values.
            y: classes, (n,): texts, whole numbers or truth values.

        Raises:
            CheckpointError: the checkpoint cannot be loaded or does not classify tables.
            TypeError: values that are neither numbers nor texts.
            ValueError: data or settings that cannot be used; the message says what to do.
        """
        table = self._read_training(X, y)
        classes, indices = read_classes(y)
        self._fit(table, indices, len(classes))
        self.classes_, self.class_counts_ = classes, np.bincount(indices, minlength=len(classes))
        return self

    def predict(self, X: Any) -> ndarray:
        """The most probable class of each query, (m,).

        Args:
            X: queries, (m, F).

        Raises:
            NotFittedError: before `fit`.
            ValueError: queries that cannot be used.
        """
        indices = self._log_probabilities(X).argmax(1)
        return self.classes_[indices]

    def predict_proba(self, X: Any) -> ndarray:
        """Probabilities of the classes in the order of `classes_`, (m, C), float64.

        Args:
            X: queries, (m, F).

        Raises:
            NotFittedError, ValueError: as `predict`.
        """
        return np.exp(self._log_probabilities(X))

    def predict_log_proba(self, X: Any) -> ndarray:
        """Logarithms of the probabilities, (m, C), float64; finite where the probabilities themselves would be 0.

        Args:
            X: queries, (m, F).

        Raises:
            NotFittedError, ValueError: as `predict`.
        """
        return self._log_probabilities(X)

    def predict_distribution(self, X: Any) -> Categorical:
        """The predictive distributions of the classes' indices.

        Args:
            X: queries, (m, F).

        Returns:
            Batch shape (m,), float64, on the CPU.

        Raises:
            NotFittedError, ValueError: as `predict`.
        """
        return Categorical(logits=torch.from_numpy(self._log_probabilities(X)))

    def _open(self) -> Checkpoint:
        """The checkpoint, whose network classifies."""
        checkpoint = super()._open()
        if not predicts_classes(checkpoint.network):
            raise CheckpointError(
                f"The network of checkpoint {self.checkpoint!r} predicts numbers, not classes: use PFNRegressor, or "
                "choose another from priorfit.list_checkpoints()."
            )
        return checkpoint

    def _check_settings(self) -> None:
        """Raises ValueError for settings that cannot be used."""
        super()._check_settings()
        if not 0 < self.softmax_temperature < math.inf:
            raise ValueError(f"softmax_temperature must be a positive number, not {self.softmax_temperature!r}.")
        if self.average not in AVERAGES:
            raise ValueError(f"Unknown average '{self.average}': {closest(self.average, AVERAGES)}")

    def _log_probabilities(self, X: Any) -> ndarray:
        """Log probabilities (m, C)."""
        return torch.cat(list(self._averaged(X))).numpy()

    def _averaged(self, X: Any) -> Iterator[Tensor]:
        """Log probabilities of `query_batch` rows or fewer, (rows, C), float64."""
        for parts, n_rows in self._answers(X):
            logits = torch.cat([part.logits[:, :n_rows].to("cpu", torch.float64) for part in parts])  # (E D, rows, K)
            codes = torch.tensor([member.codes for member in self._tables.members])  # (E D, C)
            groups = (logits / self.softmax_temperature).log_softmax(-1)
            classes = groups.gather(-1, codes[:, None].expand(-1, n_rows, -1))  # (E D, rows, C)
            digits = classes.unflatten(0, (-1, self._tables.n_digits))  # (E, D, rows, C)
            members = digits.sum(1).log_softmax(-1)
            mean = members.mean(0) if self.average == AVERAGES[0] else members.logsumexp(0)
            yield mean.log_softmax(-1)

    def _learned(self) -> dict[str, Any]:
        classes = {"values": self.classes_.tolist(), "type": self.classes_.dtype.str}
        return {"classes": classes, "class_counts": self.class_counts_.tolist()}

    def _relearn(self, learned: dict[str, Any]) -> None:
        classes = learned["classes"]
        self.classes_ = np.array(classes["values"], dtype=np.dtype(classes["type"]))
        self.class_counts_ = np.array(learned["class_counts"])
