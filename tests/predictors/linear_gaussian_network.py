"""A stand-in for a network of posteriors that is exact: linear-Gaussian observations of two kinds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from priorfit.checkpoints import Checkpoint
from priorfit.distributions import GaussianMixture
from priorfit.models import Network
from priorfit.prior_check import LEVELS
from priorfit.sources import Source, unpack

MATRICES = {"position": torch.tensor([[1.0, 0.0]]), "both": torch.tensor([[1.0, 0.5], [0.0, 2.0]])}
NOISES = {"position": torch.tensor([[0.2]]), "both": torch.tensor([[0.5, 0.1], [0.1, 0.3]])}


class LinearGaussianNetwork(Network):
    """Sees z = H x + e of a state of two numbers; keeps the shapes of its arguments."""

    summary_names = ("largest mean of the prior", "largest number observed")

    def __init__(self) -> None:
        super().__init__()
        self.n_latent, self.bijections, self.prior_kind = 2, ["identity", "identity"], "mixture"
        self.prior_width = 6
        self.sources = [Source("position", 1), Source("both", 2)]
        self.anything = nn.Parameter(torch.zeros(()))  # tells the device
        self.calls: list[tuple[torch.Size, torch.Size]] = []

    def summary(self, *observed: Tensor) -> Tensor:
        prior, rows = observed
        seen = rows[..., :3].flatten(1).abs().amax(-1) if rows.shape[1] else torch.full((len(rows),), torch.nan)
        return torch.stack([prior[..., 1:3].abs().amax((1, 2)), seen], 1)

    def n_observed(self, *observed: Tensor) -> Tensor:
        return torch.full((len(observed[1]),), observed[1].shape[1])

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


def linear_gaussian_with_check() -> Checkpoint:
    """The same for a prior whose summaries are normal with a standard deviation of 3."""
    quantiles = 3 * torch.distributions.Normal(0, 1).icdf(torch.tensor(LEVELS))
    check = {
        "names": LinearGaussianNetwork.summary_names,
        "sizes": [1.0],
        "quantiles": quantiles.expand(1, 2, -1).tolist(),
        "thresholds": [3.5],
    }
    return Checkpoint(LinearGaussianNetwork(), {"provenance": {}, "prior_check": check})
