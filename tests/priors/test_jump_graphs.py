"""Random graphs of Markov jump processes."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from priorfit.priors.jump_graphs import GRAPHS, draw_graphs, incomplete, published, reachable
from tests.cases import TINY, assert_mean, seeded


@pytest.mark.parametrize("n_states", [2, 3, 6])
@pytest.mark.parametrize("kind", GRAPHS)
def test_every_graph_has_one_recurrent_class_and_can_be_left(kind: str, n_states: int) -> None:
    links = GRAPHS[kind](200, n_states, seeded())
    assert links.shape == (200, n_states, n_states)
    assert not links.diagonal(dim1=1, dim2=2).any()
    assert links.any(2).all()
    assert reachable(links).all(1).any(1).all()  # some state is reached from all


# Edges of incomplete graphs, their variance, and shares of irreducible ones and of ones with a state that is never
# entered, in the released draws (395 of 800 and 322 of 600 processes).
@pytest.mark.parametrize(
    ("n_states", "number", "edges", "variance", "irreducible", "unentered"),
    [(6, 395, 16.09, 5.14, 0.916, 0.063), (4, 322, 7.54, 1.26, 0.891, 0.084)],
)
def test_moments_of_the_released_draws(
    n_states: int, number: int, edges: float, variance: float, irreducible: float, unentered: float
) -> None:
    links = incomplete(8000, n_states, seeded(n_states))
    count = links.sum((1, 2)).double()
    assert_mean(count, edges, slack=4 * (variance / number) ** 0.5)
    assert count.var().item() == pytest.approx(variance, rel=4 * (2 / number) ** 0.5)
    for share, released in (
        (reachable(links).all(2).all(1), irreducible),
        ((~links.any(1)).any(1), unentered),
    ):
        assert_mean(share.double(), released, slack=4 * (released * (1 - released) / number) ** 0.5)


def test_incomplete_graphs_of_three_states_are_equally_likely() -> None:
    links = incomplete(6000, 3, seeded()).flatten(1).long()
    kinds, counts = links.unique(dim=0, return_counts=True)
    assert stats.chisquare(counts.numpy()).pvalue > TINY
    upper, lower = [[1, 2, 5], [3, 6, 7]]
    for kind in kinds:  # two of three pairs connect three states
        assert kind[upper].sum() >= 2
        assert kind[lower].sum() >= 2


def test_half_of_the_published_graphs_are_drawn_complete() -> None:
    complete = published(3000, 6, seeded()).sum((1, 2)) == 30
    assert stats.binomtest(int(complete.sum()), 3000, 0.5 + 0.5 * 2**-30).pvalue > TINY


def test_rings_run_one_way_or_both() -> None:
    links = GRAPHS["ring"](500, 5, seeded())
    out = links.sum(2)
    assert (out == out[:, :1]).all()
    assert stats.binomtest(int((out[:, 0] == 1).sum()), 500).pvalue > TINY
    assert reachable(links).all()


def test_hubs_link_one_state_with_all_others() -> None:
    links = GRAPHS["hub"](500, 4, seeded())
    assert (links.sum(2).sort(1).values == torch.tensor([1, 1, 1, 3])).all()
    assert torch.equal(links, links.mT)
    assert stats.chisquare(links.sum(2).argmax(1).bincount().numpy()).pvalue > TINY


def test_sparse_graphs_are_trees_and_more() -> None:
    links = GRAPHS["sparse"](2000, 5, seeded())
    assert torch.equal(links, links.mT)
    pairs = links.sum((1, 2)) // 2
    assert set(pairs.tolist()) == set(range(4, 11))


def test_kinds_are_drawn_by_their_weights() -> None:
    links = draw_graphs({"hub": 1.0, "ring": 3.0}, 2000, 5, seeded())
    hubs = links.sum(2).amax(1) == 4
    assert stats.binomtest(int(hubs.sum()), 2000, 0.25).pvalue > TINY
