"""The columns of a table of any kind, as numbers that a network takes.

Letters: n rows, F columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy import ndarray

from priorfit.predictors.column_values import all_numbers, columns_of, to_names, to_numbers

MOST_CATEGORIES = 50  # of one column

Chosen = Sequence[int] | Sequence[str] | Sequence[bool] | ndarray | None


class Columns(NamedTuple):
    """What the training rows say of each column: it holds numbers, or some categories.

    Columns of numbers and truth values are numeric, unless they are chosen to be categorical or their type is
    categorical; columns with texts are categorical. A category's code is its place in alphabetical order. Of more than
    50 categories the 50 most frequent are kept; the others, and those that the training rows lack, are missing values.

    Attributes:
        labels: what error messages call them, F of them.
        categories: of each column in the order of their codes, or None where it is numeric.
    """

    labels: list[str]
    categories: list[list[str] | None]

    @classmethod
    def fit(cls, table: Any, chosen: Chosen = None, names: Sequence[str] | None = None) -> Self:
        """Looks at the training rows.

        Args:
            table: what `as_table` returned, (n, F).
            chosen: columns that are categorical even if they hold numbers: indices, names, or a mask (F,).
            names: of the columns, where they have any.

        Raises:
            ValueError: dates, or `chosen` columns that do not exist.
            TypeError: values that are neither texts nor numbers.
        """
        n_columns = table.shape[1]
        labels = [f"column {index}" if names is None else f"column '{names[index]}'" for index in range(n_columns)]
        wanted = _mask(chosen, n_columns, names)
        categories: list[list[str] | None] = []
        for (values, declared), label, want in zip(columns_of(table), labels, wanted, strict=True):
            numeric = not (want or declared) and all_numbers(values)
            categories.append(None if numeric else _most_frequent(to_names(values, label)))
        return cls(labels, categories)

    @property
    def categorical(self) -> ndarray:
        """Which columns are categorical, (F,)."""
        return np.array([categories is not None for categories in self.categories])

    def transform(self, table: Any) -> ndarray:
        """Numbers and codes, (n, F), float64, NaN where a value is missing or its category was not kept.

        Args:
            table: what `as_table` returned, (n, F).

        Raises:
            ValueError: infinite values, dates, or text in a numeric column.
            TypeError: values that are neither texts nor numbers.
        """
        x = np.empty(table.shape)
        columns = zip(columns_of(table), self.labels, self.categories, strict=True)
        for index, ((values, _), label, categories) in enumerate(columns):
            if categories is None:
                x[:, index] = to_numbers(values, label)
            else:
                codes = {name: code for code, name in enumerate(categories)}
                x[:, index] = [np.nan if name is None else codes.get(name, np.nan) for name in to_names(values, label)]
        return x


def _most_frequent(names: Sequence[str | None]) -> list[str]:
    """The categories that are kept, in alphabetical order; whole numbers in their own, before all else."""
    counts = Counter(name for name in names if name is not None)
    kept = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_CATEGORIES]
    return sorted(kept, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))


def _mask(chosen: Chosen, n_columns: int, names: Sequence[str] | None) -> ndarray:
    """Chosen columns as a mask (F,)."""
    mask = np.zeros(n_columns, dtype=bool)
    given = np.asarray([] if chosen is None else chosen)
    if not given.size:
        return mask
    if given.dtype.kind == "b" and given.shape == mask.shape:
        return given.copy()
    if given.ndim == 1 and given.dtype.kind in "OU" and names is not None and set(given.tolist()) <= set(names):
        return np.isin(np.asarray(names, dtype=object), given.astype(object))
    if given.ndim == 1 and given.dtype.kind in "iu" and ((-n_columns <= given) & (given < n_columns)).all():
        mask[given] = True
        return mask
    known = "it has no names: fit a data frame to use them" if names is None else f"named {', '.join(names)}"
    raise ValueError(
        f"categorical_features must be indices, names or a mask of the {n_columns} columns of X ({known}); "
        f"got {chosen!r}."
    )
