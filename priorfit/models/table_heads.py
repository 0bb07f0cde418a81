"""What targets are to the network for tables: classes or numbers, as experts predict them and as the network does.

Letters: B tasks, n context rows, N rows of any kind, D width, S experts, K classes, L buckets.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from priorfit.distributions import BarDistribution, ClassDistribution
from priorfit.models.attention import zeroed
from priorfit.models.bar_layout import student_masses, wide_borders
from priorfit.models.kernel_experts import Predictions
from priorfit.models.stacking import stack_classes, stack_numbers

LEAST = 0.01  # the smallest probability that an expert may give a class
SHARPNESS = 8.0  # with which experts of small error get the larger shares
LARGEST_FACTOR = 3.0  # of a predicted scale over the experts', in logarithms


class Given(NamedTuple):
    """What is known of the context's targets."""

    loc: Tensor  # (B, K), frequencies of classes; or (B, 1), the mean
    scale: Tensor  # (B, 1), the standard deviation; 1 for classes
    n_classes: Tensor  # (B,)


class Stack(NamedTuple):
    """How experts are put together."""

    weights: Tensor  # (B, S), of their means or log probabilities
    scores: Tensor  # (B, S): mean log probability, or log error, of each on the context
    shares: Tensor  # (B, S), of their standard deviations; they add up to 1
    log_spread: Tensor  # (B, 1): what the shares' standard deviations have to be multiplied with


class Head(nn.Module):
    """What both kinds share: layers that read what the experts say.

    Args:
        row_size: numbers that describe a row.
        table_size: numbers that describe a table.
        width: D.
        n_coordinates: numbers of a row that attention sees directly.
    """

    def __init__(self, row_size: int, table_size: int, width: int, n_coordinates: int) -> None:
        super().__init__()
        self.row = nn.Linear(row_size, width)
        self.row_coordinates = nn.Linear(row_size, n_coordinates)
        self.table = nn.Linear(table_size, width)


class ClassHead(Head):
    """Classes: experts predict their indicators, and the network corrects a product of the experts.

    Args:
        n_experts: S.
        max_classes: K.
        width: D.
        n_facts: numbers that describe a table whatever its target is.
        n_coordinates: see `Head`.
    """

    def __init__(self, n_experts: int, max_classes: int, width: int, n_facts: int, n_coordinates: int) -> None:
        row_size = n_experts * (max_classes + 1) + max_classes
        super().__init__(row_size, 2 * n_experts + 2 * max_classes + n_facts, width, n_coordinates)
        self.max_classes = max_classes
        self.embedding = nn.Embedding(max_classes, width)
        self.correction = zeroed(nn.Linear(width, max_classes + n_experts))

    def read(self, y: Tensor, n_classes: Tensor) -> tuple[Given, Tensor]:
        """Takes classes y (B, n); returns what is known of them, and centred indicators (B, n, K)."""
        indicators = nn.functional.one_hot(y.long(), self.max_classes).float()
        uniform = (torch.arange(self.max_classes, device=y.device) < n_classes[:, None]) / n_classes[:, None]
        loc = (indicators.sum(1) + uniform) / (y.shape[1] + 1)
        return Given(loc, torch.ones_like(loc[:, :1]), n_classes), indicators - loc[:, None]

    def opinions(self, predictions: Predictions, given: Given) -> Tensor:
        """Experts' log probabilities (B, N, S, K), of mean zero over the classes there are, and zero elsewhere."""
        exists = torch.arange(self.max_classes, device=given.loc.device) < given.n_classes[:, None]
        probs = (predictions.mean + given.loc[:, None, None]).clamp(LEAST, 1)
        logs = torch.where(exists[:, None, None], probs.log(), 0.0)
        center = logs.sum(-1, keepdim=True) / given.n_classes[:, None, None, None]
        return torch.where(exists[:, None, None], logs - center, 0.0)

    def stack(self, opinions: Tensor, predictions: Predictions, y: Tensor, given: Given) -> Stack:
        """Puts the experts together, from their opinions on the context."""
        lowest = torch.arange(self.max_classes, device=y.device) >= given.n_classes[:, None]
        logs = opinions.masked_fill(lowest[:, None, None], -30.0)
        own = logs.log_softmax(-1).gather(3, y.long()[:, :, None, None].expand(*logs.shape[:3], 1))[..., 0]
        scores = own.sum(1) / (y.shape[1] + 1)
        return Stack(stack_classes(logs, y.long()), scores, torch.softmax(scores, -1), torch.zeros_like(given.scale))

    def describe_rows(self, opinions: Tensor, predictions: Predictions, stack: Stack) -> Tensor:
        """All that experts say of rows, (B, N, row_size)."""
        stacked = torch.einsum("bs,bnsk->bnk", stack.weights, opinions)
        return torch.cat([opinions.flatten(2), stacked, predictions.std.log() + 1], -1)

    def describe_table(self, given: Given, stack: Stack) -> Tensor:
        """What is known of the table as a whole, (B, table_size)."""
        kinds = nn.functional.one_hot(given.n_classes - 1, self.max_classes).float()
        return torch.cat([stack.weights, stack.scores, given.loc, kinds], -1)

    def embed(self, y: Tensor, given: Given) -> Tensor:
        """Tokens of the context's targets, (B, n, D)."""
        return self.embedding(y.long())

    def forward(
        self, tokens: Tensor, opinions: Tensor, predictions: Predictions, stack: Stack, given: Given
    ) -> tuple[Tensor, ...]:
        """Logits (B, N, K) for rows with final tokens (B, N, D), and the number of classes (B,)."""
        changes = self.correction(tokens).float()
        own, shifts = changes[..., : self.max_classes], changes[..., self.max_classes :]
        logits = own + torch.einsum("bns,bnsk->bnk", stack.weights[:, None] + shifts, opinions)
        return logits, given.n_classes

    def distribution(self, logits: Tensor, n_classes: Tensor) -> ClassDistribution:
        """The distribution of outputs, batch shape (B, N)."""
        return ClassDistribution(logits, n_classes[:, None])


