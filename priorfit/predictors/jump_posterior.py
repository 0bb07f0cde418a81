"""What is believed of one jump process after its paths were seen: by a network, or by a likelihood that refines it.

Letters: S states, C components, E = S (S - 1) rates, in the order of the rows, D draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from torch import Tensor

from priorfit.distributions import RateLaw
from priorfit.predictors.jump_quantities import generator_matrix


@dataclass(frozen=True, eq=False)  # arrays do not compare to one truth value
class RatePosterior:
    """Rates and initial law of one process.

    Attributes:
        law: of every rate on its own, and of the initial law; without batch, float64, on the CPU.
        rates: the best single answer, (S, S), with minus the sums of rows on the diagonal.
        edge_probability: that a jump is possible at all, (S, S), 0 on the diagonal.
        covariance: of the logarithms of the rates, (E, E), where they are known jointly, else None.
        label_noise: share of the labels that seem wrong, where it was estimated.
    """

    law: RateLaw
    rates: ndarray
    edge_probability: ndarray
    covariance: ndarray | None = None
    label_noise: float | None = None

    @classmethod
    def of_network(cls, law: RateLaw) -> RatePosterior:
        """From a network's answer, batch shape (1,)."""
        own = RateLaw(*(part[0].detach().cpu().double() for part in _parameters(law)))
        return cls(own, generator_matrix(own.mean[:, :-1].numpy()), own.present.numpy())

    def per(self, unit: float) -> RatePosterior:
        """The same where time is no longer counted in multiples of `unit`."""
        absent, weights, locs, scales, concentration = _parameters(self.law)
        law = RateLaw(absent, weights, locs - np.log(unit), scales, concentration)
        return replace(self, law=law, rates=self.rates / unit)

    def with_starts(self, counts: ndarray) -> RatePosterior:
        """The same after so many more paths were seen to begin in each state, (S,): Bayes' rule for Dirichlet laws."""
        absent, weights, locs, scales, concentration = _parameters(self.law)
        law = RateLaw(absent, weights, locs, scales, concentration + torch.from_numpy(counts))
        return replace(self, law=law)

    @property
    def initial(self) -> ndarray:
        """Mean of the initial law, (S,)."""
        return self.law.initial.mean.numpy()

    def quantiles(self, levels: ndarray) -> ndarray:
        """Of every rate, (Q, S, S), 0 on the diagonal."""
        return self.law.quantile(torch.from_numpy(levels)).numpy()

    def draw(self, n: int, generator: RandomState) -> tuple[ndarray, ndarray]:
        """Rate matrices (D, S, S), with their diagonals, and initial laws (D, S)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator.randint(2**31)))
            drawn = self.law.sample((n,)).numpy()
        rates, initial = drawn[..., :-1], drawn[..., -1]
        if self.covariance is not None:
            off = off_diagonal(len(initial[0]))
            joint = generator.multivariate_normal(np.log(self.rates[off]), self.covariance, n)
            rates[:, off] = np.where(rates[:, off] > 0, np.exp(joint), 0)
        return generator_matrix(rates), initial


def _parameters(law: RateLaw) -> tuple[Tensor, ...]:
    """What the law was made of."""
    return law.absent_logits, law.log_weights, law.locs, law.scales, law.concentration


def off_diagonal(n_states: int) -> ndarray:
    """True off the diagonal, (S, S)."""
    return ~np.eye(n_states, dtype=bool)
