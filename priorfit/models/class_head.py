"""Classes as targets: as experts predict them, and as the network does. Letters as in `table_head`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from priorfit.distributions import ClassDistribution
from priorfit.models.attention import zeroed
from priorfit.models.kernel_experts import Predictions
from priorfit.models.second_opinions import N_SECOND, Second, fit_second, predict_second
from priorfit.models.stacking import stack_classes
from priorfit.models.table_head import Given, Head, Stack, appended

LEAST = 0.01  # the smallest probability that an expert may give a class
NEVER = -30.0  # log probability of a class that a task does not have


class ClassHead(Head):
    """Classes: experts predict their indicators, and the network corrects a product of the experts.

    Two second opinions come on top of the experts on features, see `second_opinions`.

    Args:
        n_experts: the number of experts on features; S is 2 more.
        max_classes: K.
        width: D.
        n_facts: numbers that describe a table whatever its target is.
        n_coordinates: see `Head`.
    """

    def __init__(self, n_experts: int, max_classes: int, width: int, n_facts: int, n_coordinates: int) -> None:
        n_experts = n_experts + N_SECOND
        row_size = n_experts * (max_classes + 1) + max_classes
        super().__init__(row_size, 2 * n_experts + 2 * max_classes + n_facts, width, n_coordinates)
        self.max_classes = max_classes
        self.embedding = nn.Embedding(max_classes, width)
        self.correction = zeroed(nn.Linear(width, max_classes + n_experts))

    def read(self, y: Tensor, n_classes: Tensor) -> tuple[Given, Tensor]:
        """Takes classes y (B, n); returns what is known of them, and centred indicators (B, n, K)."""
        indicators = nn.functional.one_hot(y.long(), self.max_classes).float()
        uniform = self._exist(n_classes) / n_classes[:, None]
        loc = (indicators.sum(1) + uniform) / (y.shape[1] + 1)
        return Given(loc, torch.ones_like(loc[:, :1]), n_classes), indicators - loc[:, None]

    def consult(
        self, predictions: Predictions, targets: Tensor, y: Tensor, given: Given
    ) -> tuple[Predictions, Second | None]:
        """Predictions for the context, (B, n, S, K), with second opinions, and what is needed for those on queries."""
        opinions = self.opinions(predictions, given)
        first = self.stack(opinions, predictions, y, given)
        second, more = fit_second(opinions, first.weights, targets)
        return appended(predictions, more), second

    def consult_again(self, predictions: Predictions, second: Second | None, given: Given) -> Predictions:
        """Predictions for queries, (B, m, S, K), with second opinions."""
        assert second is not None
        return appended(predictions, predict_second(second, self.opinions(predictions, given)))

    def opinions(self, predictions: Predictions, given: Given) -> Tensor:
        """Experts' log probabilities (B, N, S, K), of mean zero over the classes there are, and zero elsewhere."""
        exists = self._exist(given.n_classes)[:, None, None]
        probs = (predictions.mean + given.loc[:, None, None]).clamp(LEAST, 1)
        logs = torch.where(exists, probs.log(), 0.0)
        center = logs.sum(-1, keepdim=True) / given.n_classes[:, None, None, None]
        return torch.where(exists, logs - center, 0.0)

    def stack(self, opinions: Tensor, predictions: Predictions, y: Tensor, given: Given) -> Stack:
        """Puts the experts together, from their opinions on the context."""
        logs = opinions.masked_fill(~self._exist(given.n_classes)[:, None, None], NEVER)
        own = logs.log_softmax(-1).gather(3, y.long()[:, :, None, None].expand(*logs.shape[:3], 1))[..., 0]
        scores = own.sum(1) / (y.shape[1] + 1)
        return Stack(stack_classes(logs, y.long()), scores, torch.softmax(scores, -1), torch.zeros_like(given.scale))

    def summary(self, opinions: Tensor, predictions: Predictions, y: Tensor, given: Given, stack: Stack) -> Tensor:
        """Log losses of the product of experts, of the worst rows, against their expectation, and of frequencies."""
        stacked = torch.einsum("bs,bnsk->bnk", stack.weights, opinions)
        logs = stacked.masked_fill(~self._exist(given.n_classes)[:, None], NEVER).log_softmax(-1)  # (B, n, K)
        losses = -logs.gather(2, y.long()[..., None])[..., 0]
        expected = -(logs.exp() * logs).sum(-1)
        spread = (logs.exp() * (logs + expected[..., None]).square()).sum(-1)
        excess = (losses - expected).sum(1) / (spread.sum(1) + 0.1).sqrt()
        worst = losses.topk(max(1, losses.shape[1] // 20), 1).values.mean(1)
        entropy = -torch.special.xlogy(given.loc, given.loc).sum(-1) / given.n_classes.log()
        gain = stack.scores.amax(1) - stack.scores[:, :2].amax(1)  # the first two are linear
        return torch.stack([losses.mean(1) / given.n_classes.log(), worst, excess, gain, entropy], 1)

    def describe_rows(self, opinions: Tensor, predictions: Predictions, stack: Stack) -> Tensor:
        """All that experts say of rows, (B, N, row_size)."""
        stacked = torch.einsum("bs,bnsk->bnk", stack.weights, opinions)
        return torch.cat([opinions.flatten(2), stacked, predictions.std.log() + 1], -1)

    def describe_table(self, given: Given, stack: Stack) -> Tensor:
        """What is known of the table as a whole, (B, table_size)."""
        kinds = nn.functional.one_hot(given.n_classes - 1, self.max_classes).float()
        return torch.cat([stack.weights, stack.scores, given.loc, kinds], -1)

    def _exist(self, n_classes: Tensor) -> Tensor:
        """Which of the K classes tasks have, (B, K), bool."""
        return torch.arange(self.max_classes, device=n_classes.device) < n_classes[:, None]

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
