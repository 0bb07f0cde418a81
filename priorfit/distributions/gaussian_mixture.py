"""Mixtures of Gaussians, with everything about them that has a closed form.

Letters: k components, d numbers, m of them or of an observation, J points, C numbers per packed component,
"..." batch shape, "S" sample shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, constraints

from priorfit.distributions.covariances import check_components, check_weights, factor, normal_log_prob
from priorfit.distributions.weighted_points import WeightedPoints

BISECTIONS = 60  # halvings of the interval that holds a quantile


class GaussianMixture(Distribution):
    r"""sum_j w_j N(mu_j, L_j L_j^T) over vectors of d numbers.

    Args:
        log_weights: log w, (..., k), normalised; -inf for a weight of zero.
        means: mu, (..., k, d).
        scale_trils: L, lower triangular with a positive diagonal, (..., k, d, d).
        validate_args: whether to check the above; shapes are checked always.

    Raises:
        ValueError: shapes that do not fit, weights that do not sum to one (to 0.001), values that are not finite, or
            scale_trils that are no Cholesky factors.

    Example:
        >>> law = GaussianMixture(torch.tensor([0.5, 0.5]).log(), torch.zeros(2, 3), torch.eye(3).expand(2, 3, 3))
        >>> law.log_prob(torch.zeros(7, 3)).shape
        torch.Size([7])
    """

    arg_constraints = {}  # type: ignore[assignment]  # checked in the constructor
    support = constraints.real_vector  # type: ignore[assignment]

    def __init__(self, log_weights: Tensor, means: Tensor, scale_trils: Tensor, validate_args: bool = True) -> None:
        size = means.shape[-1] if means.ndim else 0
        if means.ndim < 2 or log_weights.shape != means.shape[:-1] or scale_trils.shape != (*means.shape, size):
            raise ValueError(
                "A mixture of k Gaussians over d numbers needs log_weights (..., k), means (..., k, d) and scale_trils "
                f"(..., k, d, d); got {tuple(log_weights.shape)}, {tuple(means.shape)}, {tuple(scale_trils.shape)}."
            )
        self.log_weights, self.means, self.scale_trils = log_weights, means, scale_trils
        super().__init__(means.shape[:-2], means.shape[-1:], validate_args=False)
        if validate_args and not torch.compiler.is_compiling():
            check_components(log_weights, means, scale_trils)

    @classmethod
    def from_moments(cls, weights: Tensor, means: Tensor, covariances: Tensor) -> Self:
        """The mixture with these weights (..., k), means (..., k, d) and covariance matrices (..., k, d, d).

        Raises:
            ValueError: weights that are negative or do not sum to one (to 0.001, which is taken for rounding),
                covariances that are not symmetric or not positive definite, shapes that do not fit.
        """
        if covariances.shape != (*means.shape, *means.shape[-1:]):
            raise ValueError(
                f"Means (..., k, d) need covariances (..., k, d, d); "
                f"got {tuple(means.shape)} and {tuple(covariances.shape)}."
            )
        check_weights(weights)
        return cls(weights.log().log_softmax(-1), means, factor(covariances))

    @property
    def n_components(self) -> int:
        """k."""
        return self.means.shape[-2]

    @property
    def weights(self) -> Tensor:
        """w, (..., k)."""
        return self.log_weights.exp()

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> Self:
        """This mixture with a larger batch shape."""
        parts = (self.log_weights, self.means, self.scale_trils)
        kept = len(self.batch_shape)
        return type(self)(*(part.expand(*batch_shape, *part.shape[kept:]) for part in parts), validate_args=False)

    # Moments

    @property
    def mean(self) -> Tensor:
        """Mean, (..., d)."""
        return (self.weights[..., None] * self.means).sum(-2)

    @property
    def covariances(self) -> Tensor:
        """Covariance matrices of the components, (..., k, d, d)."""
        return self._wide_covariances.to(self.means.dtype)

    @property
    def _wide_covariances(self) -> Tensor:
        """The same in float64, which autocast leaves alone."""
        wide = self.scale_trils.double()
        return wide @ wide.mT

    @property
    def covariance_matrix(self) -> Tensor:
        """Covariance matrix of the mixture, (..., d, d)."""
        centred = self.means - self.mean[..., None, :]
        each = self.covariances + centred[..., :, None] * centred[..., None, :]  # (..., k, d, d)
        return (self.weights[..., None, None] * each).sum(-3)

    @property
    def variance(self) -> Tensor:
        """Variance of each number, (..., d)."""
        each = self.scale_trils.square().sum(-1) + (self.means - self.mean[..., None, :]).square()
        return (self.weights[..., None] * each).sum(-2)

    # Densities and draws

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at `value` (S, ..., d): (S, ...).

        Raises:
            ValueError: values that are no vectors of d numbers.
        """
        self.check_event(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        points = value.expand(shape).reshape(-1, *self.batch_shape, *self.event_shape).movedim(0, -2)
        return self.log_prob_of_points(points).movedim(-1, 0).reshape(shape[:-1])

    def log_prob_of_points(self, points: Tensor) -> Tensor:
        """Log density at J points of each law, (..., J, d): (..., J)."""
        each = normal_log_prob(points[..., None, :, :], self.means, self.scale_trils)  # (..., k, J)
        return (self.log_weights[..., None] + each).logsumexp(-2)

    def expected_log_prob(self, law: Distribution) -> Tensor:
        """E[log_prob(X)] for X ~ `law`, (...); gradients reach this mixture only.

        Args:
            law: `WeightedPoints` of the same batch shape.

        Raises:
            TypeError: a law of another kind.
        """
        return expectation_under(law, self.log_prob_of_points)

    def draw(self, shape: Sequence[int] = (), generator: Generator | None = None) -> Tensor:
        """Draws (*shape, ..., d) from the given generator; without one from torch's global one."""
        n_draws, (k, size) = math.prod(shape), self.means.shape[-2:]
        options = {"generator": generator, "device": self.means.device}
        with torch.no_grad():
            index = torch.multinomial(self.weights.reshape(-1, k), n_draws, replacement=True, generator=generator)
            means = self.means.reshape(-1, k, size).gather(1, index[..., None].expand(-1, -1, size))
            matrices = index[..., None, None].expand(-1, -1, size, size)
            scale_trils = self.scale_trils.reshape(-1, k, size, size).gather(1, matrices)  # (B, S, d, d)
            noise = torch.randn(*means.shape[:2], 1, size, dtype=means.dtype, **options)
            draws = means + (scale_trils * noise).sum(-1)
        return draws.movedim(1, 0).reshape(*shape, *self.batch_shape, size)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:  # type: ignore[override]
        """Draws (*sample_shape, ..., d), without gradient, from torch's global generator."""
        return self.draw(sample_shape)

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value) for laws of one number: value (S, ..., 1) gives (S, ...).

        Raises:
            NotImplementedError: d > 1.
            ValueError: values without the last dimension of one.
        """
        self._check_scalar("cdf")
        self.check_event(value)
        each = torch.special.ndtr((value - self.means[..., 0]) / self.scale_trils[..., 0, 0])  # (S, ..., k)
        return (self.weights * each).sum(-1)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles of laws of one number: levels (S, ...) in [0, 1] give (S, ..., 1), by bisection.

        Raises:
            NotImplementedError: d > 1.
        """
        self._check_scalar("icdf")
        means, scales = self.means[..., 0].double(), self.scale_trils[..., 0, 0].double()
        each = means + scales * torch.special.ndtri(value.double()[..., None])  # (S, ..., k)
        absent = self.log_weights == -math.inf
        low = each.masked_fill(absent, math.inf).amin(-1, keepdim=True)
        high = each.masked_fill(absent, -math.inf).amax(-1, keepdim=True)  # (S, ..., 1)
        for _ in range(BISECTIONS):
            middle = low / 2 + high / 2
            above = (self.cdf(middle) > value)[..., None]
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return high.to(self.means.dtype)

    def check_event(self, value: Tensor) -> None:
        """Refuses values that are not (..., d); others would be broadcast.

        Raises:
            ValueError: what is wrong.
        """
        if value.shape[-1:] != self.event_shape:
            raise ValueError(f"Values must be (..., {self.event_shape[0]}), not {tuple(value.shape)}.")

    def _check_scalar(self, what: str) -> None:
        if self.event_shape[0] != 1:
            raise NotImplementedError(f"A law of {self.event_shape[0]} numbers has no {what}: take a marginal first.")

    # Other mixtures

    def marginal(self, dims: Sequence[int]) -> Self:
        """The law of some of the numbers, in the given order.

        Raises:
            ValueError: no numbers, some twice, or some that do not exist.
        """
        dims = self._check_dims(dims)
        rows = self.scale_trils[..., dims, :].double()
        return self._like(self.log_weights, self.means[..., dims], factor(rows @ rows.mT))

    def condition(self, dims: Sequence[int], values: Tensor) -> Self:
        """The law of the other numbers, given that those in `dims` have `values` (..., m).

        Raises:
            ValueError: numbers that do not exist or all of them, or values of the wrong shape.
        """
        dims = self._check_dims(dims)
        others = [dim for dim in range(self.event_shape[0]) if dim not in dims]
        if not others or values.shape[-1] != len(dims):
            raise ValueError(
                f"Give values (..., {len(dims)}) for {len(dims)} of the {self.event_shape[0]} numbers, and leave at "
                f"least one; got values {tuple(values.shape)}."
            )
        known = self.marginal(dims)
        full = self._wide_covariances
        cross = full[..., dims, :][..., others]  # (..., k, m, d - m)
        tril = factor(full[..., dims, :][..., dims])
        gain = torch.cholesky_solve(cross, tril).mT  # (..., k, d - m, m)
        difference = values[..., None, :].double() - self.means[..., dims].double()
        means = self.means[..., others] + (gain @ difference[..., None])[..., 0]
        covariances = full[..., others, :][..., others] - gain @ cross
        each = normal_log_prob(values.double()[..., None, None, :], known.means, known.scale_trils)[..., 0]
        return self._like((self.log_weights + each).log_softmax(-1), means, factor(covariances))

    def affine(self, matrix: Tensor, offset: Tensor | None = None, noise_covariance: Tensor | None = None) -> Self:
        """The law of A X + b + e with e ~ N(0, Q) independent of X: the exact prediction step of a linear system.

        Args:
            matrix: A, (..., m, d).
            offset: b, (..., m); none for zeros.
            noise_covariance: Q, (..., m, m), which may be singular; none for zeros.

        Raises:
            ValueError: shapes that do not fit, or a result without a density, as A L L^T A^T + Q is singular.
        """
        self._check_matrix(matrix)
        size = matrix.shape[-2]
        for name, part, shape in (("offset", offset, (size,)), ("noise covariance", noise_covariance, (size, size))):
            if part is not None and part.shape[-len(shape) :] != shape:
                raise ValueError(f"The {name} must be (..., {', '.join(map(str, shape))}), not {tuple(part.shape)}.")
        matrix = matrix.double()[..., None, :, :]  # (..., 1, m, d)
        spread = matrix @ self.scale_trils.double()
        means = (matrix @ self.means.double()[..., None])[..., 0]
        covariances = spread @ spread.mT
        if offset is not None:
            means = means + offset[..., None, :]
        if noise_covariance is not None:
            covariances = covariances + noise_covariance.double()[..., None, :, :]
        return self._like(self.log_weights.expand(means.shape[:-1]), means, factor(covariances))

    def update(self, matrix: Tensor, noise_covariance: Tensor, observation: Tensor) -> tuple[Self, Tensor]:
        r"""The law of X given z = H X + e with e ~ N(0, R), and log p(z), (...).

        Per component S = H P H^T + R, K = P H^T S^-1, mu + K (z - H mu) and (I - K H) P (I - K H)^T + K R K^T; weights
        times N(z; H mu, S). The exact update step of a linear system (Joseph's form of Kalman's).

        Args:
            matrix: H, (..., m, d).
            noise_covariance: R, (..., m, m).
            observation: z, (..., m).

        Raises:
            ValueError: shapes that do not fit, or covariances S that are not positive definite.
        """
        self._check_matrix(matrix)
        if observation.shape[-1] != matrix.shape[-2] or noise_covariance.shape[-2:] != (matrix.shape[-2],) * 2:
            raise ValueError(
                f"A matrix (..., m, d) {tuple(matrix.shape)} needs a noise covariance (..., m, m) and an observation "
                f"(..., m); got {tuple(noise_covariance.shape)} and {tuple(observation.shape)}."
            )
        matrix, noise = (part.double()[..., None, :, :] for part in (matrix, noise_covariance))
        means, covariances = self.means.double(), self._wide_covariances
        cross = matrix @ covariances  # (..., k, m, d)
        tril = factor(cross @ matrix.mT + noise)
        gain = torch.cholesky_solve(cross, tril).mT  # (..., k, d, m)
        expected = (matrix @ means[..., None])[..., 0]  # (..., k, m)
        points = observation.double()[..., None, :]
        each = self.log_weights.double() + normal_log_prob(points[..., None, :], expected, tril)[..., 0]
        means = means + (gain @ (points - expected)[..., None])[..., 0]
        kept = torch.eye(means.shape[-1], dtype=means.dtype, device=means.device) - gain @ matrix
        covariances = kept @ covariances @ kept.mT + gain @ noise @ gain.mT
        evidence = each.logsumexp(-1)
        mixture = self._like(each - evidence[..., None], means, factor(covariances))
        return mixture, evidence.to(self.means.dtype)

    def _like(self, log_weights: Tensor, means: Tensor, scale_trils: Tensor) -> Self:
        """A mixture in this one's precision, of a batch shape that its parts broadcast to."""
        batch = torch.broadcast_shapes(log_weights.shape[:-1], means.shape[:-2], scale_trils.shape[:-3])
        parts = [part.to(self.means.dtype) for part in (log_weights, means, scale_trils)]
        log_weights, means, scale_trils = (part.expand(*batch, *part.shape[-n:]) for n, part in enumerate(parts, 1))
        return type(self)(log_weights, means, scale_trils, validate_args=False)

    def _check_dims(self, dims: Sequence[int]) -> list[int]:
        dims, size = [int(dim) for dim in dims], self.event_shape[0]
        if not dims or len(set(dims)) < len(dims) or not all(0 <= dim < size for dim in dims):
            raise ValueError(f"dims must be different numbers from 0 to {size - 1}, at least one; got {dims}.")
        return dims

    def _check_matrix(self, matrix: Tensor) -> None:
        if matrix.ndim < 2 or matrix.shape[-1] != self.event_shape[0]:
            raise ValueError(f"The matrix must be (..., m, {self.event_shape[0]}), not {tuple(matrix.shape)}.")

    # Plain numbers

    def packed(self) -> Tensor:
        """All parameters as numbers of any size, (..., k, C) with C = 1 + d + d (d + 1) / 2.

        In this order: log weight, mean, logarithms of L's diagonal, what is below it row by row.
        """
        row, column = self._below(self.event_shape[0])
        diagonal = self.scale_trils.diagonal(dim1=-2, dim2=-1).log()
        below = self.scale_trils[..., row, column]
        return torch.cat([self.log_weights[..., None], self.means, diagonal, below], -1)

    @classmethod
    def from_packed(cls, packed: Tensor, d: int, validate_args: bool = True) -> Self:
        """The mixture over d numbers with these parameters (..., k, C), see `packed`.

        Raises:
            ValueError: another number of parameters, or weights that do not sum to one.
        """
        sizes = [1, d, d, d * (d - 1) // 2]
        if packed.ndim < 2 or packed.shape[-1] != sum(sizes):
            raise ValueError(
                f"A component over {d} numbers has {sum(sizes)} parameters, (..., k, {sum(sizes)}); "
                f"got {tuple(packed.shape)}."
            )
        log_weights, means, diagonal, below = packed.split(sizes, -1)
        row, column = cls._below(d)
        scale_trils = torch.diag_embed(diagonal.exp())
        scale_trils[..., row, column] = below
        return cls(log_weights[..., 0], means, scale_trils, validate_args)

    @staticmethod
    def _below(size: int) -> tuple[list[int], list[int]]:
        """Rows and columns of what is below the diagonal, row by row."""
        row, column = torch.tril_indices(size, size, -1).tolist()
        return row, column


def expectation_under(law: Distribution, log_prob_of_points: Callable[[Tensor], Tensor]) -> Tensor:
    """E of a log density of points under a law that is `WeightedPoints`; no gradient reaches the law.

    Raises:
        TypeError: a law of another kind.
    """
    if not isinstance(law, WeightedPoints):
        raise TypeError(f"The expected log density is known for a WeightedPoints law, not {type(law).__name__}.")
    return law.expectation(log_prob_of_points)
