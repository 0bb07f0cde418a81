"""Mixtures of Gaussians seen through bijections: densities of positive numbers and of probabilities.

Letters: k components, d numbers, J points, "..." batch shape, "S" sample shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from priorfit.distributions.bijections import BIJECTIONS, check_bijections, from_real, inside, log_slope, to_real
from priorfit.distributions.gaussian_mixture import GaussianMixture, expectation_under

NODES, REACH = 257, 9.0  # of the quadrature over a standard normal: equally spaced, which is exact to rounding


class TransformedMixture(Distribution):
    r"""The law of X where f(X) is a mixture of Gaussians and f acts on each number by itself.

    p(x) = q(f(x)) |det df/dx|.

    Args:
        base: q, the law of f(X), batch shape (...), over d numbers.
        bijections: a name for each of the d numbers: "identity", "log" (positive) or "logit" (between 0 and 1).

    Raises:
        ValueError: unknown names, or another number of them.

    Example:
        >>> base = GaussianMixture(torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1, 1))
        >>> round(TransformedMixture(base, ["log"]).mean.item(), 4)  # exp(1 / 2)
        1.6487
    """

    arg_constraints = {}  # type: ignore[assignment]  # checked in the constructor

    def __init__(self, base: GaussianMixture, bijections: Sequence[str]) -> None:
        self.base, self.bijections = base, check_bijections(bijections, base.event_shape[0])
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @constraints.dependent_property(is_discrete=False, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Where the density is positive."""
        each = [BIJECTIONS[name].support for name in self.bijections]
        return constraints.independent(constraints.cat(each, dim=-1, lengths=[1] * len(each)), 1)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> Self:
        """This law with a larger batch shape."""
        return type(self)(self.base.expand(batch_shape), self.bijections)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value` (S, ..., d): (S, ...); -inf outside the support.

        Raises:
            ValueError: values that are no vectors of d numbers.
        """
        self.base.check_event(value)
        return self._log_prob(value, self.base.log_prob)

    def log_prob_of_points(self, points: Tensor) -> Tensor:
        """Log density at J points of each law, (..., J, d): (..., J)."""
        return self._log_prob(points, self.base.log_prob_of_points)

    def _log_prob(self, x: Tensor, base_log_prob: Callable[[Tensor], Tensor]) -> Tensor:
        valid = inside(self.bijections, x)
        x = torch.where(valid[..., None], x, 0.5)  # in every support
        log_prob = base_log_prob(to_real(self.bijections, x)) + log_slope(self.bijections, x)
        return torch.where(valid, log_prob, -torch.inf)

    def expected_log_prob(self, law: Distribution) -> Tensor:
        """E[log_prob(X)] for X ~ `law`, (...); gradients reach this mixture only.

        Args:
            law: `WeightedPoints` of the same batch shape, in the units of X.

        Raises:
            TypeError: a law of another kind.
        """
        return expectation_under(law, self.log_prob_of_points)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        """Draws (*sample_shape, ..., d), without gradient, from torch's global generator."""
        return from_real(self.bijections, self.base.sample(sample_shape))

    @property
    def mean(self) -> Tensor:
        """Mean, (..., d)."""
        return (self.base.weights[..., None] * self._component_moments()[0]).sum(-2)

    @property
    def variance(self) -> Tensor:
        """Variance of each number, (..., d)."""
        means, variances = self._component_moments()
        each = variances + (means - self.mean[..., None, :]).square()
        return (self.base.weights[..., None] * each).sum(-2)

    def _component_moments(self) -> tuple[Tensor, Tensor]:
        """Means and variances of each number under each component, (..., k, d)."""
        means, variances = self.base.means, self.base.scale_trils.square().sum(-1)
        columns = zip(self.bijections, means.unbind(-1), variances.unbind(-1), strict=True)
        moments = [MOMENTS[name](mean, variance) for name, mean, variance in columns]
        first, second = zip(*moments, strict=True)
        return torch.stack(first, -1), torch.stack(second, -1)

    def marginal(self, dims: Sequence[int]) -> Self:
        """The law of some of the numbers, in the given order.

        Raises:
            ValueError: no numbers, some twice, or some that do not exist.
        """
        return type(self)(self.base.marginal(dims), [self.bijections[dim] for dim in dims])

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value) for laws of one number: value (S, ..., 1) gives (S, ...).

        Raises:
            NotImplementedError: d > 1.
            ValueError: values without the last dimension of one.
        """
        self.base.check_event(value)
        valid = inside(self.bijections, value)
        level = self.base.cdf(to_real(self.bijections, torch.where(valid[..., None], value, 0.5)))
        return torch.where(valid, level, (value[..., 0] >= 1).to(level.dtype))

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles of laws of one number: levels (S, ...) in [0, 1] give (S, ..., 1).

        Raises:
            NotImplementedError: d > 1.
        """
        return from_real(self.bijections, self.base.icdf(value))


def _log_normal(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of exp(Y), Y normal."""
    first = (mean + variance / 2).exp()
    return first, torch.expm1(variance) * first.square()


def _logit_normal(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the sigmoid of Y, Y normal, by quadrature."""
    z = torch.linspace(-REACH, REACH, NODES, dtype=torch.float64, device=mean.device)
    weights = (-0.5 * z.square()).softmax(0)
    values = (mean.double()[..., None] + variance.double().sqrt()[..., None] * z).sigmoid()
    first = (weights * values).sum(-1)
    second = (weights * (values - first[..., None]).square()).sum(-1)
    return first.to(mean.dtype), second.to(mean.dtype)


MOMENTS = {"identity": lambda mean, variance: (mean, variance), "log": _log_normal, "logit": _logit_normal}
