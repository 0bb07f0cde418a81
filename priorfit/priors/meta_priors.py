"""Laws from which the priors of latents are drawn: one spec, such as `{family: inverse_gamma, …}`, for each.

Letters: B tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from priorfit.priors.latent_law import BetaLaw, InverseGammaLaw, LatentLaw, NamedLaw, NormalLaw
from priorfit.priors.laws import Law, scaled
from priorfit.priors.mixture_meta_prior import MixtureMetaPrior
from priorfit.registry import closest

FAMILIES: dict[str, type[NamedLaw]] = {"normal": NormalLaw, "beta": BetaLaw, "inverse_gamma": InverseGammaLaw}


class MetaPrior(Protocol):
    """A law of priors."""

    def draw(self, batch_size: int, generator: Generator) -> LatentLaw:
        """Draws the priors of B tasks."""
        ...


class FamilyMetaPrior:
    """Priors of one number and one family, whose two parameters are independent.

    Args:
        family: "normal" (mean, variance), "beta" (alpha, beta) or "inverse_gamma" (concentration, rate).
        parameters: by name, a number or the arguments of a `Law`; a normal law's mean, which may be negative, is
            {loc, scale}, itself normal.

    Raises:
        ValueError: unknown families or parameters, or impossible laws.
    """

    def __init__(self, family: str, **parameters: Any) -> None:
        if family not in FAMILIES:
            raise ValueError(f"Unknown family '{family}': {closest(family, FAMILIES)}")
        self.family = FAMILIES[family]
        names = self.family.parameters
        if set(parameters) != set(names):
            found = ", ".join(parameters) or "nothing"
            raise ValueError(f"The family '{family}' takes {' and '.join(names)}, not {found}.")
        self.parameters = [
            _Centre(parameters[name]) if name == "mean" else Law(name, parameters[name]) for name in names
        ]

    def draw(self, batch_size: int, generator: Generator) -> NamedLaw:
        """Draws the priors of B tasks."""
        drawn = self.family(*(law.sample((batch_size,), generator) for law in self.parameters))
        return self.family.from_tokens(drawn.tokens)  # exactly those that a network observes


class _Centre:
    """A normal law of a parameter of any sign: {loc, scale}."""

    def __init__(self, spec: Mapping[str, float]) -> None:
        if not isinstance(spec, Mapping) or set(spec) != {"loc", "scale"} or spec["scale"] < 0:
            raise ValueError(f"A normal law's mean takes loc and scale >= 0, not {spec!r}.")
        self.loc, self.scale = float(spec["loc"]), float(spec["scale"])

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draws of the given shape, float64."""
        noise = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
        return self.loc + self.scale * noise


def build_meta_prior(spec: Mapping[str, Any]) -> MetaPrior:
    """The meta-prior that a spec describes: `family` is "mixture" (`MixtureMetaPrior`) or as in `FamilyMetaPrior`.

    Raises:
        ValueError: unknown families, or arguments that they do not take.
    """
    arguments = dict(spec)
    family = str(arguments.pop("family", ""))
    if family in FAMILIES:
        return FamilyMetaPrior(family, **arguments)
    if family != "mixture":
        raise ValueError(f"Unknown family '{family}': {closest(family, ['mixture', *FAMILIES])}")
    return _mixtures(arguments)


def mixtures_over(dimension: int, spec: Mapping[str, Any]) -> MixtureMetaPrior:
    """Mixtures over vectors whose length the prior itself tells.

    Args:
        dimension: d.
        spec: the other arguments of `MixtureMetaPrior`.

    Raises:
        ValueError: arguments that it does not take, dimension among them.
    """
    if "dimension" in spec:
        raise ValueError("dimension is the prior's own argument; leave it out of meta_prior.")
    return _mixtures({"dimension": dimension, **spec})


def shifted_mixtures(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Changes of a prior's argument `meta_prior`, by name: mixtures farther apart, and farther from the origin.

    Args:
        spec: arguments of `MixtureMetaPrior`.
    """
    apart = {"spread": scaled(spec.get("spread", 1.0), 3)}
    changes = {"prior's components × 3 as far apart": apart}
    if spec.get("centre"):
        changes["prior's centre × 2"] = {"centre": scaled(spec["centre"], 2)}
    return {name: {"meta_prior": {**spec, **change}} for name, change in changes.items()}


def _mixtures(arguments: Mapping[str, Any]) -> MixtureMetaPrior:
    """A `MixtureMetaPrior`, with a ValueError for arguments that it does not take."""
    try:
        return MixtureMetaPrior(**arguments)
    except TypeError as error:
        raise ValueError(f"A meta-prior of mixtures takes the arguments of MixtureMetaPrior: {error}") from None
