"""What all estimators do with a trained network: find it, and leave it out of pickles."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from sklearn.base import BaseEstimator

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.predictors.limits import warn_user
from priorfit.predictors.loading import network_on, open_checkpoint, resolve_device


class NetworkEstimator(BaseEstimator):
    """Base of the estimators that predict with the network of a checkpoint.

    Pickles hold the data, and the network only where it was given as an object. Otherwise it is found again
    through `checkpoint` when the restored estimator first predicts. A subclass says what it needs of a network,
    calls `_open` and `_attach` in `fit`, and `_restore` before it predicts.

    Attributes:
        checkpoint, device: arguments of every subclass.
        metadata_: the checkpoint's own description of itself (see `priorfit.checkpoint_file`); set by `fit`.
    """

    checkpoint: AnyPath | Checkpoint
    device: str | torch.device
    metadata_: dict[str, Any]

    _purpose: ClassVar[str]  # in error messages
    _needs: ClassVar[tuple[str, ...]]  # attributes of networks that serve it
    _left_out: ClassVar[tuple[str, ...]] = ("_network", "_device")  # of pickles

    def _open(self) -> Checkpoint:
        """The checkpoint, whose network serves the purpose."""
        return open_checkpoint(self.checkpoint, self._needs, self._purpose)

    def _attach(self, network: Any, device: torch.device) -> None:
        """Sets what depends on the device, and what a pickle leaves out."""
        self._network, self._device = network, device

    def to(self, device: str | torch.device) -> Self:
        """Moves the network, and what was computed with it, to another device; returns the estimator itself.

        Args:
            device: "cpu", "cuda", or "auto" for a GPU if there is one.

        Raises:
            ValueError: no such device, or not on this machine.
        """
        target = resolve_device(device)
        if hasattr(self, "metadata_"):
            self._restore()
            self._attach(network_on(self._network, target), target)
        self.device = device
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the network and what was computed with it."""
        state: dict[str, Any] = super().__getstate__()  # pyright: ignore[reportAssignmentType]
        return {key: value for key, value in state.items() if key not in self._left_out}

    def _restore(self) -> None:
        """After unpickling, finds the network again."""
        if hasattr(self, "_network"):
            return
        checkpoint = self._open()
        if not self._fitted_with(checkpoint):
            warn_user(
                f"The checkpoint {self.checkpoint!r} is no longer the one that this estimator was fitted "
                "with: predictions may differ from then. Fit again to be rid of this warning."
            )
        self._attach_network_of(checkpoint)

    def _fitted_with(self, checkpoint: Checkpoint) -> bool:
        """Whether it is the checkpoint that `fit` used."""
        keys = "provenance", "network", "weights_sha256"
        return all(checkpoint.metadata.get(key) == self.metadata_.get(key) for key in keys)

    def _attach_network_of(self, checkpoint: Checkpoint) -> None:
        """Attaches its network, on the CPU where the estimator's own device is not there."""
        try:
            device = resolve_device(self.device)
        except ValueError:  # it was written on a machine with a GPU
            device = torch.device("cpu")
        self._attach(network_on(checkpoint.network, device), device)
