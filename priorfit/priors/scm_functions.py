"""Random functions on the edges of a causal graph. Letters: E edges, N rows, D components of a node, T trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from priorfit.priors.activations import ACTIVATIONS, activate
from priorfit.priors.scm_network import normal_like
from priorfit.priors.table_pieces.prototypes import closeness

TREES, DEPTH = 4, 5  # at most
PROTOTYPES = 10  # at most
FREQUENCIES = 32


def linear(x: Tensor, generator: Generator) -> Tensor:
    """A matrix with normal entries."""
    return x @ _matrices(x, x.shape[2], generator)


def network(x: Tensor, generator: Generator) -> Tensor:
    """A layer with one of all activations, its own gain and biases, between two matrices."""
    hidden = linear(x, generator)
    gain = normal_like(x[:, :1, :1], generator).exp()
    hidden = gain * (hidden + normal_like(hidden[:, :1], generator))
    kind = torch.randint(len(ACTIVATIONS), x.shape[:1], generator=generator, device=x.device)
    return linear(activate(hidden, kind, list(ACTIVATIONS)), generator)


def quadratic(x: Tensor, generator: Generator) -> Tensor:
    """Products of two affine maps."""
    first, second = (linear(x, generator) + normal_like(x[:, :1], generator) for _ in range(2))
    return first * second


def product(x: Tensor, generator: Generator) -> Tensor:
    """A network's output times a matrix's."""
    return network(x, generator) * linear(x, generator)


def smooth(x: Tensor, generator: Generator) -> Tensor:
    """A draw from a Gaussian process with RBF kernel and random lengthscale, by random Fourier features."""
    lengthscale = (0.5 * normal_like(x[:, :1, :1], generator)).exp()
    angles = (x / lengthscale) @ _matrices(x, FREQUENCIES, generator)
    phase = 6.2832 * torch.rand(len(x), 1, FREQUENCIES, generator=generator, device=x.device)
    features = torch.cos(angles + phase)
    return features @ _matrices(features, x.shape[2], generator)


def trees(x: Tensor, generator: Generator) -> Tensor:
    """The sum of 1 … 4 oblivious decision trees of depth 1 … 5: all nodes of a level share component and threshold.

    Thresholds are values in random rows; leaves are standard normal.
    """
    n_edges, n_rows, size = x.shape
    options: dict[str, Any] = {"generator": generator, "device": x.device}
    component = torch.randint(size, (n_edges, 1, TREES * DEPTH), **options)
    row = torch.randint(n_rows, (n_edges, 1, TREES * DEPTH), **options)
    values = x.gather(2, component.expand(-1, n_rows, -1))  # (E, N, T * depth)
    above = (values > values.gather(1, row)).view(n_edges, n_rows, TREES, DEPTH)
    depth = torch.randint(1, DEPTH + 1, (n_edges, 1, TREES, 1), **options)
    level = torch.arange(DEPTH, device=x.device)
    leaf = torch.where(level < depth, above * 2**level, 0).sum(-1)  # (E, N, T)
    leaf = leaf + 2**DEPTH * torch.arange(TREES, device=x.device)
    count = torch.randint(1, TREES + 1, (n_edges, 1, 1), **options)
    used = torch.arange(TREES * 2**DEPTH, device=x.device)[:, None] < count * 2**DEPTH
    leaves = torch.randn(n_edges, TREES * 2**DEPTH, size, **options) * used
    return _rows(leaves, leaf.flatten(1)).view(n_edges, n_rows, TREES, size).sum(2)


def discretize(x: Tensor, generator: Generator) -> Tensor:
    """The nearest of 2 … 10 prototypes, which are random rows, and a normal vector in place of each."""
    n_edges, n_rows, size = x.shape
    options: dict[str, Any] = {"generator": generator, "device": x.device}
    prototypes = _rows(x, torch.randint(n_rows, (n_edges, PROTOTYPES), **options))
    count = torch.randint(2, PROTOTYPES + 1, (n_edges, 1, 1), **options)
    nearest = closeness(x, prototypes, count[:, 0, 0]).argmax(-1)  # (E, N)
    return _rows(torch.randn(n_edges, PROTOTYPES, size, **options), nearest)


FUNCTIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "linear": linear,
    "network": network,
    "quadratic": quadratic,
    "product": product,
    "smooth": smooth,
    "trees": trees,
    "discretize": discretize,
}


def _matrices(x: Tensor, columns: int, generator: Generator) -> Tensor:
    """One matrix for each edge, normal with variance 1 / rows: (E, D, columns)."""
    shape = (len(x), x.shape[2], columns)
    return torch.randn(shape, generator=generator, device=x.device) / x.shape[2] ** 0.5


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (E, K) of each table (E, R, D): (E, K, D)."""
    return table.gather(1, index[..., None].expand(-1, -1, table.shape[2]))
