"""What is believed of a Markov jump process: its rates, some of which may be absent, and its initial law.

Letters: S states, C components.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Dirichlet, Distribution, constraints
from torch.nn import functional

GOLDEN = (math.sqrt(5) - 1) / 2  # fractions of its multiples fill [0, 1] evenly
SMALLEST = 1e-4  # an initial probability below it counts as this much: Dirichlet densities are 0 or infinite at 0
STEPS = 60  # bisections: quantiles to the precision of float32


class RateLaw(Distribution):
    """Independent laws of all rates from one state to another, and a Dirichlet law of the initial probabilities.

    A rate is 0 with probability π = sigmoid(absent_logits); otherwise its density is that of a mixture of log-normals,
    p(f) = (1 - π) Σ_c w_c N(log f; m_c, s_c²) / f. Values are (…, S, S + 1): a rate matrix with a zero diagonal, in
    jumps per unit of time, and the initial law as the last column. What is on the diagonals of the parameters is
    never looked at.

    Args:
        absent_logits: (…, S, S).
        log_weights: of the components, (…, S, S, C), normalised.
        locs: m, (…, S, S, C).
        scales: s, (…, S, S, C).
        concentration: of the initial law, (…, S).
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType]
    has_rsample = False

    def __init__(
        self, absent_logits: Tensor, log_weights: Tensor, locs: Tensor, scales: Tensor, concentration: Tensor
    ) -> None:
        self.absent_logits, self.log_weights, self.locs, self.scales = absent_logits, log_weights, locs, scales
        self.concentration = concentration
        n_states = concentration.shape[-1]
        batch, event = concentration.shape[:-1], torch.Size((n_states, n_states + 1))
        super().__init__(batch, event, validate_args=False)

    def expand(self, batch_shape: Size | Any, _instance: RateLaw | None = None) -> RateLaw:
        """The same laws, repeated to a larger batch shape."""
        names = ("absent_logits", "log_weights", "locs", "scales", "concentration")
        kept = len(self.batch_shape)
        parts = (getattr(self, name) for name in names)
        return type(self)(*(part.expand(*batch_shape, *part.shape[kept:]) for part in parts))

    @property
    def support(self) -> Any:
        """Rates and probabilities are not negative."""
        return constraints.independent(constraints.nonnegative, 2)

    @property
    def n_states(self) -> int:
        """S."""
        return self.concentration.shape[-1]

    @property
    def initial(self) -> Dirichlet:
        """The law of the initial probabilities."""
        return Dirichlet(self.concentration)

    @property
    def present(self) -> Tensor:
        """Probability that there is a rate at all, (…, S, S), 0 on the diagonal."""
        return torch.sigmoid(-self.absent_logits) * self._off()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of a rate matrix and initial law (…, S, S + 1): of those rates that are above 0, the log density;
        of those that are 0, the log probability. In nats, (…)."""
        rates, initial = value[..., :-1], value[..., -1].clamp(min=SMALLEST)
        initial = initial / initial.sum(-1, keepdim=True)
        there = rates > 0
        log_rates = torch.where(there, rates, 1.0).log()
        of_present = functional.logsigmoid(-self.absent_logits) + self._log_density(log_rates) - log_rates
        edges = torch.where(there, of_present, functional.logsigmoid(self.absent_logits)) * self._off()
        return edges.sum((-2, -1)) + self.initial.log_prob(initial)

    def _log_density(self, log_rates: Tensor) -> Tensor:
        """Log density of the logarithm of a rate that is there, (…, S, S)."""
        z = (log_rates[..., None] - self.locs) / self.scales
        terms = self.log_weights - 0.5 * z.square() - self.scales.log() - 0.5 * math.log(2 * math.pi)
        return terms.logsumexp(-1)

    @property
    def mean(self) -> Tensor:
        """Posterior mean of rates and initial law, (…, S, S + 1)."""
        return torch.cat([self.present * self._moment(1), self.initial.mean[..., None]], -1)

    @property
    def variance(self) -> Tensor:
        """Variances of all entries, (…, S, S + 1)."""
        rates = self.present * self._moment(2) - (self.present * self._moment(1)).square()
        return torch.cat([rates, self.initial.variance[..., None]], -1)

    def _moment(self, order: int) -> Tensor:
        """E[f^order] of rates that are there, (…, S, S)."""
        return (self.log_weights + order * self.locs + 0.5 * (order * self.scales).square()).logsumexp(-1).exp()

    def sample(self, sample_shape: Size | tuple[int, ...] = ()) -> Tensor:  # type: ignore[override]
        """Draws of rate matrix and initial law, sample_shape + (…, S, S + 1)."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.absent_logits.shape
            there = torch.rand(shape, device=self.locs.device) < self.present
            log_weights, locs, scales = (
                part.expand(*shape, part.shape[-1]) for part in (self.log_weights, self.locs, self.scales)
            )
            which = torch.distributions.Categorical(logits=log_weights).sample()[..., None]
            loc, scale = locs.gather(-1, which)[..., 0], scales.gather(-1, which)[..., 0]
            rates = torch.where(there, (loc + scale * torch.randn_like(loc)).exp(), 0.0)
            return torch.cat([rates, self.initial.sample(torch.Size(sample_shape))[..., None]], -1)

    def rate_cdf(self, rates: Tensor) -> Tensor:
        """P(rate <= value) for values (…, S, S) >= 0, of the same shape; off the diagonal."""
        z = (rates.clamp(min=torch.finfo(rates.dtype).tiny).log()[..., None] - self.locs) / self.scales
        below = (self.log_weights.exp() * torch.special.ndtr(z)).sum(-1)
        absent = torch.sigmoid(self.absent_logits)
        return absent + (1 - absent) * below * (rates > 0)

    def quantile(self, levels: Tensor) -> Tensor:
        """Quantiles of every rate at levels (Q,) in (0, 1), (Q, …, S, S); 0 where the rate is absent that often."""
        levels = levels.reshape(-1, *(1,) * self.absent_logits.ndim)
        reach = 9 * self.scales
        low, high = (self.locs - reach).amin(-1), (self.locs + reach).amax(-1)
        low, high = (edge.expand(len(levels), *edge.shape) for edge in (low, high))
        for _ in range(STEPS):
            middle = (low + high) / 2
            above = self.rate_cdf(middle.exp()) >= levels
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        absent = torch.sigmoid(self.absent_logits) >= levels
        return torch.where(absent, 0.0, high.exp()) * self._off()

    def cdf(self, value: Tensor) -> Tensor:
        """The rates' probability integral transforms, off the diagonal row by row, (…, S (S - 1)).

        Where the rate is 0, any number up to its probability would do; evenly spread ones are taken, so that the
        transforms of draws are uniform.
        """
        rates = value[..., :-1]
        levels = self.rate_cdf(rates)
        spread = torch.arange(1, levels.numel() + 1, device=levels.device, dtype=torch.float64).mul(GOLDEN).frac()
        randomised = torch.sigmoid(self.absent_logits) * spread.reshape(levels.shape).to(levels)
        return torch.where(rates > 0, levels, randomised)[..., self._off()]

    def _off(self) -> Tensor:
        """True off the diagonal, (S, S)."""
        return ~torch.eye(self.n_states, dtype=torch.bool, device=self.locs.device)
