"""What members of an ensemble do to numeric columns before their network sees them.

Every map is monotone in each column, fitted to the training rows, and returns values of about unit size.
Letters: n rows, m queries, F columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy import ndarray
from sklearn.preprocessing import PowerTransformer

from priorfit.predictors.units import mean_and_std
from priorfit.registry import closest

FARTHEST = 1e4  # standard deviations from the training rows, to which values farther out are moved
BULK = 30.0  # standard deviations: powers of values beyond it would leave all others in one point

InputMap = Callable[[ndarray], ndarray]  # (m, F) to (m, F), NaN stays NaN


def check_transforms(names: Sequence[str]) -> None:
    """Raises ValueError where these are not the names of maps, at least one."""
    if isinstance(names, str) or not len(names):
        raise ValueError(f"transforms must be a list of names, not {names!r}. {closest('', MAPS)}")
    for name in names:
        if name not in MAPS:
            raise ValueError(f"Unknown transform '{name}': {closest(name, MAPS)}")


def fit_map(name: str, x: ndarray) -> InputMap:
    """The map called `name`, fitted.

    Args:
        name: "none" shifts and scales; "quantile" gives each column the ranks of a normal law; "power" is the
            Yeo-Johnson transform that makes it most nearly normal.
        x: numeric columns of the training rows, (n, F), NaN where missing; no column has only missing values.
    """
    center, spread = mean_and_std(x)

    def scaled(values: ndarray) -> ndarray:
        with np.errstate(over="ignore"):
            return np.clip((values - center) / spread, -FARTHEST, FARTHEST)

    if not x.size:
        return scaled
    further = MAPS[name](scaled(x))
    return lambda values: further(scaled(values))


def _unchanged(z: ndarray) -> InputMap:
    return lambda values: values


def _quantile(z: ndarray) -> InputMap:
    """Ranks r among n values, as quantiles (r - 1/2) / n of the standard normal law; equal values share a rank."""
    ranked = [_ranked(column[~np.isnan(column)]) for column in z.T]

    def transform(values: ndarray) -> ndarray:
        columns = [np.interp(column, *pair) for column, pair in zip(values.T, ranked, strict=True)]
        return np.where(np.isnan(values), np.nan, np.stack(columns, 1))

    return transform


def _ranked(values: ndarray) -> tuple[ndarray, ndarray]:
    """Distinct values, increasing, and the normal quantiles of their mean ranks."""
    distinct, counts = np.unique(values, return_counts=True)
    levels = (np.cumsum(counts) - counts / 2) / len(values)
    return distinct, torch.special.ndtri(torch.from_numpy(levels)).numpy()


def _power(z: ndarray) -> InputMap:
    """Yeo-Johnson, standardised."""
    transformer = PowerTransformer()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        transformer.fit(np.clip(z, -BULK, BULK))

    def transform(values: ndarray) -> ndarray:
        with np.errstate(all="ignore"):
            return np.clip(transformer.transform(np.clip(values, -BULK, BULK)), -FARTHEST, FARTHEST)

    return transform


MAPS = {"none": _unchanged, "quantile": _quantile, "power": _power}
