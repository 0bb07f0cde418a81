"""How well predictions of held-out rows of a table are, by task.

Letters: m rows, C classes.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from sklearn.metrics import roc_auc_score
from torch.distributions import Distribution

from scripts.real_tables import CLASSIFICATION, REGRESSION

SMALLEST = 1e-6  # probability that a logarithm is taken of


class Measure(NamedTuple):
    """One score."""

    key: str
    sign: int  # 1 where more is better, -1 where less is


MEASURES = {
    CLASSIFICATION: (Measure("ROC AUC", 1), Measure("accuracy", 1), Measure("log loss", -1)),
    REGRESSION: (Measure("RMSE", -1), Measure("log score", 1)),
}


def class_scores(probability: ndarray, truth: ndarray) -> dict[str, float]:
    """ROC AUC (`one_vs_one_auc`), accuracy and mean negative log probability of predicted classes.

    Args:
        probability: (m, C).
        truth: indices of the true classes, (m,).
    """
    likelihood = np.clip(probability[np.arange(len(truth)), truth], SMALLEST, 1 - SMALLEST)
    return {
        "ROC AUC": one_vs_one_auc(probability, truth),
        "accuracy": float((probability.argmax(1) == truth).mean()),
        "log loss": float(-np.log(likelihood).mean()),
    }


def one_vs_one_auc(probability: ndarray, truth: ndarray) -> float:
    r"""Mean area under the ROC curve over all ordered pairs of the classes that occur.

    Hand and Till 2001, "A simple generalisation of the area under the ROC curve", equation 7; scikit-learn's
    `multi_class="ovo"`. For two classes it is the plain area.

    Args:
        probability: (m, C).
        truth: indices of the true classes, (m,).

    Returns:
        NaN where all rows are of one class.
    """
    if probability.shape[1] == 2:
        return float(roc_auc_score(truth == 1, probability[:, 1])) if len(np.unique(truth)) == 2 else np.nan
    areas = []
    for pair in combinations(np.unique(truth), 2):
        rows = np.isin(truth, pair)
        areas += [roc_auc_score(truth[rows] == one, probability[rows, one]) for one in pair]
    return float(np.mean(areas)) if areas else np.nan


def number_scores(law: Distribution, truth: ndarray, unit: float) -> dict[str, float]:
    """Root mean squared error of the means and mean log density, both of numbers in units of `unit`.

    Args:
        law: batch shape (m,).
        truth: (m,).
        unit: standard deviation of the training targets.
    """
    target = torch.from_numpy(truth)
    error = (law.mean - target).square().mean().sqrt() / unit
    return {"RMSE": float(error), "log score": float(law.log_prob(target).mean() + np.log(unit))}