class NumberHead(Head):
    """Numbers: the network moves, scales and shapes the distribution that a sum of the experts predicts.

    Args:
        n_experts: S.
        n_buckets: L.
        width: D.
        n_facts: numbers that describe a table whatever its target is.
        n_coordinates: see `Head`.
    """

    borders: Tensor
    base: Tensor
    y_loc: Tensor
    y_scale: Tensor

    def __init__(self, n_experts: int, n_buckets: int, width: int, n_facts: int, n_coordinates: int) -> None:
        super().__init__(2 * n_experts + 2, 3 * n_experts + 1 + n_facts, width, n_coordinates)
        self.embedding = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))
        self.correction = zeroed(nn.Linear(width, n_buckets + n_experts + 2))
        self.n_experts = n_experts
        self.register_buffer("borders", wide_borders(n_buckets))
        self.register_buffer("base", student_masses(self.borders).log())
        self.register_buffer("y_loc", torch.zeros(()))
        self.register_buffer("y_scale", torch.ones(()))

    def read(self, y: Tensor, n_classes: Tensor) -> tuple[Given, Tensor]:
        """Takes numbers y (B, n); returns their mean and deviation, and standardised numbers (B, n, 1)."""
        n = y.shape[1]
        loc = y.mean(1, keepdim=True) if n else self.y_loc.expand(len(y), 1)
        deviations = y - loc
        largest = deviations.abs().amax(1, keepdim=True) if n else torch.zeros_like(loc)
        varies = largest > 1e-6 * loc.abs()
        unit = torch.where(varies, largest, 1.0)
        scale = torch.where(varies, unit * (deviations / unit).square().mean(1, keepdim=True).sqrt(), self.y_scale)
        return Given(loc, scale, n_classes), (deviations / scale)[..., None]

    def opinions(self, predictions: Predictions, given: Given) -> Tensor:
        """Experts' means (B, N, S, 1)."""
        return predictions.mean

    def stack(self, opinions: Tensor, predictions: Predictions, y: Tensor, given: Given) -> Stack:
        """Puts the experts together, from their opinions on the context."""
        z, means, n = (y - given.loc) / given.scale, opinions[..., 0], y.shape[1]
        squares = predictions.std.square()  # (B, n, S)
        errors = (z[..., None] - means).square() + squares / (n + 1)
        scores = (errors.sum(1) / (n + 1)).clamp(min=1e-8).log() / 2 if n else torch.zeros_like(means.sum(1))
        weights, shares = stack_numbers(means, z), torch.softmax(-SHARPNESS * scores, -1)
        std = self._std(predictions, shares)
        misses = ((z - torch.einsum("bs,bns->bn", weights, means)) / std).square()
        log_spread = ((misses.sum(1, keepdim=True) + 1) / (n + 1)).log() / 2
        return Stack(weights, scores, shares, log_spread)

    def _std(self, predictions: Predictions, shares: Tensor) -> Tensor:
        """The geometric mean of the experts' standard deviations, (B, N)."""
        return torch.einsum("bs,bns->bn", shares, predictions.std.clamp(min=1e-6).log()).exp()

    def describe_rows(self, opinions: Tensor, predictions: Predictions, stack: Stack) -> Tensor:
        """All that experts say of rows, (B, N, row_size)."""
        stds = predictions.std.clamp(min=1e-6).log()
        stacked = torch.einsum("bs,bnsk->bnk", stack.weights, opinions)
        std = (self._std(predictions, stack.shares).log() + stack.log_spread)[..., None]
        return torch.cat([opinions[..., 0], stacked, stds, std], -1)

    def describe_table(self, given: Given, stack: Stack) -> Tensor:
        """What is known of the table as a whole, (B, table_size)."""
        return torch.cat([stack.weights, stack.scores, stack.shares, stack.log_spread], -1)

    def embed(self, y: Tensor, given: Given) -> Tensor:
        """Tokens of the context's targets, (B, n, D)."""
        z = (y - given.loc) / given.scale
        return self.embedding(torch.stack([z, z.asinh(), z.square().log1p()], -1))

    def forward(
        self, tokens: Tensor, opinions: Tensor, predictions: Predictions, stack: Stack, given: Given
    ) -> tuple[Tensor, ...]:
        """Logits (B, N, L), locations and scales (B, N) for rows with final tokens (B, N, D)."""
        changes = self.correction(tokens).float()
        logits, shifts, place = changes.split([len(self.base), self.n_experts, 2], -1)
        move, stretch = place.unbind(-1)
        means = opinions[..., 0]
        stacked = torch.einsum("bs,bns->bn", stack.weights, means)
        std = self._std(predictions, stack.shares) * stack.log_spread.exp()
        loc = stacked + (shifts * (means - stacked[..., None])).sum(-1) + move * std
        scale = std * stretch.clamp(-LARGEST_FACTOR, LARGEST_FACTOR).exp()
        return logits + self.base, given.loc + given.scale * loc, given.scale * scale

    def distribution(self, logits: Tensor, loc: Tensor, scale: Tensor) -> BarDistribution:
        """The distribution of outputs, batch shape (B, N)."""
        return BarDistribution(logits, self.borders, loc, scale)
