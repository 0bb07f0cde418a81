"""Columns of tables in units that no network has to learn: measured on the context, applied to any rows.

Letters: B tasks, n context rows, N rows of any kind, F features, E coordinates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

NEAR = 4.0  # standard deviations; farther values grow with their logarithm only
CODE_SIZE = 16  # numbers that stand for one category
N_CODES = 128  # categories that are told apart in one column


class Measures(NamedTuple):
    """What is known of columns from their context rows."""

    loc: Tensor  # (B, F)
    scale: Tensor  # (B, F), 1 where a column is constant
    ordered: Tensor  # (B, F, n), increasing, the missing ones last and infinite
    count: Tensor  # (B, F), values that are not missing
    score_scale: Tensor  # (B, F), standard deviation of the context's normal scores, 1 where a column is constant
    categorical: Tensor  # (B, F), bool


class Columns(NamedTuple):
    """Values of N rows in two views, 0 where missing: both have mean 0 and variance 1 over the context, about."""

    standard: Tensor  # (B, N, F), standardised, with logarithmic tails
    scores: Tensor  # (B, N, F), normal scores of their ranks among the context's values
    missing: Tensor  # (B, N, F), float, 1 where missing
    codes: Tensor  # (B, N, F), int64, the categories of categorical columns, 0 elsewhere


def measure(x: Tensor, categorical: Tensor, standardize: bool = True) -> Measures:
    """Measures the columns of a context x (B, n, F), NaN where missing; values keep their units where told to."""
    present = ~x.isnan()
    count = present.sum(1)
    loc = (x.nan_to_num(0).sum(1, dtype=torch.float64) / count.clamp(min=1)).to(x.dtype)  # exact for equal values
    deviations = (x - loc[:, None]).nan_to_num(0)
    scale, varies = spread(deviations, loc, count)
    if not standardize:
        loc, scale = torch.zeros_like(loc), torch.ones_like(scale)
    ordered = x.mT.masked_fill(~present.mT, math.inf).sort(-1).values.contiguous()  # (B, F, n)
    measures = Measures(loc, scale, ordered, count, torch.ones_like(scale), categorical)
    scores = _scores(x, measures)
    width = (scores.square().sum(1) / count.clamp(min=1)).sqrt()
    return measures._replace(score_scale=torch.where(varies & (width > 0), width, 1.0))


def spread(deviations: Tensor, loc: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean square of `count` deviations from `loc`, 1 where they are no more than rounding errors.

    Args:
        deviations: (B, n, F), 0 where there is none.
        loc, count: (B, F).

    Returns:
        The spread, and where there is any, both (B, F).
    """
    largest = deviations.abs().amax(1) if deviations.shape[1] else torch.zeros_like(loc)
    varies = largest > 1e-6 * loc.abs()
    unit = torch.where(varies, largest, 1.0)  # squares of what is divided by it neither overflow nor vanish
    size = unit * ((deviations / unit[:, None]).square().sum(1) / count.clamp(min=1)).sqrt()
    return torch.where(varies, size, 1.0), varies


def view(x: Tensor, measures: Measures) -> Columns:
    """Rows x (B, N, F), NaN where missing, in units of the context."""
    missing = x.isnan()
    z = ((x - measures.loc[:, None]) / measures.scale[:, None]).nan_to_num(0)
    standard = z.clamp(-NEAR, NEAR) + z.sign() * (z.abs() - NEAR).clamp(min=0).log1p()
    scores = _scores(x, measures) / measures.score_scale[:, None]
    codes = torch.where(measures.categorical[:, None] & ~missing, x, 0).long() % N_CODES
    return Columns(standard, scores, missing.to(x.dtype), codes)


def _scores(x: Tensor, measures: Measures) -> Tensor:
    """Normal quantiles of the ranks of x (B, N, F), ties in the middle, 0 where missing."""
    values = x.mT.nan_to_num(0).contiguous()
    below, up_to = (torch.searchsorted(measures.ordered, values, right=right) for right in (False, True))
    total = measures.count[..., None]
    up_to = up_to.minimum(total)
    level = ((below + up_to) / 2 + 0.5) / (total + 1)
    return torch.special.ndtri(level.to(x.dtype)).mT.masked_fill(x.isnan(), 0)


class Coordinates(nn.Module):
    """Puts rows into a space where distances compare them: categories as far apart as typical numbers.

    A number is one coordinate. A category is a fixed random unit vector, so that different ones are about √2
    apart, as two standard normal numbers are, and equal ones not at all.

    Attributes:
        table: the vectors, (128, 16).
    """

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(N_CODES, CODE_SIZE, generator=generator)
        self.register_buffer("table", nn.functional.normalize(vectors, dim=-1))

    def codes(self, columns: Columns, categorical: Tensor) -> Tensor:
        """Vectors of the categories, (B, N, F, 16); zero in other columns and where missing."""
        shown = categorical[:, None] * (1 - columns.missing)
        return self.table[columns.codes] * shown[..., None]

    def forward(self, columns: Columns, categorical: Tensor) -> Tensor:
        """Coordinates in two views, with standardised values and with normal scores: (2, B, N, F, e).

        Without categories e is 1; with any, a feature has 17 coordinates, its number and its category's vector.
        """
        values = torch.stack([columns.standard, columns.scores])[..., None]  # (2, B, N, F, 1)
        if not categorical.any():
            return values
        values = values.masked_fill(categorical[:, None, :, None], 0)
        codes = self.codes(columns, categorical).expand(2, -1, -1, -1, -1)
        return torch.cat([values, codes], -1)
