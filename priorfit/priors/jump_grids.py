"""When paths of a Markov jump process are observed.

Source of "regular" and "thinned": the released draws of Berghaus et al. 2024, "Foundation Inference Models for Markov
Jump Processes". Letters: B processes, P paths, N points of the base grid, L observations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

STRIDES = 4  # largest
KEPT = (0.25, 0.5)  # probabilities that a point of the base grid is observed
APART = 1e-6  # smallest gap between observation times, in horizons


def draw_times(
    weights: dict[str, float], batch_size: int, n_paths: int, n_points: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Observation times in [0, 1], and which of them are observed: those at the start of each path.

    Args:
        weights: how often each kind of `GRIDS` is drawn, up to a factor.
        batch_size: B.
        n_paths: P.
        n_points: N, at least 2.
        generator: source of all randomness.

    Returns:
        Times (B, P, L), float64, increasing along the observed part of each path and then equal to its last;
        and whether they are observed, (B, P, L), bool; every path is observed at least twice.
    """
    device = generator.device
    probabilities = torch.tensor(list(weights.values()), dtype=torch.float64, device=device)
    kind = torch.multinomial(probabilities, batch_size, True, generator=generator)
    times = torch.zeros(batch_size, n_paths, n_points, dtype=torch.float64, device=device)
    seen = torch.zeros(times.shape, dtype=torch.bool, device=device)
    for index, name in enumerate(weights):
        mine = kind == index
        times[mine], seen[mine] = GRIDS[name](int(mine.sum()), n_paths, n_points, generator)
    times, seen = _packed(times, seen)
    last = times.masked_fill(~seen, 0).amax(-1, keepdim=True)
    return torch.where(seen, times, last), seen


def full(batch_size: int, n_paths: int, n_points: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """All of N equally spaced points."""
    times = _base(n_points, generator).expand(batch_size, n_paths, -1)
    return times, torch.ones_like(times, dtype=torch.bool)


def regular(batch_size: int, n_paths: int, n_points: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Every first, second, third or fourth of N equally spaced points, the same for all paths of a process."""
    stride = _strides(batch_size, n_points, generator)
    point = torch.arange(n_points, device=generator.device)
    seen = (point % stride == 0).expand(-1, n_paths, -1)
    return _base(n_points, generator).expand(seen.shape), seen


def thinned(batch_size: int, n_paths: int, n_points: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each of N equally spaced points with probability 1/4 or 1/2 per process; first and last if that leaves < 2."""
    options = torch.tensor(KEPT, device=generator.device)
    which = torch.randint(len(KEPT), (batch_size, 1, 1), generator=generator, device=generator.device)
    shape = (batch_size, n_paths, n_points)
    seen = torch.rand(shape, generator=generator, device=generator.device) < options[which]
    ends = torch.zeros(n_points, dtype=torch.bool, device=generator.device)
    ends[[0, -1]] = True
    seen = torch.where(seen.sum(-1, keepdim=True) < 2, ends, seen)
    return _base(n_points, generator).expand(shape), seen


def uniform(batch_size: int, n_paths: int, n_points: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """N, N / 2, N / 3 or N / 4 times per path, independent and uniform but for a least distance."""
    stride = _strides(batch_size, n_points, generator)
    point = torch.arange(n_points, device=generator.device)
    seen = (point < -(-n_points // stride)).expand(-1, n_paths, -1)
    shape = (batch_size, n_paths, n_points)
    times = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
    times = times.masked_fill(~seen, 1.0).sort(-1).values
    return times * (1 - n_points * APART) + point * APART, seen


Times = Callable[[int, int, int, Generator], tuple[Tensor, Tensor]]
GRIDS: dict[str, Times] = {"full": full, "regular": regular, "thinned": thinned, "uniform": uniform}


def _base(n_points: int, generator: Generator) -> Tensor:
    """N equally spaced points from 0 to 1."""
    return torch.linspace(0, 1, n_points, dtype=torch.float64, device=generator.device)


def _strides(batch_size: int, n_points: int, generator: Generator) -> Tensor:
    """One stride per process that leaves at least two points, (B, 1, 1)."""
    largest = min(STRIDES, n_points - 1)
    return torch.randint(1, largest + 1, (batch_size, 1, 1), generator=generator, device=generator.device)


def _packed(times: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """What is observed moved to the start of each path, in its order, and no longer than the longest path."""
    length = int(seen.sum(-1).max())
    seen, order = seen.byte().sort(dim=-1, descending=True, stable=True)
    return times.gather(-1, order[..., :length]), seen[..., :length].bool()
