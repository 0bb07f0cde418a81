"""Distributions as plain tensors and a description, and back: for classes that are listed here, and no others.

A description is {"class": name, "parts": {argument: None (a tensor), text, a list of texts, or a description}}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.distributions import (
    Beta,
    Categorical,
    Distribution,
    Gamma,
    InverseGamma,
    LogNormal,
    MixtureSameFamily,
    Normal,
    StudentT,
)

from priorfit.distributions import (
    ClassDistribution,
    GaussianMixture,
    RateLaw,
    ScalarEvent,
    TransformedMixture,
    WeightedPoints,
)

# Constructor arguments, each with the attribute that has it where the names differ.
OF_TORCH: dict[type[Distribution], tuple[str, ...]] = {
    Beta: ("concentration1", "concentration0"),
    Categorical: ("logits",),  # or "probs", whichever it was made of
    Gamma: ("concentration", "rate"),
    InverseGamma: ("concentration", "rate"),
    LogNormal: ("loc", "scale"),
    MixtureSameFamily: ("mixture_distribution", "component_distribution"),
    Normal: ("loc", "scale"),
    StudentT: ("df", "loc", "scale"),
}
OF_PRIORFIT: dict[type[Distribution], tuple[str, ...]] = {
    ClassDistribution: ("logits",),
    GaussianMixture: ("log_weights", "means", "scale_trils"),
    RateLaw: ("absent_logits", "log_weights", "locs", "scales", "concentration"),
    ScalarEvent: ("base",),
    TransformedMixture: ("base", "bijections"),
    WeightedPoints: ("values", "log_weights"),
}
ATTRIBUTES: dict[tuple[type[Distribution], str], str] = {(ScalarEvent, "base"): "base_dist"}
ARGUMENTS = {**OF_TORCH, **OF_PRIORFIT}
CLASSES = {cls.__name__: cls for cls in ARGUMENTS}


def pack_law(law: Distribution) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description of a distribution and its tensors, those of its parts with names such as "base.means".

    Raises:
        ValueError: a class that is not listed here.
    """
    cls = type(law)
    if cls not in ARGUMENTS:
        raise ValueError(
            f"A law of the class {cls.__name__} cannot be stored: known are {', '.join(sorted(CLASSES))}. A prior "
            "should give one of these, or no law."
        )
    parts: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name in _arguments(law):
        value = getattr(law, ATTRIBUTES.get((cls, name), name))
        if isinstance(value, Distribution):
            parts[name], own = pack_law(value)
            tensors |= {f"{name}.{key}": tensor for key, tensor in own.items()}
        elif isinstance(value, Tensor):
            parts[name], tensors[name] = None, value
        else:
            parts[name] = list(value)
    return {"class": cls.__name__, "parts": parts}, tensors


def unpack_law(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Distribution:
    """The distribution that was packed, its tensors bit for bit.

    Raises:
        KeyError: a description or tensors that do not belong together.
    """
    cls = CLASSES[description["class"]]
    arguments: dict[str, Any] = {}
    for name, part in description["parts"].items():
        if isinstance(part, Mapping):
            arguments[name] = unpack_law(part, inside(name, tensors))
        else:
            arguments[name] = tensors[name] if part is None else part
    options: dict[str, Any] = {"validate_args": False} if cls in OF_TORCH else {}
    law = cls(**arguments, **options)
    # Constructors normalise probabilities again, which changes last bits.
    vars(law).update({name: value for name, value in arguments.items() if isinstance(vars(law).get(name), Tensor)})
    if isinstance(law, Categorical):
        (law._param,) = arguments.values()
    return law


def inside(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that are part of `name`: their names begin with it and a dot, which are left out."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def _arguments(law: Distribution) -> tuple[str, ...]:
    """The constructor arguments that describe this distribution."""
    if type(law) is Categorical and law._param is vars(law).get("probs"):
        return ("probs",)
    return ARGUMENTS[type(law)]
