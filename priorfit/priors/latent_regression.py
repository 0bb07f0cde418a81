"""Latent numbers as targets of a regression: what a prior-data fitted network is given of such problems.

Letters: B tasks, T prior tokens, C numbers per token, N rows, D numbers per row, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Generator, Tensor

from priorfit.distributions.bijections import check_bijections, to_real
from priorfit.priors.base import Prior, check_batch_size, priors
from priorfit.priors.latent_prior import LatentPrior
from priorfit.priors.task import Evidence, Regression, Task


@priors.register("latent_regression")
class LatentRegression(Prior):
    """One latent number, made real by a bijection, as the target at a query whose features are all that is observed.

    There is no context. A network for regression so learns the posterior given the prior's parameters and the
    observations, which stand side by side among the features: the baseline that distribution transformers are
    compared with, here told the prior as they are (in Whittle et al. 2025, section 4.1, it is not).

    Args:
        latents: `{prior: …}` and the arguments of a registered prior over one latent number. All tasks have its
            largest number of rows.
        bijection: from the latent number to the target: "identity", "log" or "logit".

    Attributes:
        latent_prior: the prior over the latent number.
        n_features: F = T C + N D.

    Raises:
        ValueError: a prior that is not over one latent number, or an unknown bijection.
    """

    def __init__(self, latents: Mapping[str, Any], bijection: str = "identity") -> None:
        given = dict(latents)
        inner = priors.build(str(given.pop("prior", "")), given)
        if not isinstance(inner, LatentPrior):
            raise ValueError(f"latents must name a prior over latent vectors, and '{inner.registered_name}' is none.")
        self.bijections = check_bijections(bijection, 1)
        self.latent_prior = inner.with_context(inner.rows[1], 1)
        task = self.latent_prior.sample(1, generator=Generator().manual_seed(0))
        if task.hidden.shape[1] != 1:
            raise ValueError(f"latents must be of one number; those of '{inner.registered_name}' have several.")
        self.n_features = features(task.observed).shape[-1]

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks of one query each."""
        task = self.latent_prior.sample(check_batch_size(batch_size), generator=generator)
        x = features(task.observed)
        nothing = x.new_zeros(batch_size, 0)
        return Task(Regression(nothing[..., None].expand(-1, -1, x.shape[-1]), nothing, x), self.target(task.hidden))

    def with_context(self, n_context: int, n_query: int) -> Self:
        """This prior: there is neither a context nor a choice of queries."""
        return self.replace()

    def shifts(self) -> dict[str, Prior]:
        """Those of the prior over the latent number."""
        name = self.arguments["latents"]["prior"]
        shifts = self.latent_prior.shifts()
        return self.changed({key: {"latents": {"prior": name, **one.arguments}} for key, one in shifts.items()})

    def context_sizes(self) -> list[int]:
        """None but 0."""
        return [0]

    def target(self, latents: Tensor) -> Tensor:
        """The targets (…, 1) that stand for latents (…, 1)."""
        return to_real(self.bijections, latents)


def features(observed: Evidence) -> Tensor:
    """Prior tokens and rows side by side, (B, 1, F)."""
    return torch.cat([part.flatten(1) for part in observed], 1)[:, None]
