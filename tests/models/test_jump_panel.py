"""Where the gaps between observations go."""

from __future__ import annotations

import torch
from torch import Tensor

from priorfit.models.jump_panel import Panel, build_panel, gap_nodes
from tests.cases import seeded


def interpolated(panel: Panel) -> Tensor:
    """The gaps that nodes and fractions stand for, (B, P, L - 1)."""
    flat = panel.index.flatten(1)
    low, high = panel.nodes.gather(1, flat), panel.nodes.gather(1, flat + 1)
    return low.lerp(high, panel.fraction.flatten(1).double()).view(panel.gaps.shape)


def test_regular_grids_with_gaps_have_a_node_for_every_gap() -> None:
    times = torch.tensor([0.0, 0.3, 0.6, 1.5, 1.8]).expand(2, 1, 5) * torch.tensor([1.0, 50.0])[:, None, None]
    panel = build_panel(times, torch.tensor([0, 1, 1, 0, 1]).expand(2, 1, 5), 8)
    assert (panel.fraction == 0).all()
    assert panel.index[0, 0].tolist() == panel.index[1, 0].tolist() == [1, 1, 3, 1]
    torch.testing.assert_close(interpolated(panel), panel.gaps.double(), rtol=1e-5, atol=0)


def test_any_gaps_lie_between_their_nodes() -> None:
    times = torch.rand(3, 20, 15, generator=seeded()).sort(-1).values * torch.tensor([1.0, 1e-3, 1e4])[:, None, None]
    panel = build_panel(times, torch.randint(3, times.shape, generator=seeded(1)), 32)
    assert (panel.nodes.diff(dim=1) > 0).all()
    assert (panel.nodes[:, 0] == 0).all()
    torch.testing.assert_close(interpolated(panel), panel.gaps.double(), rtol=1e-3, atol=1e-6)


def test_the_unit_is_the_time_between_changes_and_takes_the_units_of_time_away() -> None:
    times = torch.arange(5.0).expand(1, 2, 5)
    states = torch.tensor([[0, 0, 1, 1, 0], [1, 1, 1, -1, -1]])[None]
    panel = build_panel(times, states, 4)
    assert panel.unit.item() == (4 + 2) / (2 + 1)
    slow = build_panel(60 * times, states, 4)
    torch.testing.assert_close(slow.unit, 60 * panel.unit)
    torch.testing.assert_close(slow.gaps, panel.gaps)


def test_pairs_end_where_paths_end() -> None:
    states = torch.tensor([[0, 1, 0], [1, -1, -1], [0, 1, -1]])[None]
    panel = build_panel(torch.arange(3.0).expand(1, 3, 3), states, 4)
    assert panel.pairs[0].tolist() == [[True, True], [False, False], [True, False]]
    assert panel.paths(1, 3).states.shape == (1, 2, 3)


def test_nodes_reach_from_zero_to_the_largest_gap() -> None:
    gaps = torch.tensor([[0.1, 0.17, 2.0]], dtype=torch.float64)
    nodes = gap_nodes(gaps, torch.ones_like(gaps).bool(), 10)
    torch.testing.assert_close(nodes[0, [0, 1, -1]], torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64))
