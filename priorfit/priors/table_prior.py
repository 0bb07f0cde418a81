"""What every prior over tables shares: sizes, what is done to features, what the target becomes, degenerate draws.

Letters: B tasks, N = n + m rows (n context rows, then m queries), F features.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from priorfit.priors.base import Prior, check_batch_size
from priorfit.priors.sized_prior import SizedPrior
from priorfit.priors.table_pieces import Labels, Piece, Raw, Target, pieces, targets
from priorfit.priors.task import Table, Task
from priorfit.registry import closest

__all__ = ["Raw", "TablePrior"]

ORDER = ("irrelevant", "warp", "outliers", "soft_clip", "categorical", "missing")  # in which pieces act
LARGEST = 1e15  # beyond it squares leave the range of float32
RELATIVE_WIDTH = 1e-6  # a target that varies by less than this share of its size is taken for constant
TABLE_DRAWS, LABEL_DRAWS = 20, 20  # how often a degenerate table, or its labels alone, are drawn again
REASONS = ("not finite", "constant target", "unrelated target", "missing class")  # for drawing again
FEWEST_ROWS = 10  # context sizes of an evaluation of classifiers begin here
SHIFTED_COLUMNS: dict[str, dict[str, dict[str, float]]] = {  # by name: what is done to the columns of every table
    "outliers everywhere": {"outliers": {"tables": 1.0, "columns": 1.0, "rate": 0.1, "strength": 3.0}},
    "missing values everywhere": {"missing": {"tables": 1.0, "columns": 1.0, "rate": 0.5}},
    "most columns irrelevant": {"irrelevant": {"tables": 1.0, "columns": 0.8}},
}


class Drawn(NamedTuple):
    """Tables with their labels, one entry per task."""

    x: Tensor  # (B, N, F)
    categorical: Tensor  # (B, F)
    y: Tensor  # (B, N)
    n_classes: Tensor  # (B,)
    parameters: Tensor | None  # (B, m, P)
    degenerate: Tensor  # (B,), bool


T = TypeVar("T", Drawn, Labels)


class TablePrior(SizedPrior):
    r"""A prior over tables: a subclass draws raw tables, the rest is done here and is the same for all.

    Pieces change the features (none by default), in the fixed order of `ORDER`; the target becomes a number or a
    class. Rows of a raw table are exchangeable, and the first n are the context. What is done to a row depends on the
    others only through maps that are shared by all rows of the table: the range of a warped column, thresholds of
    categories, levels of values that go missing; and the values of an irrelevant column are dealt among the rows. The
    classes' thresholds depend on the context alone, unless they are drawn by value.

    Some draws are degenerate: values that are not finite, a target that is constant (on the context, where that
    has two rows) or, where a subclass tells, unrelated to all features, and classes without a row in a context that
    has rows enough. They are drawn again, the last kind first with new labels only, and counted. The law stays that of
    the queries: what decides on a redraw is never their noise.

    Args:
        sizes: arguments of `Sizes`; the context is a number or a random split, never what comes first in order.
        target: `{kind: number, …}` or `{kind: classes, …}` with the arguments of `NumberTarget` or `ClassTarget`; None
            for plain numbers.
        columns: from the names of pieces to their arguments: irrelevant, warp, outliers, soft_clip, categorical,
            missing.

    Raises:
        ValueError: impossible sizes, unknown pieces, or numbers out of range.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        target: Mapping[str, Any] | None = None,
        columns: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        super().__init__(sizes)
        if self.sizes.ordered:
            raise ValueError('The rows of a table have no order: context="prefix" and ordered are for functions.')
        kind = _mapping("target", target or {"kind": "number"})
        self.target: Target = targets.build(str(kind.pop("kind", "")), kind)
        chosen = _mapping("columns", columns)
        for name in chosen:
            if name not in ORDER:
                raise ValueError(f"Unknown piece '{name}': {closest(name, ORDER)}")
        self.pieces: list[Piece] = [
            pieces.build(name, _mapping(name, chosen[name])) for name in ORDER if name in chosen
        ]
        self._counts: dict[str, int] = dict.fromkeys(("drawn", *REASONS), 0)

    @property
    def counts(self) -> dict[str, int]:
        """How many tables this object has drawn, and how often it drew again, by reason."""
        return self._counts

    @abstractmethod
    def draw_table(self, batch_size: int, n_rows: int, n_features: int, generator: Generator) -> Raw:
        """Draws raw tables, everything afresh for each task; targets have a scale of about 1."""

    def measurements(self, observed: Table) -> Tensor:
        """The context's targets where they are numbers; the indices of classes are not measured."""
        return (observed.n_classes == 0)[:, None].expand_as(observed.y_context)

    def shifts(self) -> dict[str, Prior]:
        """Dirtier tables, and a target with more noise than any that this prior draws by itself."""
        columns = self.arguments["columns"] or {}
        changes = {name: {"columns": {**columns, **piece}} for name, piece in SHIFTED_COLUMNS.items()}
        target = {**(self.arguments["target"] or {"kind": "number"}), "noise": 1.0}
        return self.changed({**changes, "target noise as large as the signal": {"target": target}})

    def context_sizes(self) -> list[int]:
        """As for other priors over rows; for classes those from 10 on, where there are any."""
        sizes = super().context_sizes()
        return [n for n in sizes if n >= FEWEST_ROWS] or sizes[-1:] if self.target.most_classes else sizes

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks; `law` is that of each query's target given its table and noise level, where that is known.

        Raises:
            ValueError: a table is still degenerate after many draws.
        """
        n, m, n_features = self.sizes.draw(generator)
        drawn = self._draw(check_batch_size(batch_size), n, m, n_features, generator)
        for _ in range(TABLE_DRAWS):
            again = drawn.degenerate.nonzero()[:, 0]
            if not len(again):
                break
            drawn = _merged(drawn, self._draw(len(again), n, m, n_features, generator), again)
        if drawn.degenerate.any():
            raise ValueError(
                f"{int(drawn.degenerate.sum())} of {batch_size} tables with {n} context rows and {n_features} features "
                f"are still degenerate after {TABLE_DRAWS} further draws. All draws so far: {self.counts}."
            )
        self.counts["drawn"] += batch_size
        return self._task(drawn, n)

    def _task(self, drawn: Drawn, n: int) -> Task:
        """The context of n rows, and the queries."""
        x, y = drawn.x.contiguous(), drawn.y
        observed = Table(x[:, :n], y[:, :n], x[:, n:], drawn.categorical, drawn.n_classes)
        hidden = y[:, n:].long() if self.target.most_classes else y[:, n:]
        return Task(observed, hidden, None if drawn.parameters is None else self.target.law(drawn.parameters))

    def _draw(self, batch_size: int, n: int, m: int, n_features: int, generator: Generator) -> Drawn:
        """One attempt at tables and labels."""
        raw = self.draw_table(batch_size, n + m, n_features, generator)
        raw, degenerate = self._checked(raw, n)
        labels = self._labels(raw, n, degenerate, generator)
        for piece in self.pieces:
            raw = piece(raw, generator)
        missing = labels.missing & ~degenerate
        self.counts["missing class"] += int(missing.sum())
        return Drawn(raw.x, raw.categorical, labels.y, labels.n_classes, labels.parameters, degenerate | missing)

    def _checked(self, raw: Raw, n: int) -> tuple[Raw, Tensor]:
        """The raw tables, made finite where they are not, and which of them are degenerate, (B,)."""
        given = {"x": raw.x, "y": raw.y, **({} if raw.vector is None else {"vector": raw.vector})}
        bounded = [(values.abs() < LARGEST).flatten(1).all(1) for values in given.values()]  # false where there is NaN
        finite = torch.stack(bounded).all(0)
        if not finite.all():
            raw = raw._replace(**{name: _where(finite, values) for name, values in given.items()})
        rows = raw.y[:, :n] if n > 1 else raw.y
        width = rows.amax(1) - rows.amin(1)
        constant = (width <= RELATIVE_WIDTH * rows.abs().amax(1)) & finite & (rows.shape[1] > 1)
        self.counts["not finite"] += int((~finite).sum())
        self.counts["constant target"] += int(constant.sum())
        degenerate = ~finite | constant
        if raw.unrelated is not None:
            self.counts["unrelated target"] += int((raw.unrelated & ~degenerate).sum())
            degenerate |= raw.unrelated
        return raw, degenerate

    def _labels(self, raw: Raw, n: int, degenerate: Tensor, generator: Generator) -> Labels:
        """Targets of raw tables, drawn again where a class is missing in the context."""
        every = torch.arange(len(raw.y), device=raw.y.device)
        count = self.target.draw_number(len(raw.y), n, generator)  # kept, so that redraws do not favour few classes
        labels = self._label(raw, count, every, n, generator)
        for _ in range(LABEL_DRAWS):
            again = every[labels.missing & ~degenerate]
            if not len(again):
                break
            self.counts["missing class"] += len(again)
            labels = _merged(labels, self._label(raw, count, again, n, generator), again)
        return labels

    def _label(self, raw: Raw, count: Tensor, some: Tensor, n: int, generator: Generator) -> Labels:
        """Targets of the raw tables with indices `some`."""
        noise, vector = (None if part is None else part[some] for part in (raw.noise, raw.vector))
        values = self.target.values(raw.y[some], noise, generator)._replace(vector=vector)
        return self.target.label(values, count[some], n, generator)


def _mapping(name: str, value: Any) -> dict[str, Any]:
    """A copy of a mapping of arguments, empty for None."""
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a mapping from names to arguments, not {value!r}.")
    return dict(value or {})


def _where(keep: Tensor, values: Tensor) -> Tensor:
    """The tables (B, …) to keep, zero elsewhere."""
    return torch.where(keep.view(-1, *[1] * (values.ndim - 1)), values, 0.0)


def _merged(first: T, fresh: T, index: Tensor) -> T:
    """`first` with the tasks at `index` replaced by `fresh` ones, field by field."""
    pairs: Any = zip(first, fresh, strict=True)
    return type(first)._make(None if old is None else old.index_copy(0, index, new) for old, new in pairs)
