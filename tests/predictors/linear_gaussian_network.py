"""A stand-in for a network of posteriors that is exact: linear-Gaussian observations of two kinds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from priorfit.checkpoints import Checkpoint
from priorfit.distributions import GaussianMixture
from priorfit.models import Network
from priorfit.sources import Source, unpack

MATRICES = {"position": torch.tensor([[1.0, 0.0]]), "both": torch.tensor([[1.0, 0.5], [0.0, 2.0]])}
NOISES = {"position": torch.tensor([[0.2]]), "both": torch.tensor([[0.5, 0.1], [0.1, 0.3]])}


class LinearGaussianNetwork(Network):
    """Sees z = H x + e of a state of two numbers; keeps the shapes of its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.n_latent, self.bijections, self.prior_kind = 2, ["identity", "identity"], "mixture"
        self.prior_width = 6
        self.sources = [Source("position", 1), Source("both", 2)]
        self.anything = nn.Parameter(torch.zeros(()))  # tells the device
        self.calls: list[tuple[torch.Size, torch.Size]] = []

    def prior_distance(self, prior: Tensor) -> Tensor:
        """The largest mean."""
        return prior[..., 1:3].abs().amax((1, 2))

    def row_distance(self, rows: Tensor) -> Tensor:
        """The largest number observed."""
        return rows[..., :3].abs().amax(-1)

    def compute(self, *observed: Tensor) -> GaussianMixture:
        prior, rows = observed
        self.calls.append((prior.shape, rows.shape))
        belief = GaussianMixture.from_packed(prior, 2)
        for name, (values, present) in unpack(self.sources, rows).items():
            assert (present == present[:1]).all()  # all problems of a batch have the same rows
            for index in present[0].nonzero()[:, 0]:
                belief, _ = belief.update(MATRICES[name], NOISES[name], values[:, index])
        return belief

    def distribution(self, output: GaussianMixture) -> GaussianMixture:
        return output


def linear_gaussian() -> Checkpoint:
    """The stand-in as a checkpoint."""
    return Checkpoint(LinearGaussianNetwork(), {"provenance": {}})
