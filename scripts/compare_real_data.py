"""Compares a trained network with Gaussian processes on real tables, over repeated random splits.

    python -m scripts.compare_real_data diabetes tables/concrete.csv     # prints a Markdown table

Takes seconds to minutes per table, nearly all of it for the Gaussian processes. A CSV file needs a column
`target`; columns of text and rows with gaps are left out. Both methods get the same training rows and the
same features: those that correlate best with the target there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.model_selection import train_test_split
from torch.distributions import Distribution
from tqdm import tqdm

from scripts.predict_diabetes import evaluate_regressor, predict_gp, predict_pfn

BUNDLED = {"diabetes": load_diabetes}


def load_table(source: str) -> tuple[Any, Any]:
    """Inputs (n, F) and targets (n,) of a table that comes with scikit-learn, or of a CSV file.

    Raises:
        OSError: no such file.
        ValueError: the file has no numeric column `target`, or no other.
    """
    if source in BUNDLED:
        bundled: Any = BUNDLED[source]()
        return bundled.data, bundled.target
    import pandas as pd

    table = pd.read_csv(source).select_dtypes("number").dropna()
    if "target" not in table or len(table.columns) < 2:
        raise ValueError(f"'{source}' needs a numeric column 'target', and others to predict it from.")
    y = table.pop("target").to_numpy(float)
    return table.to_numpy(float), y


def split_table(x: Any, y: Any, n_train: int, n_features: int, seed: int) -> list[Any]:
    """A random split with at most 80 % of the rows for training, and the best features by those rows alone.

    Returns:
        x_train, x_test, y_train, y_test.
    """
    n_train = min(n_train, int(0.8 * len(y)))
    x_train, x_test, y_train, y_test = train_test_split(x, y, train_size=n_train, random_state=seed)
    varying: Any = VarianceThreshold()  # constant columns correlate with nothing
    varied = varying.fit_transform(x_train)
    best = SelectKBest(f_regression, k=min(n_features, varied.shape[1])).fit(varied, y_train)
    return [best.transform(varied), best.transform(varying.transform(x_test)), y_train, y_test]


def with_error(values: Sequence[float]) -> str:
    """Mean ± standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.4g} ± {error:.2g}"


def compare(
    sources: Sequence[str],
    predictors: dict[str, Callable[..., Distribution]],
    n_splits: int = 5,
    n_train: int = 400,
    n_features: int = 10,
) -> list[str]:
    """Lines of the Markdown table: one per source and predictor."""
    lines = []
    for source in tqdm(sources, unit="table"):
        x, y = load_table(source)
        splits = [split_table(x, y, n_train, n_features, seed) for seed in range(n_splits)]
        rows, features = splits[0][0].shape
        for name, predictor in predictors.items():
            scores = [evaluate_regressor(predictor, *split) for split in splits]
            cells = [with_error([score[title] for score in scores]) for title in scores[0]]
            lines.append(f"| {Path(source).stem} ({rows} × {features}) | {name} | {' | '.join(cells)} |")
    titles = "table (training rows × features)", "method", "RMSE", "log score", "90 % coverage", "seconds"
    return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", nargs="+", help=f"CSV files, or {', '.join(BUNDLED)}")
    parser.add_argument("--checkpoint", default="tabular-regressor", help="a name or a file")
    parser.add_argument("--splits", type=int, default=5, help="random splits per table")
    parser.add_argument("--rows", type=int, default=400, help="training rows at most")
    parser.add_argument("--features", type=int, default=10, help="features at most")
    options = parser.parse_args()
    pfn = partial(predict_pfn, checkpoint=options.checkpoint)
    predictors: dict[str, Any] = {"PFNRegressor": pfn, "Gaussian process": predict_gp}
    try:
        lines = compare(options.sources, predictors, options.splits, options.rows, options.features)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
