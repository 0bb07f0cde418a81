"""Units of columns."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import norm
from sklearn.preprocessing import StandardScaler

from priorfit.models.table_columns import NEAR, Coordinates, measure, view
from tests.cases import assert_same, seeded

NUMBERS = torch.zeros(1, 2, dtype=torch.bool)


def table(n: int = 30, seed: int = 0) -> torch.Tensor:
    """Two columns of numbers with missing values, (1, n, 2)."""
    x = torch.randn(1, n, 2, generator=seeded(seed)) * torch.tensor([5.0, 0.01]) + torch.tensor([100.0, 0.0])
    x[0, ::7, 0] = torch.nan
    return x


def test_values_are_standardised_over_those_present() -> None:
    x, x_query = table(), table(seed=1)
    columns = view(x_query, measure(x, NUMBERS))
    expected = StandardScaler().fit(x[0].numpy()).transform(x_query[0].numpy())
    near = np.abs(expected) < NEAR
    np.testing.assert_allclose(columns.standard[0].numpy()[near], expected[near], rtol=1e-3, atol=1e-4)
    assert (columns.missing[0] == x_query[0].isnan()).all()
    assert (columns.standard[columns.missing.bool()] == 0).all()
    assert (columns.scores[columns.missing.bool()] == 0).all()


def test_far_values_grow_with_their_logarithm() -> None:
    x = torch.linspace(-1, 1, 50).repeat(2, 1).T[None]
    far = torch.tensor([[[1e6, -1e6]]])
    columns = view(far, measure(x, NUMBERS))
    assert (columns.standard.abs() < 20).all()
    assert columns.standard[0, 0, 0] == -columns.standard[0, 0, 1] > NEAR


def test_scores_are_normal_quantiles_of_ranks_and_ignore_monotone_maps() -> None:
    x = torch.tensor([3.0, 1.0, 2.0, 2.0, 9.0])[None, :, None]
    columns = view(x, measure(x, torch.zeros(1, 1, dtype=torch.bool)))
    levels = np.array([3.5, 0.5, 2.0, 2.0, 4.5]) + 0.5
    expected = norm.ppf(levels / 6)
    np.testing.assert_allclose(columns.scores[0, :, 0], expected / np.sqrt(np.square(expected).mean()), rtol=1e-5)
    bent = view(x.exp(), measure(x.exp(), torch.zeros(1, 1, dtype=torch.bool)))
    assert_same(bent.scores, columns.scores)


def test_columns_without_variation_or_values_are_all_zero() -> None:
    x = torch.full((1, 37, 2), 1234567936.0)
    x[..., 1] = torch.nan
    columns = view(x, measure(x, NUMBERS))
    assert (columns.standard == 0).all()
    assert (columns.scores.abs() < 1e-6).all()
    assert all(part.isfinite().all() for part in columns)
    empty = measure(x[:, :0], NUMBERS)
    assert all(part.isfinite().all() for part in view(x, empty))


def test_different_categories_are_about_as_far_apart_as_numbers() -> None:
    x = torch.arange(20.0)[None, :, None].expand(1, 20, 2)
    categorical = torch.tensor([[True, False]])
    points = Coordinates()(view(x, measure(x, categorical)), categorical)  # (2, 1, 20, 2, 17)
    codes = points[0, 0, :, 0]
    distances = torch.cdist(codes, codes)
    others = distances[~torch.eye(20, dtype=torch.bool)]
    assert (distances.diagonal() < 1e-3).all()
    assert abs(others.square().mean() - 2) < 0.1
    assert others.min() > 0.7
    assert (points[:, :, :, 0, 0] == 0).all()  # a code is no number
    assert (points[:, :, :, 1, 1:] == 0).all()
