"""A state that moves linearly with Gaussian noise, and how each of its positions is observed.

Letters: S series, t steps, P particles, d dimensions of the state, N rows per step, D numbers per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from priorfit.distributions import GaussianMixture


class Sensors(Protocol):
    """How a state is observed; every prior of a latent vector (`priorfit.priors.LatentPrior`) tells it."""

    def observe(self, latents: Tensor, n_rows: int, generator: Generator) -> Tensor:
        """Draws rows (S, n_rows, D) of states (S, d)."""
        ...

    def log_likelihood(self, rows: Tensor, latents: Tensor) -> Tensor:
        """The log density of rows (S, N, D) given each of the states (S, P, d), (S, P)."""
        ...


@dataclass(frozen=True)
class StateSpace:
    """x' = A x + c + q with q ~ N(0, Q); rows of observations depend on the state of their own step alone.

    Attributes:
        sensors: how a state is observed.
        transition_matrix: A, (d, d).
        process_noise: Q, (d, d), which may be singular.
        initial: the law of the first state, batch shape ().
        n_rows: N, rows of observations at each step.
        offset: c, (d,), or None for zeros.
    """

    sensors: Sensors
    transition_matrix: Tensor
    process_noise: Tensor
    initial: GaussianMixture
    n_rows: int
    offset: Tensor | None = None

    def move(self, states: Tensor, generator: Generator) -> Tensor:
        """The next states, (…, d), of states (…, d)."""
        values, vectors = torch.linalg.eigh(self.process_noise.double())  # Cholesky would refuse a singular Q
        factor = (vectors * values.clamp(min=0).sqrt()).to(states)  # (d, d), Q = factor factorᵀ
        noise = torch.randn(states.shape, generator=generator, device=states.device, dtype=states.dtype)
        moved = states @ self.transition_matrix.T.to(states) + noise @ factor.T
        return moved if self.offset is None else moved + self.offset.to(states)

    def simulate(self, n_series: int, n_steps: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draws series: states (S, t, d) and rows (S, t, N, D). The first state is observed before it moves.

        Raises:
            ValueError: no steps.
        """
        if n_steps < 1:
            raise ValueError(f"A series has at least one step, not {n_steps}.")
        states, rows = [self.initial.draw((n_series,), generator)], []
        while True:
            rows.append(self.sensors.observe(states[-1], self.n_rows, generator))
            if len(rows) == n_steps:
                return torch.stack(states, 1), torch.stack(rows, 1)
            states.append(self.move(states[-1], generator))
