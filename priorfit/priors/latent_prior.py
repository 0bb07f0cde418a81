"""What every prior over tasks about a latent vector shares: (prior of the latent, latent, rows of observations).

Letters: B tasks, J candidates, d numbers per latent, N rows, D numbers per row, T prior tokens, C numbers per token.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution

from priorfit.distributions import WeightedPoints
from priorfit.priors.base import Prior, check_batch_size
from priorfit.priors.latent_law import LatentLaw
from priorfit.priors.task import Evidence, Task
from priorfit.sources import Source, measured


class LatentPrior(Prior):
    """A prior of priors, and a simulator of rows given a latent.

    Args:
        rows: N, a number, or [low, high] for one draw per batch.
        empty: share of batches without any row; from these a network learns the prior itself.
        candidates: J, points of the law of the latent that a task carries, the latent itself among them.

    Attributes:
        sources: where rows come from.
        most_rows: how many rows a task can have, or None for any number.

    Raises:
        ValueError: impossible numbers.
    """

    sources: tuple[Source, ...]
    most_rows: int | None = None

    def __init__(self, rows: int | Sequence[int] = 1, empty: float = 0.1, candidates: int = 32) -> None:
        self.rows = self._checked_rows(rows)
        if isinstance(empty, bool) or not isinstance(empty, int | float) or not 0 <= empty <= 1:
            raise ValueError(f"empty is a share of batches, from 0 to 1, not {empty!r}.")
        if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
            raise ValueError(f"candidates must be a whole number >= 1, not {candidates!r}.")
        self.empty, self.candidates = empty, candidates

    def _checked_rows(self, rows: int | Sequence[int]) -> tuple[int, int]:
        pair = tuple(rows) if isinstance(rows, Sequence) else (rows, rows)
        whole = len(pair) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in pair)
        if not whole or not 0 <= pair[0] <= pair[1]:
            raise ValueError(f"rows must be a whole number >= 0, or [low, high] of such; got {rows!r}.")
        if self.most_rows is not None and pair[1] > self.most_rows:
            raise ValueError(f"Tasks of '{self.registered_name}' have at most {self.most_rows} rows, not {pair[1]}.")
        return pair[0], pair[1]

    @abstractmethod
    def draw_prior(self, batch_size: int, generator: Generator) -> LatentLaw:
        """Draws the priors of `batch_size` tasks."""

    @abstractmethod
    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Draws rows (B, N, D) given latents (B, d); N = `n_rows` may be 0."""

    @abstractmethod
    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        """log p(rows | latent), up to a constant per task, of rows (B, N, D) and latents (B, J, d): (B, J)."""

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks; `law` is an unbiased estimate of the law of the latent given prior and rows, see `law`."""
        check_batch_size(batch_size)
        n_rows = self._draw_n_rows(generator)
        prior = self.draw_prior(batch_size, generator)
        latents = prior.draw(1, generator)[:, 0]  # (B, d)
        rows = self.observe(latents, n_rows, generator)
        return Task(Evidence(prior.tokens, rows), latents, self.law(prior, rows, latents, generator))

    def law(self, prior: LatentLaw, rows: Tensor, latents: Tensor, generator: Generator) -> WeightedPoints:
        """The latents together with J - 1 further draws from their prior, weighted by their likelihood.

        A task's latent is an exact draw from its posterior. Expectations under the weighted points are therefore
        unbiased for those under the posterior, however small J is: one step of conditional importance sampling
        started from the posterior, which it leaves invariant, averaged over its last draw (Andrieu, Doucet and
        Holenstein 2010, "Particle Markov chain Monte Carlo methods"; Andrieu, Lee and Vihola 2018).
        """
        points = latents[:, None]
        if self.candidates > 1:
            points = torch.cat([points, prior.draw(self.candidates - 1, generator)], 1)  # (B, J, d)
        return WeightedPoints(points, self.log_likelihood(rows, points))

    def truth(self, task: Task) -> Distribution | None:
        """The reference posterior; the law of a task is no truth to measure against, as it has no density."""
        return None if self.reference is None else self.posterior(task)

    def measurements(self, observed: Evidence) -> Tensor:
        """The fields of each row's own source, without its inputs."""
        return measured(self.sources, observed.rows)

    def with_context(self, n_context: int, n_query: int) -> Self:
        """Every task observed in `n_context` rows; there is nothing else to ask about than the latent."""
        return self.replace(rows=n_context, empty=0.0)

    def context_sizes(self) -> list[int]:
        """0, 1, 2, 5, 10, 20, 50, … and the largest number of rows."""
        largest = self.rows[1]
        steps = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
        return [0, *itertools.takewhile(lambda n: n < largest, steps), *([largest] if largest else [])]

    def larger_contexts(self) -> list[int]:
        """Twice the largest number of rows, where tasks may have so many."""
        largest = 2 * self.rows[1]
        return [largest] if 0 < largest <= (self.most_rows or largest) else []

    def _draw_n_rows(self, generator: Generator) -> int:
        """N of one batch."""
        low, high = self.rows
        options = {"generator": generator, "device": generator.device}
        drawn = int(torch.randint(low, high + 1, (), **options))
        return 0 if torch.rand((), **options).item() < self.empty else drawn
