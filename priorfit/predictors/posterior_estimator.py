"""Posteriors of latent vectors under the user's own prior, by one forward pass of a trained network.

Letters: B problems, k components, d latent dimensions, N rows of observations, T prior tokens of C numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.distributions import GaussianMixture, TransformedMixture
from priorfit.predictors.belief_plot import draw_marginals
from priorfit.predictors.evidence_reading import read_rows
from priorfit.predictors.limits import check_count
from priorfit.predictors.loading import PosteriorNetwork, network_on, resolve_device
from priorfit.predictors.mixture_tools import as_mixture, join_mixtures, map_mixture, split_components
from priorfit.predictors.network_estimator import NetworkEstimator
from priorfit.predictors.prior_families import parameter_tokens
from priorfit.predictors.unfamiliar import most_rows, unfamiliarity, warn_of_many_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Posterior = GaussianMixture | TransformedMixture
BEYOND = (
    "The network has no finite posterior here: a prior or an observation is too large, or too far from those that it "
    "was trained on. Change units, or leave that problem out."
)


class PosteriorEstimator(NetworkEstimator):
    """The posterior of a latent vector, given a prior of the user's own and observations.

    Nothing is trained: each `update` is one forward pass for many problems, every one with its own prior.

    Args:
        checkpoint: a name from `priorfit.list_checkpoints()`, the path of a checkpoint file, or what
            `priorfit.load` returned.
        n_components: k of the posterior, where the prior is a mixture. A prior of fewer components is split into
            copies of unequal weights, which leaves its density as it is and gives the posterior more room: a prior of
            one component has a Gaussian posterior otherwise. None for as many as the prior has.
        device: where the network runs: "cpu", "cuda", or "auto" for a GPU if there is one. Posteriors are on the CPU.
        batch_size: problems per forward pass. Larger costs memory.

    Attributes:
        unfamiliarity_: how unlike the draws of the training's prior the problems of the last `update` are, (B,), or a
            number for a single one; 1 in 200 draws is above 1, and a warning tells of such. NaN where the checkpoint
            has no check.
        metadata_: the checkpoint's own description of itself (see `priorfit.checkpoint_file`).

    Example:
        >>> estimator = PosteriorEstimator("dt-sensor-fusion", n_components=4)  # doctest: +SKIP
        >>> prior = MultivariateNormal(torch.zeros(4), torch.eye(4))  # doctest: +SKIP
        >>> belief = estimator.update(prior, {"range": [1.2]})  # doctest: +SKIP
        >>> belief = estimator.update(belief, {"bearing": [0.3]})  # a posterior is the next prior  # doctest: +SKIP

    Source: Whittle et al. 2025, "Distribution Transformers: Fast Approximate Bayesian Inference With On-The-Fly Prior
    Adaptation".
    """

    _purpose, _needs = "give posteriors of latent vectors", ("n_latent", "prior_kind", "sources")
    _left_out = (*NetworkEstimator._left_out, "_opened")

    def __init__(
        self,
        checkpoint: AnyPath | Checkpoint,
        *,
        n_components: int | None = None,
        device: str | torch.device = "auto",
        batch_size: int = 1024,
    ) -> None:
        self.checkpoint = checkpoint
        self.n_components = n_components
        self.device = device
        self.batch_size = batch_size

    def update(self, prior: Any, observations: Mapping[str, ArrayLike]) -> Posterior:
        """The posterior of the latent vector, in its own units.

        Args:
            prior: for a network of mixtures a `GaussianMixture`, a `torch.distributions.MultivariateNormal` or a
                mixture of them (`MixtureSameFamily`), or a posterior that `update` returned. For a network of named
                families the torch distribution of each latent number, or a dictionary of its parameters (see
                `priorfit.predictors.prior_families`), in a list if there are several. Batch shape () or (B,).
            observations: by the name of their source: (size,) for one observation, (N, size) for several, (B, N, size)
                for those of B problems. Sources may be left out; no source at all returns what the network makes of the
                prior alone.

        Returns:
            A mixture of batch shape (B,), or () where neither prior nor observations have a batch.

        Raises:
            CheckpointError: the checkpoint cannot be loaded or serves another purpose.
            TypeError: a prior of the wrong kind.
            ValueError: a prior or observations that cannot be used; the message says what to do.
        """
        check_count("batch_size", self.batch_size)
        network = self._ready()
        tokens = self._tokens(network, prior)  # (T, C) or (B, T, C)
        rows = read_rows(network.sources, observations)  # (N, D) or (B, N, D)
        tokens, rows, alone = _in_one_batch(tokens, rows)
        warn_of_many_rows(most_rows(network.sources, rows), self.metadata_)
        posterior, summary = self._posterior(network, tokens, rows)
        sizes = network.n_observed(tokens, rows)
        scores = unfamiliarity(self.metadata_, network, [summary], [sizes], "problems" if len(rows) > 1 else "problem")
        self.unfamiliarity_ = float(scores[0]) if alone else scores
        return map_mixture(posterior, lambda part: part[0]) if alone else posterior

    def plot(
        self,
        posterior: Posterior,
        prior: Any = None,
        index: int = 0,
        names: Sequence[str] | None = None,
        truth: ArrayLike | None = None,
    ) -> Figure:
        """Draws the density of every latent number under a posterior.

        Args:
            posterior: what `update` returned.
            prior: drawn beside it: one that `update` takes, but no dictionary.
            index: which problem of a batch.
            names: of the latent numbers, d.
            truth: the latent vector where it is known, (d,).

        Raises:
            ImportError: matplotlib is not installed.
            IndexError: no such problem.
            ValueError: other numbers of names or of true values than d.
        """
        if prior is not None and isinstance(posterior, GaussianMixture):
            prior = as_mixture(prior, posterior.event_shape[0], ["identity"] * posterior.event_shape[0])
        return draw_marginals(posterior, prior, index, names, truth)

    def _ready(self) -> PosteriorNetwork:
        """The network; it is loaded at first use, and where another checkpoint was set."""
        if getattr(self, "_opened", self.checkpoint) is not self.checkpoint or not hasattr(self, "metadata_"):
            checkpoint = self._open()
            self._check_purpose(cast(PosteriorNetwork, checkpoint.network))
            self.metadata_ = checkpoint.metadata
            device = resolve_device(self.device)
            self._attach(network_on(checkpoint.network, device), device)
        self._restore()
        self._opened = self.checkpoint
        return self._network

    def _check_purpose(self, network: PosteriorNetwork) -> None:
        """Refuses networks that serve this class and not its subclass."""

    def _tokens(self, network: PosteriorNetwork, prior: Any) -> Tensor:
        """What the network reads of a prior, (T, C) or (B, T, C), float32."""
        if network.prior_kind == "mixture":
            mixture = split_components(as_mixture(prior, network.n_latent, network.bijections), self.n_components)
            return mixture.packed()
        if self.n_components not in (None, network.n_components):
            raise ValueError(
                f"This network's posteriors have {network.n_components} components: leave n_components=None."
            )
        return parameter_tokens(prior, network.bijections[-(network.prior_width // 2) :])

    @torch.inference_mode()
    def _posterior(self, network: PosteriorNetwork, tokens: Tensor, rows: Tensor) -> tuple[Posterior, Tensor | None]:
        """Posteriors of tokens (B, T, C) and rows (B, N, D), a few problems at a time, and their summaries (B, J).

        Raises:
            ValueError: the network has no finite answer.
        """
        size, device = int(self.batch_size), self._device
        try:
            parts = [
                network.with_summary(some.to(device), seen.to(device))
                for some, seen in zip(tokens.split(size), rows.split(size), strict=True)
            ]
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise ValueError(BEYOND) from error
        posterior = join_mixtures([map_mixture(law, Tensor.cpu) for law, _ in parts])
        base = posterior.base if isinstance(posterior, TransformedMixture) else posterior
        if not all(part.isfinite().all() for part in (base.log_weights, base.means, base.scale_trils)):
            raise ValueError(BEYOND)
        summaries = [summary.cpu() for _, summary in parts if summary is not None]
        return posterior, torch.cat(summaries) if summaries else None


def _in_one_batch(tokens: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Tokens (B, T, C) and rows (B, N, D) of as many problems, and whether neither had a batch.

    Raises:
        ValueError: several numbers of problems, or no problem.
    """
    alone = tokens.ndim == rows.ndim == 2
    tokens, rows = (part[None] if part.ndim == 2 else part for part in (tokens, rows))
    if len(tokens) != len(rows) and 1 not in (len(tokens), len(rows)):
        raise ValueError(f"The prior has {len(tokens)} laws and the observations are of {len(rows)} problems.")
    if not (len(tokens) and len(rows)):
        raise ValueError("There is nothing to update: priors and observations of at least one problem are needed.")
    size = max(len(tokens), len(rows))
    return tokens.expand(size, -1, -1), rows.expand(size, -1, -1), alone
