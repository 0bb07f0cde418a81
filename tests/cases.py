"""Shared cases: one line here puts a prior, network or distribution through the contract of its family.

Contracts: `priors/test_priors.py`, `models/test_networks.py`, `distributions/test_distributions.py`.
Letters: B tasks, n context rows, m queries, F features, K buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Generator, Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, StudentT
from torch.nn import functional

from priorfit.distributions import BarDistribution, GaussianMixture, RateLaw, TransformedMixture
from priorfit.models import Network, networks
from priorfit.priors import Prior, priors
from priorfit.priors.regression_prior import RegressionPrior
from priorfit.sources import as_sources, pack

Observed = tuple[Tensor, ...]
TINY = 1e-3  # p-value below which a test that should pass one time in a thousand is taken to fail


@dataclass(frozen=True)
class PriorCase:
    """A registered prior with a small configuration."""

    id: str
    name: str
    arguments: dict[str, Any]

    def build(self) -> Prior:
        return priors.build(self.name, self.arguments)


@dataclass(frozen=True)
class NetworkCase:
    """A registered network with a small configuration, and something for it to observe."""

    id: str
    name: str
    observe: Callable[[Generator], Observed]
    arguments: dict[str, Any] = field(default_factory=dict)
    may_miss: tuple[int, ...] = ()  # which of the observed parts may have NaN, for missing values
    rounding: float = 1e-5  # tolerance where batches of another shape are compared

    def build(self, *, trained: bool = True) -> Network:
        """The network; `trained` moves every parameter: layers of zeros hide what is behind them."""
        network = networks.build(self.name, self.arguments)
        return perturbed(network) if trained else network


@dataclass(frozen=True)
class DistributionCase:
    """A distribution of the project, batch shape (2, 3)."""

    id: str
    build: Callable[[], Distribution]


def regression(n: int = 5, m: int = 4, n_features: int = 2, batch: int = 3) -> Callable[[Generator], Observed]:
    """What a regression network observes: x_context (B, n, F), y_context (B, n), x_query (B, m, F)."""

    def observe(generator: Generator) -> Observed:
        rows = torch.randn(batch, n + m, n_features + 1, generator=generator)
        return rows[:, :n, :-1], rows[:, :n, -1], rows[:, n:, :-1]

    return observe


def tables(
    n_classes: int, n: int = 9, m: int = 4, n_features: int = 4, batch: int = 3
) -> Callable[[Generator], Observed]:
    """What a network for tables observes: x_context (B, n, F), y_context, x_query, categorical, n_classes."""

    def observe(generator: Generator) -> Observed:
        x = torch.randn(batch, n + m, n_features, generator=generator)
        x[..., 0] = (2 * x[..., 0]).round().clamp(-2, 2) + 2  # five categories
        x[torch.rand(x.shape, generator=generator) < 0.1] = torch.nan
        y = torch.randn(batch, n, generator=generator)
        if n_classes:
            y = torch.arange(n).remainder(n_classes).float().expand(batch, n)
        categorical = torch.zeros(batch, n_features, dtype=torch.bool)
        categorical[:, 0] = True
        return x[:, :n], y, x[:, n:], categorical, torch.full((batch,), n_classes)

    return observe


def curves(n: int = 6, m: int = 4, batch: int = 3) -> Callable[[Generator], Observed]:
    """What a network for curves observes: steps and values (B, n), query_steps and visible (B, m)."""

    def observe(generator: Generator) -> Observed:
        gaps, values = torch.rand(2, batch, n, generator=generator)
        steps = (1 + 4 * gaps).floor().cumsum(1)  # some are left out, others in each curve
        visible = torch.randint(n + 1, (batch, m), generator=generator)
        ahead = 1 + 3 * torch.rand(batch, m, generator=generator)
        return steps, values, torch.nn.functional.pad(steps, (1, 0)).gather(1, visible) + ahead, visible

    return observe


def jump_paths(n_states: int = 3, n: int = 6, length: int = 9, batch: int = 3) -> Callable[[Generator], Observed]:
    """What a network for jump processes observes: times and states (B, P, L), n_states (B,)."""

    def observe(generator: Generator) -> Observed:
        times = torch.rand(batch, n, length, generator=generator).add(0.1).cumsum(-1)
        states = torch.randint(n_states, (batch, n, length), generator=generator)
        ends = torch.randint(2, length + 1, (batch, n, 1), generator=generator)
        return times, states.masked_fill(torch.arange(length) >= ends, -1), torch.full((batch,), n_states)

    return observe


def evidence(k: int | None, d: int, sources: list[dict[str, Any]], n: int = 3, batch: int = 3) -> Callable:
    """What a network for latents observes: a prior (B, T, C), and rows (B, N, D), all of the first source.

    The prior is a mixture of k components over d numbers, or two parameters of a named family where k is None.
    """

    def observe(generator: Generator) -> Observed:
        prior = torch.randn(batch, 1, 2, generator=generator)
        if k is not None:
            prior = 0.5 * torch.randn(batch, k, 1 + d + d * (d + 1) // 2, generator=generator)
            prior[..., 0] = prior[..., 0].log_softmax(-1)
        values = torch.randn(batch, n, sources[0]["size"], generator=generator)
        return prior, pack(as_sources(sources), {sources[0]["name"]: values})

    return observe


def uneven_bars() -> BarDistribution:
    """Uneven borders and masses, moved and scaled differently in each of its batch, float64."""
    generator = seeded(7)
    borders = torch.rand(13, generator=generator, dtype=torch.float64).add(0.05).cumsum(0) - 4
    logits = torch.randn(2, 3, 12, generator=generator, dtype=torch.float64)
    return BarDistribution(logits, borders, torch.tensor([-1.0, 0.0, 5.0]), torch.tensor([[0.5], [3.0]]))


def gaussian_mixture(d: int = 2, k: int = 3) -> GaussianMixture:
    """A mixture of k correlated Gaussians over d numbers, float64."""
    options: dict[str, Any] = {"dtype": torch.float64, "generator": seeded(8)}
    log_weights = torch.randn(2, 3, k, **options).log_softmax(-1)
    means = torch.randn(2, 3, k, d, **options)
    root = 0.4 * torch.randn(2, 3, k, d, d, **options).tril(-1)
    return GaussianMixture(log_weights, means, root + torch.diag_embed(0.3 + 0.2 * means.cos().abs()))


def rate_law(n_states: int = 3) -> RateLaw:
    """Laws of the rates of a Markov jump process, two log-normals each, float64."""
    generator, options = seeded(9), {"dtype": torch.float64}
    absent, first, second = torch.randn(3, 2, 3, n_states, n_states, generator=generator, **options)
    log_weights = torch.stack([first, second], -1).log_softmax(-1)
    locs, scales = torch.stack([second, first], -1), torch.stack([0.2 + 0.1 * first.abs(), 0.3 + 0 * first], -1)
    return RateLaw(absent, log_weights, locs, scales, 1 + absent.diagonal(dim1=-2, dim2=-1).exp())


DRAWN = {
    "kernel": ["rbf", "matern12", "matern32", "matern52"],
    "lengthscale": {"law": "gamma", "concentration": 3.0, "rate": 6.0},
    "output_scale": {"law": "inverse_gamma", "concentration": 3.0, "rate": 2.0},
    "noise": {"law": "log_normal", "loc": -3.0, "scale": 1.0},
    "noise_floor": 1e-4,
    "scale_with_dimension": True,
    "inputs": "normal",
}
SIZES = {"points": [6, 9], "features": [1, 3]}
COMPONENTS = {
    "gaussian": {"prior": "gaussian_process", "weight": 3.0, "sizes": SIZES},
    "heavy": {"prior": "student_t_process", "sizes": SIZES, "shape": 2.5, "rate": 1.5},
}
UNRULY = {
    "increasing": False,
    "noise_trend": 0.3,
    "late_start": 0.5,
    "divergence": 0.5,
    "narrowing": 0.5,
    "thinning": 0.5,
}
WIDE_JUMPS = {
    "states": 4,
    "state_weights": None,
    "paths": [1, 5],
    "paths_law": "log_uniform",
    "points": [4, 12],
    "horizon": {"law": "log_normal", "loc": 2.0, "scale": 0.5},
    "grids": {"regular": 1, "thinned": 1, "uniform": 2},
    "noise": {"law": "uniform", "low": 0.0, "high": 0.2},
    "graphs": {"published": 1, "incomplete": 1, "sparse": 1, "ring": 1, "hub": 1},
    "spread": 0.5,
    "time_unit": {"law": "log_normal", "loc": 0.0, "scale": 2.0},
}
BELIEFS = {"components": [2, 4], "concentration": [0.2, 1.0], "centre": 3.0, "covariance": {"law": "log_uniform"}}
CATEGORIES = {"categorical": 0.8, "cause_laws": ["mixture", "normal"]}
CELLS = {"kind": "classes", "number": [2, 3], "nearest": 0.5, "flip": 0.3}

PRIORS = [
    PriorCase("gaussian_process", "gaussian_process", {"sizes": SIZES}),
    PriorCase("gaussian_process-drawn", "gaussian_process", {"sizes": SIZES, **DRAWN}),
    PriorCase("gaussian_process-prefix", "gaussian_process", {"sizes": {**SIZES, "context": "prefix"}}),
    PriorCase("student_t_process", "student_t_process", {"sizes": SIZES, "shape": 2.5, "rate": 1.5}),
    PriorCase("student_t_process-drawn", "student_t_process", {"sizes": SIZES, **DRAWN}),
    PriorCase("learning_curve", "learning_curve", {"length": 12, "queries": 5}),
    PriorCase("learning_curve-unruly", "learning_curve", {"length": 9, "weights": "dirichlet", **UNRULY}),
    PriorCase("learning_curve-prefix", "learning_curve", {"length": 12, "context": 4, "queries": 5}),
    PriorCase("bnn", "bnn", {"sizes": SIZES}),
    PriorCase("scm", "scm", {"sizes": SIZES, "noise": 0.3}),
    PriorCase("scm-no_law", "scm", {"sizes": SIZES}),
    PriorCase("scm-graph", "scm", {"sizes": SIZES, "variant": "graph", "noise": 0.3}),
    PriorCase("scm-categories", "scm", {"sizes": SIZES, "variant": "graph", "model": CATEGORIES, "target": CELLS}),
    PriorCase("linear_bnn", "linear_bnn", {"sizes": SIZES, "hidden": 2, "importance_draws": 500}),
    PriorCase("markov_jump", "markov_jump", {"states": 3, "state_weights": None, "paths": [1, 5], "points": 8}),
    PriorCase("markov_jump-wide", "markov_jump", WIDE_JUMPS),
    PriorCase("mixture", "mixture", {"components": COMPONENTS}),
    PriorCase("inverse_gamma_variance", "inverse_gamma_variance", {"rows": [1, 3], "candidates": 4}),
    PriorCase(
        "latent_regression", "latent_regression", {"latents": {"prior": "inverse_gamma_variance"}, "bijection": "log"}
    ),
    PriorCase("linear_gaussian", "linear_gaussian", {"dimension": 3, "outputs": 2, "candidates": 4}),
    PriorCase("linear_gaussian-scalar", "linear_gaussian", {"dimension": 1, "outputs": 1, "meta_prior": BELIEFS}),
    PriorCase("gp_hyperparameters", "gp_hyperparameters", {"rows": [1, 4], "candidates": 4}),
    PriorCase("two_level_system", "two_level_system", {"rows": [1, 6], "candidates": 4}),
    PriorCase("range_bearing", "range_bearing", {"rows": [1, 2], "meta_prior": BELIEFS, "candidates": 4}),
    PriorCase("factor_volatility", "factor_volatility", {"factors": 3, "assets": 4, "candidates": 4}),
]
REGRESSION_PRIORS = [case for case in PRIORS if issubclass(priors.classes[case.name], RegressionPrior)]

SMALL = {"max_features": 3, "n_buckets": 20, "width": 16, "n_layers": 2, "n_heads": 2}
SMALL_TABLES = {"width": 16, "n_heads": 2, "n_cell_layers": 2, "n_row_layers": 1, "n_thinking": 2, "max_features": 5}
CLASSES, NUMBERS = {**SMALL_TABLES, "max_classes": 4}, {**SMALL_TABLES, "max_classes": 0, "n_buckets": 20}
SMALL_JUMPS = {"max_states": 4, "n_components": 2, "width": 16, "n_layers": 2, "hidden": 16}
SMALL_CURVES = {"length": 30, "n_basis": 5, "n_levels": 4, "n_buckets": 20, "width": 16, "n_layers": 2}
ANGLES = [{"name": "seen", "size": 2, "angle": True}, {"name": "other", "size": 1}]
SMALL_MIXTURES = {"n_latent": 2, "sources": ANGLES, "width": 32, "n_layers": 1, "n_heads": 4}
OF_FAMILY = {**SMALL_MIXTURES, "width": 16, "n_latent": 1, "prior_kind": "parameters", "bijections": ["logit"]}

NETWORKS = [
    NetworkCase("pfn", "pfn", regression(), SMALL),
    NetworkCase("curve_pfn", "curve_pfn", curves(), SMALL_CURVES),
    NetworkCase("jump_network", "jump_network", jump_paths(), SMALL_JUMPS, rounding=1e-3),
    NetworkCase("mixture_transformer", "mixture_transformer", evidence(3, 2, ANGLES, batch=9), SMALL_MIXTURES),
    NetworkCase("mixture_transformer-family", "mixture_transformer", evidence(None, 1, ANGLES, batch=9), OF_FAMILY),
    NetworkCase("table_pfn-classes", "table_pfn", tables(3), CLASSES, (0, 2), 1e-3),
    NetworkCase("table_pfn-numbers", "table_pfn", tables(0), NUMBERS, (0, 2)),
]
REGRESSION_NETWORKS = [
    case for case in NETWORKS if hasattr(networks.classes[case.name], "decode") and not case.may_miss
]

DISTRIBUTIONS = [
    DistributionCase("bar", uneven_bars),
    DistributionCase("gaussian_mixture", gaussian_mixture),
    DistributionCase("rate_law", rate_law),
    DistributionCase("gaussian_mixture-scalar", lambda: gaussian_mixture(1)),
    DistributionCase(
        "transformed_mixture", lambda: TransformedMixture(gaussian_mixture(3), ["logit", "identity", "log"])
    ),
]


def seeded(seed: int = 0) -> Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def leaves(value: Any) -> Iterator[Tensor]:
    """Every tensor inside a task, a distribution, or tuples of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, Distribution) or hasattr(value, "__dataclass_fields__"):
        yield from leaves(list(vars(value).values()))


