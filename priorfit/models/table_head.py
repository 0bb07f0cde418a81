"""What both kinds of targets of tables share: what is known of them, and layers that read what experts say.

Letters: B tasks, n context rows, N rows of any kind, D width, S experts, K classes or 1, L buckets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from priorfit.models.kernel_experts import Predictions
from priorfit.models.second_opinions import Second

SURPRISES = (  # of context rows, predicted from the others
    "mean surprise of rows",
    "surprise of the least expected rows",
    "surprise of rows against what the experts expect",
    "what fitted experts see beyond a linear one",
    "spread of targets over rows",
)


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


class Head(nn.Module, ABC):
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

    def consult(
        self, predictions: Predictions, targets: Tensor, y: Tensor, given: Given
    ) -> tuple[Predictions, Second | None]:
        """Predictions for the context with second opinions, of which there are none unless a head says otherwise.

        Args:
            predictions: of S experts for each context row from the others, (B, n, S, K).
            targets: what they were fitted to, (B, n, K).
            y: classes or numbers, (B, n).
            given: what is known of these.

        Returns:
            Predictions of all experts, and what `consult_again` needs for queries.
        """
        return predictions, None

    @abstractmethod
    def summary(self, opinions: Tensor, predictions: Predictions, y: Tensor, given: Given, stack: Stack) -> Tensor:
        """How the stacked experts fare on the context, in the numbers named in `SURPRISES`, (B, 5)."""

    def consult_again(self, predictions: Predictions, second: Second | None, given: Given) -> Predictions:
        """Predictions for queries, (B, m, S, K), with second opinions."""
        return predictions


def appended(first: Predictions, more: Predictions) -> Predictions:
    """The predictions of both sets of experts."""
    return Predictions(torch.cat([first.mean, more.mean], 2), torch.cat([first.std, more.std], 2))
