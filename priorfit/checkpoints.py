"""Saving and reading trained networks. The file itself is described in `priorfit.checkpoint_file`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorfit.checkpoint_file import SCHEMA_VERSION, CheckpointError, open_file, plain, write
from priorfit.models import Network, networks
from priorfit.priors import Prior, priors
from priorfit.provenance import provenance as facts
from priorfit.registry import Registered, Registry

__all__ = ["Checkpoint", "CheckpointError", "read", "read_metadata", "save", "update_metrics", "update_prior_check"]

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network and what is known about it.

    Attributes:
        network: on the CPU, in evaluation mode, float32.
        metadata: the document described in `priorfit.checkpoint_file`.
    """

    network: Network
    metadata: dict[str, Any]

    @cached_property
    def prior(self) -> Prior:
        """The prior that the network was trained on, built when first asked for.

        Raises:
            CheckpointError: its class is not known here, or refuses the recorded arguments.
        """
        with _explaining("The checkpoint's network can be used, but not its prior"):
            return _build(priors, self.metadata["prior"])


def save(
    path: AnyPath,
    network: Network,
    prior: Prior,
    *,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    description: str = "",
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    prior_check: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a checkpoint: all of it or, on failure, nothing (an older file of that name stays).

    Args:
        path: where to; missing folders are made.
        network: of a registered class; its state is not changed.
        prior: of a registered class.
        training: a summary of the training. Non-finite numbers here and below become null, as JSON has none.
        metrics: what was measured.
        description: one sentence for people who choose a checkpoint.
        provenance: added to the versions, date and commit that are recorded anyway.
        dtype: how parameters are stored: float32, or bfloat16 or float16 for half the size. Buffers keep
            their own.
        prior_check: what tells data like the prior's from others, a `priorfit.prior_check.PriorCheck.document()`.

    Raises:
        CheckpointError: an unregistered class, arguments that JSON does not hold, weights that are not finite
            or that the network, built again, would not take, or a file that cannot be written.
    """
    with _explaining(f"Nothing was written to '{path}'"):
        document = {
            "schema_version": SCHEMA_VERSION,
            "network": _named(network, networks),
            "prior": _named(prior, priors),
            "training": plain(training or {}),
            "metrics": plain(metrics or {}),
            "description": description,
            "provenance": {**facts(), **plain(provenance or {})},
            **({} if prior_check is None else {"prior_check": prior_check}),
        }
        tensors = _stored(network, dtype)
        _check_fits(tensors, _build_network(document["network"]))
        return write(Path(path), document, tensors)


def read(path: AnyPath) -> Checkpoint:
    """Reads and verifies a checkpoint.

    Raises:
        CheckpointError: no such file, not a checkpoint, damaged, of a newer schema, or of a network that is
            not known here.
    """
    with _explaining(f"Cannot read '{path}'"):
        document, tensors = open_file(Path(path))
        network = _build_network(document["network"])
        _check_fits(tensors, network)
        network.load_state_dict(tensors)
        return Checkpoint(network.eval(), document)


def read_metadata(path: AnyPath) -> dict[str, Any]:
    """The document of a checkpoint, without reading its weights.

    Raises:
        CheckpointError: as in `read`, as far as it concerns the document.
    """
    with _explaining(f"Cannot read '{path}'"):
        return open_file(Path(path), weights=False)[0]


def update_metrics(path: AnyPath, metrics: Mapping[str, Any]) -> Path:
    """Merges newly measured metrics into a checkpoint's document; the weights stay bit for bit.

    Raises:
        CheckpointError: the file cannot be read or written.
    """
    with _explaining(f"The metrics of '{path}' were not updated"):
        document, tensors = open_file(Path(path))
        document["metrics"].update(plain(metrics))
        return write(Path(path), document, tensors)


def update_prior_check(path: AnyPath, prior_check: Mapping[str, Any]) -> Path:
    """Writes what tells data like the prior's from others into a checkpoint's document; the weights stay bit for bit.

    Raises:
        CheckpointError: the file cannot be read or written.
    """
    with _explaining(f"The check of '{path}' was not updated"):
        document, tensors = open_file(Path(path))
        return write(Path(path), {**document, "prior_check": prior_check}, tensors)


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    """Puts `what` in front of the message of a `CheckpointError`."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}") from error


def _named(thing: Registered, registry: Registry[Any]) -> dict[str, Any]:
    """How a document refers to a prior or network. A subclass must not pass for the class it extends."""
    name = getattr(thing, "registered_name", "")
    known = registry.classes.get(name)
    if known is None or known.__qualname__ != type(thing).__qualname__:
        raise CheckpointError(
            f"{type(thing).__qualname__} could not be built again, because it has no name of its own. "
            f"Decorate the class with the {registry.kind} registry's `register(name)`."
        )
    return {"name": name, "arguments": thing.arguments}


def _stored(network: Network, dtype: torch.dtype) -> dict[str, Tensor]:
    """A copy of the network's state on the CPU, its parameters as `dtype`."""
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise CheckpointError(f"dtype must be float32, bfloat16 or float16, not {dtype}.")
    trained = dict(network.named_parameters(remove_duplicate=False))
    tensors = {}
    for name, tensor in network.state_dict().items():
        shrinks = name in trained and tensor.is_floating_point()
        tensors[name] = tensor.detach().to("cpu", dtype if shrinks else tensor.dtype, copy=True).contiguous()
    return tensors


def _build(registry: Registry[Any], part: dict[str, Any]) -> Any:
    """Builds a prior or network from its part of a document."""
    try:
        return registry.build(part["name"], part["arguments"])
    except Exception as error:
        unknown = part["name"] not in registry.classes
        hint = " If the class is your own or from another package, import it first." if unknown else ""
        raise CheckpointError(f"its {registry.kind} '{part['name']}' cannot be built. {error}{hint}") from error


def _build_network(part: dict[str, Any]) -> Network:
    """The network with initial weights, drawn without touching the caller's random state.

    Not on the meta device: its first operations import the compiler, which takes longer than all the rest.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        return _build(networks, part)


def _check_fits(tensors: Mapping[str, Tensor], network: Network) -> None:
    """Raises CheckpointError where `tensors` are not a state that the network can have."""
    expected = network.state_dict()
    if expected.keys() != tensors.keys():
        missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
        raise CheckpointError(
            f"its weights do not fit its network (missing: {', '.join(missing[:3]) or 'none'}; unknown: "
            f"{', '.join(unknown[:3]) or 'none'}). Another version of its code may have written it."
        )
    trained = dict(network.named_parameters(remove_duplicate=False))
    for name, tensor in tensors.items():
        other = expected[name]
        both_float = tensor.is_floating_point() and other.is_floating_point()
        if tensor.shape != other.shape or not (both_float or tensor.dtype == other.dtype):
            found, needed = _kind(tensor), _kind(other)
            raise CheckpointError(f"its tensor {name} is {found}, where its network needs {needed}.")
        # Infinity has its uses in a buffer (masks, open ends), NaN has none anywhere.
        sound = tensor.isfinite() if name in trained else ~tensor.isnan()
        if not sound.all():
            raise CheckpointError(f"its tensor {name} has values that are NaN or infinite.")


def _kind(tensor: Tensor) -> str:
    """A tensor's type and shape, for error messages."""
    return f"{tensor.dtype} {list(tensor.shape)}"