def assert_same(first: Any, second: Any, **tolerances: float) -> None:
    """Every tensor inside two tasks, distributions or tuples agrees; exactly, unless tolerances are given."""
    tolerances = tolerances or {"rtol": 0, "atol": 0}
    torch.testing.assert_close(list(leaves(first)), list(leaves(second)), **tolerances)


def perturbed(network: Network, size: float = 1.5, seed: int = 3) -> Network:
    """The network with large random matrices and moved vectors, whatever it was initialised with."""
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(size * noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.3 * noise)
    return network


def cdf(distribution: Distribution, value: Tensor) -> np.ndarray:
    """P(Y <= value), also where torch has no cdf: Student-t and mixtures of it.

    For classes P(Y < value) + U P(Y = value), U uniform of fixed seed, which is uniform where the law is right.
    """
    if isinstance(distribution, Categorical):
        below = functional.pad(distribution.probs.double().cumsum(-1), (1, 0))
        low, high = (below.gather(-1, value.long()[..., None] + step)[..., 0] for step in (0, 1))
        return (low + (high - low) * torch.rand(low.shape, generator=seeded(11), dtype=low.dtype)).numpy()
    if isinstance(distribution, MixtureSameFamily):
        component = cdf(distribution.component_distribution, value[..., None])
        return (distribution.mixture_distribution.probs.numpy() * component).sum(-1)
    if isinstance(distribution, StudentT):
        df, loc, scale = (t.numpy() for t in (distribution.df, distribution.loc, distribution.scale))
        return stats.t.cdf(value.numpy(), df, loc, scale)
    return distribution.cdf(value).numpy()


def assert_uniform(levels: np.ndarray | Tensor) -> None:
    """Kolmogorov-Smirnov test of levels against the uniform law on [0, 1]."""
    assert stats.kstest(np.asarray(levels).ravel(), "uniform").pvalue > TINY


def assert_mean(draws: Tensor, expected: float, slack: float = 0.0) -> None:
    """The mean of independent draws is within 4.5 standard errors of `expected`, plus a slack."""
    error = 4.5 * draws.std().item() / len(draws) ** 0.5
    assert abs(draws.mean().item() - expected) <= error + slack, (draws.mean().item(), expected, error)
