"""From a prior and observations to the posterior, both mixtures of Gaussians.

Source: Whittle et al. 2025, "Distribution Transformers: Fast Approximate Bayesian Inference With On-The-Fly Prior
Adaptation", for the task. The network differs: where theirs decodes tokens into components, this one updates the given
components in closed form, by observations that it makes up.
Letters: B tasks, T prior tokens, C numbers per token, N rows, D numbers per row, V values per row, k components,
d latent dimensions, F features, W width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorfit.distributions import GaussianMixture, TransformedMixture
from priorfit.distributions.bijections import check_bijections, to_real
from priorfit.models.attention import Block
from priorfit.models.base import Network, networks
from priorfit.models.checks import check_evidence
from priorfit.models.component_features import component_features, n_component_features
from priorfit.models.component_update import ComponentUpdate
from priorfit.models.kernel_sensor import kernel_sensor
from priorfit.models.linear_sensors import LinearSensors
from priorfit.models.mixture_tensors import MixtureTensors, packed_size, rescaled, unpack
from priorfit.models.parameter_prior import ParameterPrior
from priorfit.models.prior_range import PriorRange
from priorfit.models.row_features import RowFeatures
from priorfit.sources import as_sources, row_width

PRIOR_KINDS = ("mixture", "parameters")
QUARTILES = (0.25, 0.5, 0.75)
QUARTILE_RANGE = 1.349  # of a normal law, in standard deviations
NEAR = 2.0  # spreads: observations no farther out are like the prior's
LEARNED = 0.02  # least share of a prior variance that observations take away: less is rounding


@networks.register("mixture_transformer")
class MixtureTransformer(Network):
    """The posterior of a latent vector, a mixture of Gaussians, from its prior and any number of observations.

    1. A prior of a named family is first turned into a mixture; one that is a mixture is taken as it is.
    2. It is updated by what is known in closed form about the observations: `LinearSensors` or a `KernelSensor`.
    3. Components and rows are tokens of a transformer, whose answer for each component is a `ComponentUpdate`.
    Neither the order of components nor that of rows matters. Without rows, the posterior is the prior.

    Args:
        n_latent: d.
        sources: where rows come from, `name`, `size` and `angle` of each, see `priorfit.sources.Source`.
        prior_kind: "mixture" reads priors as packed components, as many as there are; the posterior has as many.
            "parameters" reads transformed parameters of a named family.
        n_parameters: C for "parameters".
        n_components: k for "parameters".
        bijections: from the latent numbers to those that the mixtures are over, see `TransformedMixture`; by default
            "identity" for all.
        kernel_noise: None, or where latents are the value of a Gaussian process and its lengthscale the variance of the
            observations' noise, see `KernelSensor`.
        width: W.
        n_layers: number of transformer blocks.
        n_heads: attention heads, a divisor of `width`.
        hidden: width of their feed-forward layers; 4 * width by default.

    Raises:
        ValueError: impossible sizes, sources or bijections, or an unknown kind of prior.
    """

    preparation_context = None  # the scales of rows are needed, too
    summary_names = (
        "distance of the prior from those of the training",
        "distance of observations from those of the training",
        "spread of observations",
        "conflict of prior and observations",
        "narrowing of the prior by observations",
    )
    latent_loc: Tensor
    latent_scale: Tensor

    def __init__(
        self,
        n_latent: int,
        sources: Sequence[Mapping[str, Any]],
        prior_kind: str = "mixture",
        n_parameters: int = 2,
        n_components: int = 5,
        bijections: Sequence[str] | None = None,
        kernel_noise: float | None = None,
        width: int = 64,
        n_layers: int = 4,
        n_heads: int = 4,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        hidden = 4 * width if hidden is None else hidden
        if prior_kind not in PRIOR_KINDS:
            raise ValueError(f"prior_kind must be one of {', '.join(PRIOR_KINDS)}, not {prior_kind!r}.")
        if min(n_latent, n_parameters, n_components, width, n_layers, n_heads, hidden) < 1 or width % n_heads:
            raise ValueError("Sizes must be positive, and width a multiple of n_heads.")
        self.n_latent, self.prior_kind, self.n_components = n_latent, prior_kind, n_components
        self.sources = as_sources(sources)
        self.bijections = check_bijections(["identity"] * n_latent if bijections is None else bijections, n_latent)
        parametric = prior_kind == "parameters"
        self.prior = ParameterPrior(n_parameters, n_components, n_latent, width) if parametric else None
        self.prior_width = n_parameters if parametric else packed_size(n_latent)  # C
        self.prior_range = PriorRange(n_parameters) if parametric else PriorRange(2 * n_latent, first=1)
        self.rows = RowFeatures(self.sources)
        self.linear = LinearSensors(self.rows.owner, n_latent) if kernel_noise is None else None
        self.kernel = None if kernel_noise is None else kernel_sensor(self.sources, self.bijections, kernel_noise)
        n_features = 2 * n_component_features(n_latent) + (n_parameters if parametric else 0)
        self.component_embedding = embedding(n_features, width)
        self.row_embedding = embedding(self.rows.n_values + len(self.sources), width)
        self.sum_of_rows = nn.Linear(width, width)
        n_coordinates = 2 * (n_latent + self.rows.n_values)
        self.blocks = nn.ModuleList(Block(width, n_heads, hidden, n_coordinates) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.update = ComponentUpdate(width, n_latent)
        self.register_buffer("latent_loc", torch.zeros(n_latent))
        self.register_buffer("latent_scale", torch.ones(n_latent))

    def fit_to_prior(
        self, observed: Sequence[tuple[Tensor, ...]], hidden: Sequence[Tensor], laws: Sequence[Distribution | None]
    ) -> None:
        """Takes the scales of latents, of parameters and of rows from tasks, and what is linear about rows.

        Raises:
            ValueError: the prior's tokens, rows or latents have other sizes than this network's.
        """
        for (prior, rows), latents in zip(observed, hidden, strict=True):
            self.check(prior, rows)
            if latents.shape[-1] != self.n_latent:
                raise ValueError(f"The prior's latents have {latents.shape[-1]} numbers: set n_latent to that.")
        latents = to_real(self.bijections, torch.cat(list(hidden)))
        low, middle, high = latents.quantile(torch.tensor(QUARTILES, device=latents.device), dim=0)
        self.latent_loc.copy_(middle)
        self.latent_scale.copy_((high - low) / QUARTILE_RANGE)  # deviations may not exist
        all_rows = torch.cat([rows.flatten(0, 1) for _, rows in observed])
        self.rows.fit(all_rows)
        if self.linear is not None:
            latents = (latents - self.latent_loc) / self.latent_scale
            parts = zip(latents.split([len(rows) for _, rows in observed]), observed, strict=True)
            behind = torch.cat([part[:, None].expand(-1, rows.shape[1], -1).flatten(0, 1) for part, (_, rows) in parts])
            values, indicators = self.rows(all_rows)
            self.linear.fit(values, indicators, behind)
        tokens = torch.cat([prior.flatten(0, 1) for prior, _ in observed])
        self.prior_range.fit(tokens)
        if self.prior is not None:
            self.prior.fit(tokens)

    def summary(self, prior: Tensor, rows: Tensor) -> Tensor:
        """How far prior and rows are from those of the training, and how they fit together, (B, 5)."""
        return self._summary(prior, rows, self.compute(prior, rows))

    def with_summary(self, prior: Tensor, rows: Tensor) -> tuple[Distribution, Tensor]:
        """What `forward` and `summary` return."""
        self.check(prior, rows)
        output = self.compute(prior, rows)
        return self.distribution(output), self._summary(prior, rows, output)

    def n_observed(self, prior: Tensor, rows: Tensor) -> Tensor:
        """The number of rows, (B,)."""
        return torch.full((len(rows),), rows.shape[1], device=rows.device)

    def _summary(self, prior: Tensor, rows: Tensor, output: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """What `summary` returns, given the posterior."""
        near = math.sqrt(2 * math.log(max(2, prior[0].numel())))  # about the largest of so many normal numbers
        far = self.prior_range(prior).clamp(min=near).log()  # to be nearer is not unusual
        if not rows.shape[1]:
            return torch.cat([far[:, None], torch.full((len(rows), 4), torch.nan, device=rows.device)], 1)
        values = self.rows(rows)[0]  # cosines and sines are never far
        looks = values.abs().amax((1, 2)).clamp(min=NEAR), values.square().mean((1, 2)).sqrt().clamp(min=0.1)
        posterior = self._standardized(MixtureTensors(*output))
        return torch.stack([far, *(part.log() for part in looks), *conflict(self._read(prior.float()), posterior)], 1)

    def check(self, prior: Tensor, rows: Tensor) -> None:
        """Refuses what is not as in `Evidence`, with the sizes of this network."""
        n_tokens = None if self.prior is None else 1
        check_evidence(prior, rows, n_tokens=n_tokens, prior_width=self.prior_width, row_width=row_width(self.sources))
        if self.kernel is not None:
            self.kernel.check(rows)

    def compute(self, prior: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights (B, k), means (B, k, d) and scale_trils (B, k, d, d); arguments as in `Evidence`."""
        with torch.autocast(rows.device.type, enabled=False):
            given, (values, indicators) = self._read(prior.float()), self.rows(rows.float())
            informed = self._inform(given, rows.float(), values, indicators)
            features = [component_features(given), component_features(informed)]
            if self.prior is not None:
                parameters = self.prior.standardized(prior.float())
                features.append(parameters[:, None].expand(-1, self.n_components, -1))
            places, values = informed.means.asinh(), values.asinh()
        components = self.component_embedding(torch.cat(features, -1))
        tokens = self._transform(components, self.row_embedding(torch.cat([values, indicators], -1)), places, values)
        with torch.autocast(rows.device.type, enabled=False):
            posterior = self.update(informed, tokens.float(), seen=rows.shape[1] > 0)
            log_weights, means, scale_trils = rescaled(posterior, self.latent_loc, self.latent_scale)
            return log_weights, means, scale_trils

    def distribution(self, output: tuple[Tensor, Tensor, Tensor]) -> GaussianMixture | TransformedMixture:
        """The law of the latents with these log weights, means and scale_trils, batch shape (B,)."""
        mixture = GaussianMixture(*output, validate_args=False)
        plain = all(name == "identity" for name in self.bijections)
        return mixture if plain else TransformedMixture(mixture, self.bijections)

    def _read(self, prior: Tensor) -> MixtureTensors:
        """The prior as a mixture over standardised latents."""
        if self.prior is not None:
            return self.prior(prior)
        return self._standardized(unpack(prior, self.n_latent))

    def _standardized(self, mixture: MixtureTensors) -> MixtureTensors:
        return rescaled(mixture, -self.latent_loc / self.latent_scale, 1 / self.latent_scale)

    def _inform(self, mixture: MixtureTensors, rows: Tensor, values: Tensor, indicators: Tensor) -> MixtureTensors:
        """The mixture over standardised latents after what is known in closed form about the rows."""
        if self.linear is not None:
            return self.linear(mixture, values, indicators)
        assert self.kernel is not None
        return self._standardized(self.kernel(rescaled(mixture, self.latent_loc, self.latent_scale), rows))

    def _transform(self, components: Tensor, rows: Tensor, places: Tensor, values: Tensor) -> Tensor:
        """Tokens (B, k, W) of components after attention among them and rows.

        Attention sees where components are and what rows say also directly, in columns of their own.

        Args:
            components: tokens, (B, k, W).
            rows: tokens, (B, N, W).
            places: of components, (B, k, d).
            values: of rows, (B, N, V).
        """
        components = components + self.sum_of_rows(rows.sum(1, keepdim=True))
        tokens = torch.cat([components, rows.to(components.dtype)], 1)
        (places, values), pad = (torch.cat([part, part.square()], -1) for part in (places, values)), nn.functional.pad
        coordinates = torch.cat([pad(places, (0, values.shape[-1])), pad(values, (places.shape[-1], 0))], 1)
        *blocks, last = self.blocks
        for block in blocks:
            tokens, _ = block(tokens, coordinates, tokens.shape[1])
        cache = last.attention.keys_values(last.attention_norm(tokens), coordinates)  # type: ignore[union-attr]
        k = components.shape[1]
        components, _ = last(tokens[:, :k], coordinates[:, :k], k, cache)  # nobody asks what rows become
        return self.norm(components)


