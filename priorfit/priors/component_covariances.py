"""Laws of the covariance matrices of a mixture's components.

Letters: B tasks, k components, d numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from priorfit.distributions.covariances import factor
from priorfit.priors.laws import Law
from priorfit.registry import closest


class ComponentCovariances(Protocol):
    """A law of covariance matrices."""

    def draw(self, batch_size: int, k: int, generator: Generator) -> Tensor:
        """Cholesky factors, (B, k, d, d), float64."""
        ...


class WishartPrecisions:
    """Independent inverses of Wishart(freedom, scale * I) + jitter * I.

    Args:
        dimension: d.
        freedom: degrees of freedom, above d - 1; None for d + 1, with which correlations are uniform.
        scale: positive; the mean precision is freedom * scale.
        jitter: keeps variances below 1 / jitter.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, dimension: int, freedom: float | None = None, scale: float = 1.0, jitter: float = 1e-4) -> None:
        self.dimension, self.freedom = dimension, dimension + 1 if freedom is None else freedom
        self.scale, self.jitter = scale, jitter
        if not self.freedom > dimension - 1 or not scale > 0 or not jitter >= 0:
            raise ValueError(
                f"A Wishart law needs freedom > d - 1 = {dimension - 1}, scale > 0 and jitter >= 0; "
                f"got {self.freedom}, {scale}, {jitter}."
            )

    def draw(self, batch_size: int, k: int, generator: Generator) -> Tensor:
        """Cholesky factors, (B, k, d, d), float64."""
        root = math.sqrt(self.scale) * wishart_factor((batch_size, k), self.dimension, self.freedom, generator)
        precision = root @ root.mT
        precision.diagonal(dim1=-2, dim2=-1).add_(self.jitter)
        return factor(torch.cholesky_inverse(factor(precision)))


class InverseGammaVariances:
    """Independent variances for every number of every component, no correlations.

    Args:
        dimension: d.
        concentration: of the inverse gamma law of the variances.
        rate: likewise.

    Raises:
        ValueError: numbers that are not positive.
    """

    def __init__(self, dimension: int, concentration: float = 1.0, rate: float = 1.0) -> None:
        self.dimension = dimension
        self.law = Law("variance", {"law": "inverse_gamma", "concentration": concentration, "rate": rate})

    def draw(self, batch_size: int, k: int, generator: Generator) -> Tensor:
        """Cholesky factors, (B, k, d, d), float64."""
        return torch.diag_embed(self.law.sample((batch_size, k, self.dimension), generator).sqrt())


class LogUniformScales:
    """Standard deviations over a range of scales, with correlations: what the beliefs of a filter look like.

    The standard deviations of a task, one per dimension, are log-uniform on `scale`; those of its components differ
    from them by factors log-uniform on 1 / ratio … ratio, and so do their correlations, from a Wishart law.

    Args:
        dimension: d.
        scale: [low, high].
        ratio: at least 1.
        freedom: degrees of freedom of the Wishart law, above d - 1; None for d + 1, with which correlations are
            uniform; the more, the weaker they are.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(
        self, dimension: int, scale: Sequence[float] = (0.03, 1.5), ratio: float = 2.0, freedom: float | None = None
    ) -> None:
        self.dimension, self.freedom = dimension, dimension + 1 if freedom is None else freedom
        self.scale, self.ratio = log_range("scale", scale), log_range("ratio", [1.0, ratio])[1]
        if not self.freedom > dimension - 1:
            raise ValueError(f"freedom must be above d - 1 = {dimension - 1}, not {self.freedom}.")

    def draw(self, batch_size: int, k: int, generator: Generator) -> Tensor:
        """Cholesky factors, (B, k, d, d), float64."""
        scale = draw_log_uniform(self.scale, (batch_size, 1, self.dimension), generator)
        scale = scale * draw_log_uniform((-self.ratio, self.ratio), (batch_size, k, self.dimension), generator)
        root = wishart_factor((batch_size, k), self.dimension, self.freedom, generator)
        root = root / root.norm(dim=-1, keepdim=True)  # rows of length one: a factor of a correlation matrix
        return scale[..., None] * root


LAWS = {"wishart": WishartPrecisions, "inverse_gamma": InverseGammaVariances, "log_uniform": LogUniformScales}


def build_component_covariances(spec: Mapping[str, Any], dimension: int) -> ComponentCovariances:
    """The law {law: NAME, …}: "wishart", "inverse_gamma" or "log_uniform", with its arguments.

    Raises:
        ValueError: unknown laws, or arguments that they do not take.
    """
    arguments = dict(spec)
    name = str(arguments.pop("law", ""))
    if name not in LAWS:
        raise ValueError(f"Unknown law of covariances '{name}': {closest(name, LAWS)}")
    try:
        return LAWS[name](dimension, **arguments)
    except TypeError as error:
        raise ValueError(f"The law of covariances '{name}': {error}") from None


def wishart_factor(shape: tuple[int, ...], dimension: int, freedom: float, generator: Generator) -> Tensor:
    """Lower triangular A with A A^T ~ Wishart(freedom, I), (*shape, d, d), float64 (Bartlett's decomposition)."""
    options: dict[str, Any] = {"dtype": torch.float64, "device": generator.device}
    index = torch.arange(dimension, **options)
    half = ((freedom - index) / 2).expand(*shape, dimension).contiguous()
    squares = 2 * torch._standard_gamma(half, generator=generator)  # type: ignore[attr-defined]  # chi² draws
    root = torch.randn(*shape, dimension, dimension, generator=generator, **options).tril(-1)
    return root + torch.diag_embed(squares.clamp(min=torch.finfo(torch.float64).tiny).sqrt())


def log_range(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    """The logarithms of a positive number, twice, or of [low, high].

    Raises:
        ValueError: numbers that are not positive, or not in order.
    """
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] < math.inf:
        raise ValueError(f"{name} must be a positive number, or [low, high] of such; got {value!r}.")
    return math.log(pair[0]), math.log(pair[1])


def draw_log_uniform(limits: tuple[float, float], shape: Sequence[int], generator: Generator) -> Tensor:
    """Log-uniform draws between exp(limits), float64."""
    low, high = limits
    level = torch.rand(tuple(shape), generator=generator, dtype=torch.float64, device=generator.device)
    return (low + (high - low) * level).exp()
