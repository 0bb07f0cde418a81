"""A network that knows the posterior, and can be made wrong by a known amount."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.distributions import Categorical, Normal

from priorfit.checkpoints import Checkpoint
from priorfit.models import Network, networks
from priorfit.priors import GaussianProcess, Prior, Regression, Task, priors


@networks.register("exact")
class Exact(Network):
    """A Gaussian process's posterior, moved by `shift` standard deviations and `widening` times as wide."""

    def __init__(self, prior: dict, shift: float = 0.0, widening: float = 1.0) -> None:
        super().__init__()
        self.prior, self.shift, self.widening = GaussianProcess(**prior), shift, widening

    def compute(self, *observed: Tensor) -> tuple[Tensor, Tensor]:
        task = Task(Regression(*observed), torch.zeros(observed[2].shape[:2]))
        posterior = self.prior.posterior(task)
        return posterior.mean + self.shift * posterior.stddev, posterior.stddev * self.widening

    def distribution(self, output: tuple[Tensor, Tensor]) -> Normal:
        return Normal(*output)


class WithoutCdf(Normal):
    """A distribution that knows its density only."""

    def cdf(self, value: Tensor) -> Tensor:
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        raise NotImplementedError


@networks.register("density_only")
class DensityOnly(Network):
    """Predicts a wide normal whatever it sees."""

    def __init__(self) -> None:
        super().__init__()

    def compute(self, *observed: Tensor) -> Tensor:
        return torch.zeros(observed[2].shape[:2])

    def distribution(self, output: Tensor) -> WithoutCdf:
        return WithoutCdf(output, 2.0)


@networks.register("even")
class Even(Network):
    """Gives each of four classes the same probability, the second a little more."""

    def compute(self, *observed: Tensor) -> Tensor:
        return torch.tensor([0.0, 1e-7, 0.0, 0.0]).expand(*observed[2].shape[:2], 4)

    def distribution(self, output: Tensor) -> Categorical:
        return Categorical(logits=output.double())


@priors.register("without_reference")
class WithoutReference(GaussianProcess):
    """A Gaussian process that tells neither its posterior nor the law of what it hides."""

    reference = None  # type: ignore[assignment]

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        task = super().sample(batch_size, generator=generator)
        return Task(task.observed, task.hidden)


def gentle(**changes: object) -> GaussianProcess:
    """The setting whose exact NLL is tabulated in the specification: 0.1 / 0.1 / 0.1 on the unit interval."""
    arguments = {"sizes": {"points": 60}, "lengthscale": 0.1, "output_scale": 0.1, "noise": 0.1}
    return GaussianProcess(**{**arguments, **changes})  # type: ignore[arg-type]


def in_memory(network: Network, prior: Prior) -> Checkpoint:
    """A checkpoint that was never in a file."""
    described = {
        kind: {"name": thing.registered_name, "arguments": thing.arguments}
        for kind, thing in (("network", network), ("prior", prior))
    }
    rest = {"training": {}, "description": "", "provenance": {}, "weights_sha256": "0" * 64}
    return Checkpoint(network, {**described, **rest})
