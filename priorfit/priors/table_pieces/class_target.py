"""Targets that are classes. Letters as in `target`; K the largest number of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.distributions import Categorical

from priorfit.priors.table_pieces.bins import (
    INF,
    draw_counts,
    encode,
    permutations,
    quantile_thresholds,
    rank_thresholds,
)
from priorfit.priors.table_pieces.flips import flip
from priorfit.priors.table_pieces.piece import whole_range, within
from priorfit.priors.table_pieces.prototypes import noisy_codes, row_closeness
from priorfit.priors.table_pieces.target import Labels, Target, Values, targets

MOST = 10  # classes


@targets.register("classes")
class ClassTarget(Target):
    """A class to predict: the raw target, cut at thresholds, or the nearest of as many prototypes as there are classes.

    Thresholds come from values without noise: those of random rows of the context by default, which makes a random
    partition and lets every class occur (of all rows, where a context has fewer than there are classes). Given
    the thresholds and a row's value, noise alone decides on its class, whose probabilities are thus known.
    Prototypes are the vectors of random rows in the same manner. There, noise of sd s (in standard deviations of the
    target) is s times Gumbel noise on -|v - p|² / 2, which makes the probabilities softmax(-|v - p|² / 2 s).

    Args:
        number: of classes: fixed, or [low, high] for a uniform draw per task, which a small context lowers to half
            the number of its rows, down to 2.
        binary: probability of 2 classes whatever `number` says, where it is a range.
        by_value: probability that a task has thresholds ~ N(mean, sd²), of its target over all rows.
        balanced: probability that a task has thresholds at equal shares of the context; it goes before `by_value`.
        ordered: probability that classes are numbered by the order of their values, not randomly.
        nearest: probability that a task's classes are nearest prototypes of the vectors that its table gives (of
            the target alone where it gives none); it goes before `balanced`, and their numbers are random.
        flip: in one half of the tasks, a share of labels that is uniform on 0 … `flip` is replaced by labels that
            are uniform on the task's classes. All laws are known then.
        noise: see `Target`.
        warp: see `Target`.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(
        self,
        number: int | Sequence[int] = (2, MOST),
        binary: float = 0.5,
        by_value: float = 0.0,
        balanced: float = 0.2,
        ordered: float = 0.0,
        nearest: float = 0.0,
        flip: float = 0.0,
        noise: float | Mapping[str, Any] | None = None,
        warp: float = 0.0,
    ) -> None:
        super().__init__(noise, warp)
        self.low, self.high = whole_range("number", number, 2, MOST)
        self.binary, self.by_value = within("binary", binary), within("by_value", by_value)
        self.balanced, self.ordered = within("balanced", balanced), within("ordered", ordered)
        self.nearest, self.flip = within("nearest", nearest), within("flip", flip)
        self.most_classes = self.high

    def label(self, values: Values, count: Tensor, n_context: int, generator: Generator) -> Labels:
        """Class indices as float32."""
        y, law = self.cut(values, count, n_context, generator)
        if self.nearest:
            some = torch.rand(len(y), 1, generator=generator, device=y.device) < self.nearest
            near, near_law = self.assign(values, count, n_context, generator)
            y = torch.where(some, near, y)
            law = None if law is None or near_law is None else torch.where(some[..., None], near_law, law)
        if self.flip:
            law = torch.nn.functional.one_hot(y[:, n_context:], self.high).float() if law is None else law
            y, law = flip(y, law, count, self.flip, generator)
        found = torch.nn.functional.one_hot(y[:, :n_context], self.high).sum(1) > 0  # (B, K)
        missing = (found.sum(1) < count) & (count <= n_context)
        return Labels(y.float(), count, missing, law)

    def cut(self, values: Values, count: Tensor, n_context: int, generator: Generator) -> tuple[Tensor, Tensor | None]:
        """Classes between thresholds, (B, N) int64, and the queries' probabilities, (B, m, K)."""
        clean, noisy, sd, _ = values
        thresholds = self.draw_thresholds(clean, count, n_context, generator)
        ordered = torch.rand(len(clean), generator=generator, device=clean.device) < self.ordered
        names = permutations(count, self.high, ordered, generator)  # (B, K)
        y = names.gather(1, encode(noisy, thresholds))
        if sd is None:
            return y, None
        probabilities = interval_probabilities(clean[:, n_context:], sd, thresholds)
        law = torch.zeros_like(probabilities)
        return y, law.scatter_(2, names[:, None].expand_as(probabilities), probabilities)

    def assign(
        self, values: Values, count: Tensor, n_context: int, generator: Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Classes of nearest prototypes, (B, N) int64, and the queries' probabilities, (B, m, K)."""
        clean, _, sd, vector = values
        scale = clean.std(1, correction=0, keepdim=True).clamp(min=torch.finfo(clean.dtype).tiny)
        vector = (clean / scale)[..., None] if vector is None else vector
        scores = row_closeness(vector, count, _rows(clean, count, n_context), self.high, generator)
        y, law = noisy_codes(scores, None if sd is None else sd / scale, generator)
        return y, None if law is None else law[:, n_context:]

    def draw_number(self, batch_size: int, n_context: int, generator: Generator) -> Tensor:
        """The number of classes of each task, (B,) int64."""
        if self.low == self.high:
            return torch.full((batch_size,), self.low, device=generator.device)
        count = draw_counts(batch_size, self.low, self.high, generator)
        two = torch.rand(batch_size, generator=generator, device=generator.device) < self.binary
        return torch.where(two, 2, count).clamp(max=max(2, n_context // 2))

    def draw_thresholds(self, clean: Tensor, count: Tensor, n_context: int, generator: Generator) -> Tensor:
        """Increasing thresholds, (B, K - 1); infinite where a task has fewer."""
        rows = _rows(clean, count, n_context)
        thresholds = rank_thresholds(clean, count, rows, self.high, generator)
        kind = torch.rand(2, len(clean), 1, generator=generator, device=clean.device)
        if self.by_value:
            sd, mean = torch.std_mean(clean, 1, correction=0, keepdim=True)
            values = mean + sd * torch.randn(thresholds.shape, generator=generator, device=clean.device)
            values = values.where(thresholds.isfinite(), INF).sort(1).values
            thresholds = torch.where(kind[0] < self.by_value, values, thresholds)
        if self.balanced:
            equal = quantile_thresholds(clean, count, rows, self.high)
            thresholds = torch.where(kind[1] < self.balanced, equal, thresholds)
        return thresholds

    def law(self, parameters: Tensor) -> Categorical:
        """The probabilities of the K classes."""
        return Categorical(probs=parameters, validate_args=False)


def _rows(clean: Tensor, count: Tensor, n_context: int) -> Tensor:
    """Among how many first rows of (B, N) the random ones are, (B,): those of the context where that has enough."""
    return torch.where(count <= n_context, n_context, clean.shape[1])


def interval_probabilities(mean: Tensor, sd: Tensor, thresholds: Tensor) -> Tensor:
    """Probability of each interval between thresholds (B, K - 1) under N(mean, sd²): (B, m, K).

    Args:
        mean: (B, m).
        sd: (B, 1); without noise, a value at a threshold is above it.
    """
    gap = mean[..., None] - thresholds[:, None]  # (B, m, K - 1)
    certain = torch.where(gap >= 0, INF, -INF)
    above = torch.special.ndtr(torch.where(sd[..., None] > 0, gap / sd[..., None], certain))
    return -torch.nn.functional.pad(torch.nn.functional.pad(above, (1, 0), value=1.0), (0, 1)).diff(dim=-1)