def conflict(prior: MixtureTensors, posterior: MixtureTensors) -> tuple[Tensor, Tensor]:
    """How surprising it is where observations moved a mixture, and how much they narrowed it, both (B,) logarithms.

    Means m move by what has the covariance C₀ - C₁ under the prior predictive law if all is Gaussian, so
    (m₁ - m₀)ᵀ (C₀ - C₁)⁻¹ (m₁ - m₀) / d is about 1 unless prior and observations contradict each other. Source: Evans
    and Moshonov 2006, "Checking for prior-data conflict". NaN where a prior's covariance is singular to rounding.
    """
    (first, before), (second, after) = (moments(mixture) for mixture in (prior, posterior))
    factors, failures = torch.linalg.cholesky_ex(before)
    singular = failures > 0  # no reason to refuse an update
    white = torch.linalg.inv(torch.where(singular[:, None, None], torch.eye(before.shape[-1]).to(before), factors))
    moved = (white @ (second - first)[..., None])[..., 0]  # (B, d)
    shares, axes = torch.linalg.eigh(white @ after @ white.mT)
    along = (axes.mT @ moved[..., None])[..., 0].square() / (1 - shares).clamp(min=LEARNED)
    surprise, narrowing = (along.mean(-1) + 1e-3).log(), shares.clamp(min=1e-9).log().mean(-1)
    return tuple(part.float().masked_fill(singular, torch.nan) for part in (surprise, narrowing))


def moments(mixture: MixtureTensors) -> tuple[Tensor, Tensor]:
    """Mean (B, d) and covariance (B, d, d) of mixtures."""
    law = GaussianMixture(*(part.double() for part in mixture), validate_args=False)
    return law.mean, law.covariance_matrix


def embedding(n_features: int, width: int) -> nn.Sequential:
    """Maps features to tokens."""
    return nn.Sequential(nn.Linear(n_features, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
