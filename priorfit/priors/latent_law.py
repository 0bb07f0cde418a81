"""Priors of a latent vector that a network observes: mixtures of Gaussians and named families.

Letters: B tasks, J draws, d numbers per latent, T tokens, C numbers per token.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

import torch
from torch import Generator, Tensor
from torch.distributions import Beta, Distribution, InverseGamma, Normal

from priorfit.distributions import GaussianMixture


class LatentLaw(Protocol):
    """The priors of B tasks' latents, with what a network observes of them."""

    @property
    def tokens(self) -> Tensor:
        """What a network observes of each prior, (B, T, C), float32."""
        ...

    def draw(self, n_draws: int, generator: Generator) -> Tensor:
        """J draws from each prior, (B, J, d), float32."""
        ...

    def log_prob(self, points: Tensor) -> Tensor:
        """Log density at points (B, J, d): (B, J)."""
        ...


class MixtureLaw:
    """Mixtures of Gaussians as priors: one token per component.

    Args:
        mixture: of batch shape (B,).
    """

    def __init__(self, mixture: GaussianMixture) -> None:
        self.mixture = mixture

    @property
    def tokens(self) -> Tensor:
        """`GaussianMixture.packed`, (B, k, C)."""
        return self.mixture.packed()

    def draw(self, n_draws: int, generator: Generator) -> Tensor:
        """J draws from each prior, (B, J, d)."""
        return self.mixture.draw((n_draws,), generator).movedim(0, 1)

    def log_prob(self, points: Tensor) -> Tensor:
        """Log density at points (B, J, d): (B, J)."""
        return self.mixture.log_prob_of_points(points)


class NamedLaw:
    """A prior of one number, of a family with two parameters: one token.

    Args:
        first: the family's first parameter, (B,).
        second: its second.

    Attributes:
        parameters: their names.
    """

    parameters: ClassVar[tuple[str, str]]

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.first, self.second = first.double(), second.double()

    @classmethod
    def from_tokens(cls, tokens: Tensor) -> Self:
        """The priors that a network observes as `tokens`, (B, 1, 2)."""
        first, second = tokens[:, 0].double().unbind(-1)
        return cls(first.exp(), second.exp())

    @property
    def tokens(self) -> Tensor:
        """The logarithms of both parameters, (B, 1, 2)."""
        return torch.stack([self.first.log(), self.second.log()], -1)[:, None].float()

    @property
    def distribution(self) -> Distribution:
        """The priors as a torch distribution, batch shape (B, 1), float64."""
        raise NotImplementedError

    def draw(self, n_draws: int, generator: Generator) -> Tensor:
        """J draws from each prior, (B, J, 1)."""
        raise NotImplementedError

    def log_prob(self, points: Tensor) -> Tensor:
        """Log density at points (B, J, 1): (B, J)."""
        return self.distribution.log_prob(points[..., 0].double()).float()


class NormalLaw(NamedLaw):
    """N(mean, variance); the token holds the mean itself and the logarithm of the variance."""

    parameters = ("mean", "variance")

    @classmethod
    def from_tokens(cls, tokens: Tensor) -> Self:
        """The priors that a network observes as `tokens`, (B, 1, 2)."""
        mean, log_variance = tokens[:, 0].double().unbind(-1)
        return cls(mean, log_variance.exp())

    @property
    def tokens(self) -> Tensor:
        """Mean and log variance, (B, 1, 2)."""
        return torch.stack([self.first, self.second.log()], -1)[:, None].float()

    @property
    def distribution(self) -> Normal:
        """The priors, batch shape (B, 1), float64."""
        return Normal(self.first[:, None], self.second.sqrt()[:, None], validate_args=False)

    def draw(self, n_draws: int, generator: Generator) -> Tensor:
        """J draws from each prior, (B, J, 1)."""
        law = self.distribution
        noise = torch.randn(len(self.first), n_draws, generator=generator, dtype=torch.float64, device=law.mean.device)
        return (law.loc + law.scale * noise)[..., None].float()


class InverseGammaLaw(NamedLaw):
    """The inverse gamma law of positive numbers: rate / Gamma(concentration, 1)."""

    parameters = ("concentration", "rate")

    @property
    def distribution(self) -> InverseGamma:
        """The priors, batch shape (B, 1), float64."""
        return InverseGamma(self.first[:, None], self.second[:, None], validate_args=False)

    def draw(self, n_draws: int, generator: Generator) -> Tensor:
        """J draws from each prior, (B, J, 1)."""
        limits = torch.finfo(torch.float32)
        draws = self.second[:, None] / _gamma(self.first[:, None].expand(-1, n_draws), generator)
        return draws.clamp(limits.tiny, limits.max)[..., None].float()


class BetaLaw(NamedLaw):
    """The beta law of numbers between 0 and 1."""

    parameters = ("alpha", "beta")

    @property
    def distribution(self) -> Beta:
        """The priors, batch shape (B, 1), float64."""
        return Beta(self.first[:, None], self.second[:, None], validate_args=False)

    def draw(self, n_draws: int, generator: Generator) -> Tensor:
        """J draws from each prior, (B, J, 1), never rounded to 0 or 1."""
        limits = torch.finfo(torch.float32)
        one, other = (_gamma(part[:, None].expand(-1, n_draws), generator) for part in (self.first, self.second))
        return (one / (one + other)).clamp(limits.tiny, 1 - limits.eps / 2)[..., None].float()


def _gamma(concentration: Tensor, generator: Generator) -> Tensor:
    """Draws from Gamma(concentration, 1), never zero."""
    draws = torch._standard_gamma(concentration.contiguous(), generator=generator)  # type: ignore[attr-defined]
    return draws.clamp(min=torch.finfo(draws.dtype).tiny)
