"""From what a user names (a checkpoint, a device) to a network that is ready to predict."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from priorfit.checkpoints import AnyPath, Checkpoint, CheckpointError
from priorfit.distributions import BarDistribution
from priorfit.hub import load


class RegressionNetwork(Protocol):
    """What a network must offer to predict tables.

    Attributes:
        max_features: the largest number of features.
        x_loc, x_scale, y_loc, y_scale: mean and standard deviation of its prior's inputs and targets, ().
    """

    max_features: int
    x_loc: Tensor
    x_scale: Tensor
    y_loc: Tensor
    y_scale: Tensor

    def encode(self, x_context: Tensor, y_context: Tensor) -> Any:
        """All that `decode` needs of x_context (B, n, F) and y_context (B, n)."""
        ...

    def decode(self, cache: Any, x_query: Tensor) -> BarDistribution:
        """The targets at x_query (B, m, F), batch shape (B, m), given an encoded context."""
        ...


class CurveNetwork(Protocol):
    """What a network must offer to extrapolate learning curves.

    Attributes:
        horizon: the largest step that it was trained on.
    """

    horizon: float

    def __call__(self, steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> BarDistribution:
        """The values at query_steps (B, m), batch shape (B, m), each given the first `visible` (B, m) observations.

        Observations are steps (B, n) and values (B, n); n = 0 and visible = 0 ask for the prior.
        """
        ...


def open_checkpoint(checkpoint: AnyPath | Checkpoint, needs: Sequence[str], purpose: str) -> Checkpoint:
    """The checkpoint of a name or path, or the given one.

    Args:
        checkpoint: a name, a path, or a checkpoint.
        needs: the attributes that tell a network that serves the purpose.
        purpose: what the network is for, in error messages: "predict tables".

    Raises:
        CheckpointError: it cannot be loaded, or its network does not serve the purpose.
        TypeError: neither a name, nor a path, nor a checkpoint.
    """
    if not isinstance(checkpoint, str | os.PathLike | Checkpoint):
        raise TypeError(
            "checkpoint must be a name from priorfit.list_checkpoints(), the path of a checkpoint file, or "
            f"what priorfit.load returned, not {checkpoint!r}."
        )
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load(checkpoint)
    if not all(hasattr(loaded.network, name) for name in needs):
        raise CheckpointError(
            f"The network of this checkpoint, a {type(loaded.network).__name__}, does not {purpose}. "
            "Choose one that does from priorfit.list_checkpoints()."
        )
    return loaded


def network_on(checkpoint: Checkpoint, device: torch.device) -> Any:
    """The checkpoint's network, or a copy of it on another device: others may share the original."""
    network = checkpoint.network
    if next(network.parameters()).device != device:
        network = copy.deepcopy(network).to(device)
    return network


def resolve_device(device: str | torch.device) -> torch.device:
    """A device that is there; "auto" is the GPU where there is one, else the CPU.

    Raises:
        ValueError: no such device, or not on this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # torch raises all three
        raise ValueError(f"device={device!r} cannot be used here; use 'cpu' or 'auto'. {error}") from error
