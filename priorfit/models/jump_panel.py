"""Observed paths of Markov jump processes, arranged for likelihoods: gaps between observations, in a unit of their own.

Transition probabilities are wanted at every gap. They are computed at a few nodes and interpolated between them,
which is exact on regular grids, with observations missing or not.

Letters: B processes, S states, P paths, L observations, M nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

RANGE = 300.0  # largest over smallest gap above 0 that nodes tell apart
WHOLE = 1e-3  # gaps that differ by this share are the same


class Panel(NamedTuple):
    """Paths by gaps.

    `states[b, p, t]` is followed, `gaps[b, p, t]` later, by `states[b, p, t + 1]`; both are there where `pairs` is.
    A quantity at that gap is (1 - fraction) times that at node `index` plus fraction times that at node `index + 1`.
    """

    states: Tensor  # (B, P, L), int64; 0 where nothing is observed
    seen: Tensor  # (B, P, L), bool
    pairs: Tensor  # (B, P, L - 1), bool
    gaps: Tensor  # (B, P, L - 1), in units of `unit`
    first: Tensor  # (B, P), time of the first observation, in units of `unit`
    nodes: Tensor  # (B, M), float64, increasing from 0, in units of `unit`
    index: Tensor  # (B, P, L - 1), int64 in 0 … M - 2
    fraction: Tensor  # (B, P, L - 1), float32 in [0, 1]
    unit: Tensor  # (B,), float64: mean time between changes of the observed state

    def paths(self, start: int, stop: int) -> Panel:
        """The paths start … stop - 1."""
        by_path = ("states", "seen", "pairs", "gaps", "first", "index", "fraction")
        return self._replace(**{name: getattr(self, name)[:, start:stop] for name in by_path})


def build_panel(times: Tensor, states: Tensor, n_nodes: int) -> Panel:
    """Arranges paths.

    Args:
        times: (B, P, L), increasing along each path.
        states: (B, P, L), int64, -1 past the end of a path.
        n_nodes: M, at least 3.
    """
    seen = states >= 0
    pairs = seen[..., :-1] & seen[..., 1:]
    times = times.double()
    gaps = torch.where(pairs, times.diff(dim=-1), 0.0)
    unit = time_unit(states, pairs, gaps)
    scaled = gaps / unit[:, None, None]
    nodes = gap_nodes(scaled.flatten(1), pairs.flatten(1), n_nodes)
    index, fraction = locate(scaled, nodes)
    first = torch.where(seen[..., 0], times[..., 0], 0.0) / unit[:, None]
    return Panel(states.clamp(min=0), seen, pairs, scaled.float(), first.float(), nodes, index, fraction.float(), unit)


def time_unit(states: Tensor, pairs: Tensor, gaps: Tensor) -> Tensor:
    """Observed time per change of the observed state (one more is counted), (B,)."""
    changes = (states.diff(dim=-1) != 0) & pairs
    total = gaps.sum((1, 2))
    return torch.where(total > 0, total / (changes.sum((1, 2)) + 1), 1.0)


def gap_nodes(gaps: Tensor, there: Tensor, n_nodes: int) -> Tensor:
    """Gaps at which transition probabilities are computed, (B, M), from gaps (B, G) of which some are `there`.

    Multiples of the smallest gap where all gaps are such multiples; else 0 and M - 1 logarithmic steps up to the
    largest gap.
    """
    largest = gaps.amax(1, keepdim=True).clamp(min=1e-12)  # (B, 1)
    smallest = torch.where(there, gaps, largest).amin(1, keepdim=True)
    steps = torch.arange(n_nodes, dtype=gaps.dtype, device=gaps.device)
    multiples = torch.where(there, gaps / smallest.clamp(min=1e-12), 1.0)
    whole = ((multiples - multiples.round()).abs() < WHOLE).all(1) & (multiples < n_nodes - 0.5).all(1)
    least = smallest.maximum(largest / RANGE).log()
    logarithmic = (least + (largest.log() - least) * (steps - 1).clamp(min=0) / (n_nodes - 2)).exp()
    logarithmic = torch.where(steps > 0, logarithmic, 0.0)
    return torch.where(whole[:, None], smallest * steps, logarithmic)


def locate(gaps: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Which node is below each gap (B, P, L), and how far it is to the next one."""
    flat = gaps.flatten(1)
    last = nodes.shape[1] - 2
    index = (torch.searchsorted(nodes, flat * (1 + WHOLE), right=True) - 1).clamp(0, last)
    low, high = nodes.gather(1, index), nodes.gather(1, index + 1)
    fraction = ((flat - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    fraction = torch.where(fraction < WHOLE, 0.0, fraction)
    return index.view(gaps.shape), fraction.view(gaps.shape)
