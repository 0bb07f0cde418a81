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

from priorfit.distributions import BarDistribution
from priorfit.models import Network, networks
from priorfit.priors import Prior, priors
from priorfit.priors.regression_prior import RegressionPrior

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


def uneven_bars() -> BarDistribution:
    """Uneven borders and masses, moved and scaled differently in each of its batch, float64."""
    generator = seeded(7)
    borders = torch.rand(13, generator=generator, dtype=torch.float64).add(0.05).cumsum(0) - 4
    logits = torch.randn(2, 3, 12, generator=generator, dtype=torch.float64)
    return BarDistribution(logits, borders, torch.tensor([-1.0, 0.0, 5.0]), torch.tensor([[0.5], [3.0]]))


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
    PriorCase("mixture", "mixture", {"components": COMPONENTS}),
]
REGRESSION_PRIORS = [case for case in PRIORS if issubclass(priors.classes[case.name], RegressionPrior)]

SMALL = {"max_features": 3, "n_buckets": 20, "width": 16, "n_layers": 2, "n_heads": 2}
SMALL_TABLES = {"width": 16, "n_heads": 2, "n_cell_layers": 2, "n_row_layers": 1, "n_thinking": 2, "max_features": 5}
CLASSES, NUMBERS = {**SMALL_TABLES, "max_classes": 4}, {**SMALL_TABLES, "max_classes": 0, "n_buckets": 20}
SMALL_CURVES = {"length": 30, "n_basis": 5, "n_levels": 4, "n_buckets": 20, "width": 16, "n_layers": 2}

NETWORKS = [
    NetworkCase("pfn", "pfn", regression(), SMALL),
    NetworkCase("curve_pfn", "curve_pfn", curves(), SMALL_CURVES),
    NetworkCase("table_pfn-classes", "table_pfn", tables(3), CLASSES, (0, 2), 1e-3),
    NetworkCase("table_pfn-numbers", "table_pfn", tables(0), NUMBERS, (0, 2)),
]
REGRESSION_NETWORKS = [
    case for case in NETWORKS if hasattr(networks.classes[case.name], "decode") and not case.may_miss
]

DISTRIBUTIONS = [
    DistributionCase("bar", uneven_bars),
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
    assert abs(draws.mean().item() - expected) < error + slack, (draws.mean().item(), expected, error)
