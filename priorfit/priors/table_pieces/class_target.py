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
from priorfit.priors.table_pieces.piece import whole_range, within
from priorfit.priors.table_pieces.target import Labels, Target, Values, targets

MOST = 10  # classes


@targets.register("classes")
class ClassTarget(Target):
    """A class to predict: the raw target, cut at thresholds.

    Thresholds come from values without noise: those of random rows of the context by default, which makes a random
    partition and lets every class occur (of all rows, where a context has fewer than there are classes). Given
    the thresholds and a row's value, noise alone decides on its class, whose probabilities are thus known.

    Args:
        number: of classes: fixed, or [low, high] for a uniform draw per task, which a small context lowers to half
            the number of its rows, down to 2.
        binary: probability of 2 classes whatever `number` says, where it is a range.
        by_value: probability that a task has thresholds ~ N(mean, sd²), of its target over all rows.
        balanced: probability that a task has thresholds at equal shares of the context; it goes before `by_value`.
        ordered: probability that classes are numbered by the order of their values, not randomly.
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
        noise: float | Mapping[str, Any] | None = None,
        warp: float = 0.0,
    ) -> None:
        super().__init__(noise, warp)
        self.low, self.high = whole_range("number", number, 2, MOST)
        self.binary, self.by_value = within("binary", binary), within("by_value", by_value)
        self.balanced, self.ordered = within("balanced", balanced), within("ordered", ordered)
        self.most_classes = self.high

    def label(self, values: Values, count: Tensor, n_context: int, generator: Generator) -> Labels:
        """Class indices as float32."""
        clean, noisy, sd = values
        thresholds = self.draw_thresholds(clean, count, n_context, generator)
        ordered = torch.rand(len(clean), generator=generator, device=clean.device) < self.ordered
        names = permutations(count, self.high, ordered, generator)  # (B, K)
        y = names.gather(1, encode(noisy, thresholds))
        found = torch.nn.functional.one_hot(y[:, :n_context], self.high).sum(1) > 0  # (B, K)
        missing = (found.sum(1) < count) & (count <= n_context)
        parameters = None
        if sd is not None:
            probabilities = interval_probabilities(clean[:, n_context:], sd, thresholds)
            parameters = torch.zeros_like(probabilities)
            parameters.scatter_(2, names[:, None].expand_as(probabilities), probabilities)
        return Labels(y.float(), count, missing, parameters)

    def draw_number(self, batch_size: int, n_context: int, generator: Generator) -> Tensor:
        """The number of classes of each task, (B,) int64."""
        if self.low == self.high:
            return torch.full((batch_size,), self.low, device=generator.device)
        count = draw_counts(batch_size, self.low, self.high, generator)
        two = torch.rand(batch_size, generator=generator, device=generator.device) < self.binary
        return torch.where(two, 2, count).clamp(max=max(2, n_context // 2))

    def draw_thresholds(self, clean: Tensor, count: Tensor, n_context: int, generator: Generator) -> Tensor:
        """Increasing thresholds, (B, K - 1); infinite where a task has fewer."""
        rows = torch.where(count <= n_context, n_context, clean.shape[1])
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
