"""Numbers as targets: as experts predict them, and as the network does. Letters as in `table_head`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from priorfit.distributions import BarDistribution
from priorfit.models.attention import zeroed
from priorfit.models.bar_layout import student_masses, wide_borders
from priorfit.models.kernel_experts import Predictions
from priorfit.models.stacking import stack_numbers
from priorfit.models.table_columns import spread
from priorfit.models.table_head import Given, Head, Stack

SHARPNESS = 8.0  # with which experts of small error get the larger shares
LARGEST_FACTOR = 3.0  # of a predicted scale over the experts', in logarithms


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
        """Takes numbers y (B, n); returns their mean and deviation, and standardised numbers (B, n, 1).

        Where they do not vary, as without a context or with one row, the deviation is the prior's.
        """
        n = y.shape[1]
        loc = y.double().mean(1, keepdim=True).to(y.dtype) if n else self.y_loc.expand(len(y), 1)
        deviations = (y - loc)[..., None]
        scale, varies = spread(deviations, loc, torch.full_like(loc, n))
        scale = torch.where(varies, scale, self.y_scale)
        return Given(loc, scale, n_classes), deviations / scale[..., None]

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

    def summary(self, opinions: Tensor, predictions: Predictions, y: Tensor, given: Given, stack: Stack) -> Tensor:
        """Log errors of the sum of experts, their tails, their size against the predicted one, and targets' tails."""
        z, means = (y - given.loc) / given.scale, opinions[..., 0]
        errors = z - torch.einsum("bs,bns->bn", stack.weights, means)
        misses = (errors / self._std(predictions, stack.shares)).square()
        error, miss = (part.mean(1).clamp(min=1e-8).log() / 2 for part in (errors.square(), misses))
        tails = misses.square().mean(1).clamp(min=1e-16).log() / 4 - miss
        gain = stack.scores[:, :2].amin(1) - stack.scores.amin(1)  # the first two are linear
        return torch.stack([error, tails, miss, gain, z.pow(4).mean(1).clamp(min=1e-3).log() / 4], 1)

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
