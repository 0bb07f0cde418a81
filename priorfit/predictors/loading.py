"""From what a user names (a checkpoint, a device) to a network that is ready to predict."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorfit.checkpoints import AnyPath, Checkpoint, CheckpointError, read_metadata
from priorfit.distributions import BarDistribution, GaussianMixture, RateLaw, TransformedMixture
from priorfit.hub import list_checkpoints, load, locate
from priorfit.models import Network, networks
from priorfit.sources import Source


class RegressionNetwork(Protocol):
    """What a network must offer to predict tables of finite numbers.

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

    def summary(self, x_context: Tensor, y_context: Tensor, x_query: Tensor) -> Tensor | None:
        """See `Network.summary`."""
        ...

    def n_observed(self, x_context: Tensor, y_context: Tensor, x_query: Tensor) -> Tensor:
        """See `Network.n_observed`."""
        ...


class TableNetwork(Protocol):
    """What a network must offer to predict tables of any kind: it standardises inputs and targets itself.

    Attributes:
        takes_tables: tells it from a `RegressionNetwork`, which need not have this attribute.
        max_features: the largest number of features.
        max_classes: the largest number of classes, 0 if it does not classify.
        n_buckets: of its distributions of numbers, 0 if it does not predict numbers.
    """

    takes_tables: bool
    max_features: int
    max_classes: int
    n_buckets: int

    def encode(self, x_context: Tensor, y_context: Tensor, categorical: Tensor, n_classes: Tensor) -> Any:
        """All that `decode` needs of a `priorfit.priors.task.Table` without queries, of one number of classes."""
        ...

    def decode(self, cache: Any, x_query: Tensor) -> Distribution:
        """The targets at x_query (B, m, F), batch shape (B, m): a `Categorical`, or bars in the units of y_context."""
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

    def summary(self, steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> Tensor | None:
        """See `Network.summary`."""
        ...

    def n_observed(self, steps: Tensor, values: Tensor, query_steps: Tensor, visible: Tensor) -> Tensor:
        """See `Network.n_observed`."""
        ...


class PosteriorNetwork(Protocol):
    """What a network must offer to give posteriors of latent vectors.

    Attributes:
        n_latent: d, numbers of the latent.
        bijections: of each of them, see `priorfit.distributions.TransformedMixture`.
        sources: of its rows of observations.
        prior_kind: "mixture" where it reads the components of a Gaussian mixture, "parameters" where it reads those of
            named families.
        prior_width: C, numbers per prior token.
        n_components: k of its posteriors, for "parameters".
    """

    n_latent: int
    bijections: Sequence[str]
    sources: Sequence[Source]
    prior_kind: str
    prior_width: int
    n_components: int

    def with_summary(self, prior: Tensor, rows: Tensor) -> tuple[GaussianMixture | TransformedMixture, Tensor | None]:
        """Posteriors given prior tokens (B, T, C) and rows (B, N, D), batch shape (B,); see `Network.with_summary`."""
        ...

    def n_observed(self, prior: Tensor, rows: Tensor) -> Tensor:
        """See `Network.n_observed`."""
        ...


class RateNetwork(Protocol):
    """What a network must offer to read the rates of Markov jump processes off paths.

    Attributes:
        max_states: the largest number of states.
    """

    max_states: int

    def with_summary(self, times: Tensor, states: Tensor, n_states: Tensor) -> tuple[RateLaw, Tensor | None]:
        """Rates and initial laws, batch shape (B,), given `priorfit.priors.JumpPaths`; see `Network.with_summary`."""
        ...

    def n_observed(self, times: Tensor, states: Tensor, n_states: Tensor) -> Tensor:
        """See `Network.n_observed`."""
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


def predicts_classes(network: Any) -> bool:
    """Whether a network of tables classifies."""
    return getattr(network, "max_classes", 0) > 0


def predicts_numbers(network: Any) -> bool:
    """Whether a network of tables predicts numbers, as all do that do not say otherwise."""
    return getattr(network, "n_buckets", 1) > 0


def network_class(checkpoint: AnyPath | Checkpoint) -> type[Network] | None:
    """The class of a checkpoint's network, or None where it is not known without a download."""
    if isinstance(checkpoint, Checkpoint):
        return type(checkpoint.network)
    try:
        name = os.fspath(checkpoint)
        held = {entry.name for entry in list_checkpoints() if entry.local}
        path = locate(name) if name in held else Path(name).expanduser()
        return networks.classes.get(read_metadata(path)["network"]["name"])
    except (CheckpointError, TypeError):
        return None


def network_on(network: Network, device: torch.device) -> Any:
    """The network, or a copy of it on another device: others may share the original."""
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
