"""Increasing maps from a latent number's own units to the whole line, by name.

"identity" for numbers of any sign, "log" for positive ones, "logit" for those between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints


@dataclass(frozen=True)
class Bijection:
    """An increasing, differentiable map f from `support` onto the real line.

    Attributes:
        to_real: f.
        from_real: its inverse, kept inside the open support where rounding would leave it.
        log_slope: log f'(x).
        support: where f is defined.
    """

    to_real: Callable[[Tensor], Tensor]
    from_real: Callable[[Tensor], Tensor]
    log_slope: Callable[[Tensor], Tensor]
    support: constraints.Constraint


class _OpenUnit(constraints.Constraint):
    """Numbers between 0 and 1, without the ends."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)


def _exp(y: Tensor) -> Tensor:
    limits = torch.finfo(y.dtype)
    return y.exp().clamp(limits.tiny, limits.max)


def _sigmoid(y: Tensor) -> Tensor:
    limits = torch.finfo(y.dtype)
    return y.sigmoid().clamp(limits.tiny, 1 - limits.eps / 2)


BIJECTIONS = {
    "identity": Bijection(lambda x: x, lambda y: y, torch.zeros_like, constraints.real),
    "log": Bijection(torch.log, _exp, lambda x: -x.log(), constraints.positive),
    "logit": Bijection(torch.logit, _sigmoid, lambda x: -(x.log() + torch.log1p(-x)), _OpenUnit()),
}


def check_bijections(names: Sequence[str], size: int) -> tuple[str, ...]:
    """The names as a tuple, one for each of `size` numbers.

    Raises:
        ValueError: unknown names, or another number of them.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    unknown = [name for name in names if name not in BIJECTIONS]
    if unknown:
        raise ValueError(f"Unknown bijection {unknown[0]!r}: known are {', '.join(BIJECTIONS)}.")
    if len(names) != size:
        raise ValueError(f"{size} latent numbers need {size} bijections, one each; got {len(names)}: {list(names)}.")
    return names


def inside(names: Sequence[str], x: Tensor) -> Tensor:
    """Whether every number of x (..., d) is in its support: (...)."""
    return torch.stack([BIJECTIONS[name].support.check(part) for name, part in _columns(names, x)], -1).all(-1)


def to_real(names: Sequence[str], x: Tensor) -> Tensor:
    """f(x) of every number of x (..., d)."""
    return torch.stack([BIJECTIONS[name].to_real(part) for name, part in _columns(names, x)], -1)


def from_real(names: Sequence[str], y: Tensor) -> Tensor:
    """The inverse of `to_real`."""
    return torch.stack([BIJECTIONS[name].from_real(part) for name, part in _columns(names, y)], -1)


def log_slope(names: Sequence[str], x: Tensor) -> Tensor:
    """log |det df/dx| at x (..., d): (...)."""
    return torch.stack([BIJECTIONS[name].log_slope(part) for name, part in _columns(names, x)], -1).sum(-1)


def _columns(names: Sequence[str], x: Tensor) -> list[tuple[str, Tensor]]:
    return list(zip(names, x.unbind(-1), strict=True))
