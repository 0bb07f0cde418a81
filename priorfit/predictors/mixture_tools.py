"""What estimators do to Gaussian mixtures: read them from torch's distributions, split, join and move them.

Letters: k components, d latent dimensions, "…" batch shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily, MultivariateNormal, Normal

from priorfit.distributions import GaussianMixture, TransformedMixture
from priorfit.predictors.limits import check_count

M = TypeVar("M", bound=GaussianMixture | TransformedMixture)


def as_mixture(prior: Any, n_latent: int, bijections: Sequence[str]) -> GaussianMixture:
    """The mixture that a prior is, of batch shape () or (B,), float32, on the CPU.

    Args:
        prior: a `GaussianMixture`, a `TransformedMixture` with the network's bijections, a `MultivariateNormal`, a
            `MixtureSameFamily` of these, or, for one latent number, a `Normal`.
        n_latent: d of the network.
        bijections: of the network; a mixture is over the numbers that they lead to.

    Raises:
        TypeError: a prior of another kind.
        ValueError: another number of dimensions, weights of zero, or numbers that are not finite.
    """
    if isinstance(prior, TransformedMixture):
        if list(prior.bijections) != list(bijections):
            raise ValueError(f"The prior has the bijections {list(prior.bijections)}, the network {list(bijections)}.")
        prior = prior.base
    mixture = map_mixture(_mixture(prior), lambda part: part.detach().cpu().float())
    if mixture.event_shape != (n_latent,) or len(mixture.batch_shape) > 1:
        raise ValueError(
            f"The prior must be over vectors of {n_latent} numbers, with batch shape () or (B,); it is over "
            f"{tuple(mixture.event_shape)}, with batch shape {tuple(mixture.batch_shape)}."
        )
    if mixture.log_weights.isneginf().any():
        raise ValueError("The prior has components of weight zero: leave them out, or give them a small weight.")
    return GaussianMixture(mixture.log_weights, mixture.means, mixture.scale_trils)  # checked again: it may be ours


def _mixture(prior: Any) -> GaussianMixture:
    """A mixture from those of torch's distributions that are one."""
    if isinstance(prior, GaussianMixture):
        return prior
    if isinstance(prior, Normal):
        prior = MultivariateNormal(prior.loc[..., None], scale_tril=prior.scale[..., None, None])
    if isinstance(prior, MultivariateNormal):
        means = prior.loc[..., None, :]  # (…, 1, d)
        return GaussianMixture(means.new_zeros(means.shape[:-1]), means, prior.scale_tril[..., None, :, :])
    parts = prior.component_distribution if isinstance(prior, MixtureSameFamily) else None
    if isinstance(parts, MultivariateNormal):
        return GaussianMixture(prior.mixture_distribution.logits.log_softmax(-1), parts.loc, parts.scale_tril)
    raise TypeError(
        "This network takes priors that are mixtures of Gaussians: a priorfit.distributions.GaussianMixture (its "
        "from_moments takes weights, means and covariances), a MultivariateNormal or a MixtureSameFamily of these, "
        f"not {prior!r:.80}."
    )


def split_components(mixture: GaussianMixture, n_components: int | None) -> GaussianMixture:
    """The same law with `n_components` components, where it has fewer: copies of its own, as many of each as fit.

    The m copies of a component have weights in proportions 1 … m: equal ones would stay equal in a network that
    does not know the order of components.

    Raises:
        ValueError: the mixture has more, or no positive whole number.
    """
    k = mixture.n_components
    if n_components is None:
        return mixture
    check_count("n_components", n_components)
    if n_components == k:
        return mixture
    if n_components < k:
        raise ValueError(f"The prior has {k} components, and n_components={n_components} are fewer: leave it None.")
    owner = torch.arange(n_components) % k  # of each new component, the old one
    share = 1.0 + torch.arange(n_components) // k  # 1 … m
    share = share / share.new_zeros(k).index_add(0, owner, share)[owner]
    log_weights = mixture.log_weights[..., owner] + share.log()
    means, scale_trils = mixture.means[..., owner, :], mixture.scale_trils[..., owner, :, :]
    return GaussianMixture(log_weights, means, scale_trils, validate_args=False)


def floor_weights(mixture: GaussianMixture, least: float) -> GaussianMixture:
    """The mixture with no weight below `least`, so that a component that explained nothing may come back."""
    log_weights = mixture.log_weights.clamp(min=torch.tensor(least).log().item()).log_softmax(-1)
    return GaussianMixture(log_weights, mixture.means, mixture.scale_trils, validate_args=False)


def map_mixture(mixture: M, change: Callable[[Tensor], Tensor]) -> M:
    """The mixture with every parameter changed: moved, indexed or converted."""
    return join_mixtures([mixture], lambda parts: change(parts[0]))


def join_mixtures(mixtures: Sequence[M], join: Callable[[list[Tensor]], Tensor] = torch.cat) -> M:
    """Mixtures as one, each of its parameters made from theirs; by default with all their batches."""
    bases = [mixture.base if isinstance(mixture, TransformedMixture) else mixture for mixture in mixtures]
    columns = zip(*((one.log_weights, one.means, one.scale_trils) for one in bases), strict=True)
    joined = GaussianMixture(*(join(list(column)) for column in columns), validate_args=False)
    first = mixtures[0]
    return TransformedMixture(joined, first.bijections) if isinstance(first, TransformedMixture) else joined  # type: ignore[return-value]
