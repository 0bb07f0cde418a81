"""Priors of named families as the tokens that a network reads: one law per latent number.

A latent number of any sign has a normal law, a positive one an inverse gamma law, one between 0 and 1 a beta law:
the bijections of the network tell which. A network that reads fewer laws than there are latent numbers reads those of
the last ones; the others have a prior that is always the same. Letters: B problems, C numbers per token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Beta, Distribution, InverseGamma, Normal


class Family(NamedTuple):
    """A family of laws of one number.

    Attributes:
        cls: the torch distribution.
        names: of its two parameters, in the order of the token.
        signed: whether the first may be negative, and is given as it is; all others as logarithms.
    """

    cls: type[Distribution]
    names: tuple[str, str]
    signed: bool = False


FAMILIES = {
    "identity": Family(Normal, ("mean", "variance"), signed=True),
    "log": Family(InverseGamma, ("concentration", "rate")),
    "logit": Family(Beta, ("alpha", "beta")),
}


def parameter_tokens(prior: Any, bijections: Sequence[str]) -> Tensor:
    """One token per problem, (1, C) or (B, 1, C), float32: means, and logarithms of all other parameters.

    Args:
        prior: for every bijection a law: the torch distribution of its family, or a dictionary of its parameters
            (mean and variance; concentration and rate; alpha and beta); a list of them, or the only one itself.
            Parameters are numbers or (B,).
        bijections: of the latent numbers that have a law.

    Raises:
        TypeError: a law of another kind.
        ValueError: another number of laws, wrong names, or parameters that cannot be used.
    """
    laws = list(prior) if isinstance(prior, list | tuple) else [prior]
    if len(laws) != len(bijections):
        raise ValueError(
            f"This network takes {len(bijections)} laws, one for each number with a prior; got {len(laws)}."
        )
    columns = [column for law, name in zip(laws, bijections, strict=True) for column in _columns(law, FAMILIES[name])]
    shapes = {tuple(column.shape) for column in columns if column.ndim}
    if any(column.ndim > 1 for column in columns) or len(shapes) > 1:
        raise ValueError(f"Parameters must be numbers or all of one shape (B,); got {sorted(shapes)}.")
    return torch.stack(torch.broadcast_tensors(*columns), -1)[..., None, :]  # (…, 1, C)


def _columns(law: Any, family: Family) -> list[Tensor]:
    """The two numbers that stand for a law, () or (B,) each."""
    parameters = _parameters(law, family)
    for index, (name, value) in enumerate(parameters.items()):
        free = family.signed and index == 0
        if not value.isfinite().all() or not (free or (value > 0).all()):
            kind = "finite" if free else "positive and finite"
            raise ValueError(f"The prior's parameter '{name}' must be {kind}.")
    first, second = parameters.values()
    return [(first if family.signed else first.log()).float(), second.log().float()]


def _parameters(law: Any, family: Family) -> dict[str, Tensor]:
    """A law's parameters by name, float64."""
    if isinstance(law, Mapping):
        if set(law) != set(family.names):
            raise ValueError(
                f"This prior's parameters are {' and '.join(family.names)}, not {', '.join(map(str, law))}."
            )
        return {name: _numbers(name, law[name]) for name in family.names}
    if isinstance(law, Beta):
        values = law.concentration1, law.concentration0
    elif isinstance(law, InverseGamma):
        values = law.concentration, law.rate  # type: ignore[attr-defined]
    elif isinstance(law, Normal):
        values = law.loc, law.scale.square()
    else:
        values = ()
    if not isinstance(law, family.cls):
        raise TypeError(
            f"This network takes torch.distributions.{family.cls.__name__} priors, or a dictionary with "
            f"{' and '.join(family.names)}, not {law!r:.80}."
        )
    return dict(zip(family.names, (value.detach().cpu().double() for value in values), strict=True))


def _numbers(name: str, value: Any) -> Tensor:
    """A parameter as it was given, as float64."""
    try:
        return torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError) as error:
        raise ValueError(f"The prior's parameter '{name}' must be a number or (B,), not {value!r:.80}.") from error
