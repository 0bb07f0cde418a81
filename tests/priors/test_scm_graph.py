"""Structural causal models on graphs: the graphs, the functions on their edges, and what follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from priorfit.priors import SCM
from priorfit.priors.scm_dag import ancestors_of, draw_parents, levels_of
from priorfit.priors.scm_functions import DEPTH, FUNCTIONS, PROTOTYPES, TREES
from priorfit.priors.scm_graph import Graph, unrelated_tables
from priorfit.priors.scm_nodes import draw_codes
from tests.cases import TINY, assert_mean, assert_same, seeded


def graphs(tasks: int, count: int, roots: float, more: float, redirection: float) -> Tensor:
    chances = (torch.full((tasks,), chance) for chance in (roots, more, redirection))
    return draw_parents(torch.full((tasks,), count), *chances, seeded())


def edge_values(name: str, edges: int = 40, rows: int = 100, size: int = 5) -> tuple[Tensor, Tensor]:
    x = torch.randn(edges, rows, size, generator=seeded())
    return x, FUNCTIONS[name](x, seeded(1))


# Graphs


def test_parents_come_before_their_children_and_only_once() -> None:
    count = torch.randint(2, 20, (500,), generator=seeded())
    chance = torch.rand(3, 500, generator=seeded(1))
    parents = draw_parents(count, *chance, seeded(2))
    assert parents.shape == (500, int(count.max()), 3)
    node = torch.arange(parents.shape[1])[:, None]
    assert ((parents >= -1) & (parents < node)).all()
    assert (parents[node[:, 0] >= count[:, None]] == -1).all()
    ordered = parents.sort(-1).values
    assert ((ordered.diff(dim=-1) > 0) | (ordered[..., 1:] == -1)).all()


@pytest.mark.parametrize(("redirection", "leaves"), [(0.0, 0.5), (0.5, 2 / 3)])
def test_trees_grow_as_growing_networks_do(redirection: float, leaves: float) -> None:
    """One parent each: random recursive trees have half of their nodes as leaves; redirection r makes more.

    With r = 1/2 the rate of attachment is linear in the degree, and degrees follow 4 / (k (k + 1) (k + 2)).
    """
    parents = graphs(300, 200, 0.0, 0.0, redirection)
    assert (parents[:, 1:, 0] >= 0).all()
    assert (parents[..., 1:] == -1).all()
    childless = torch.stack([1 - len(p[1:, 0].unique()) / 200 * torch.ones(()) for p in parents])
    assert_mean(childless, leaves, 0.01)


def test_shares_of_roots_and_of_further_parents() -> None:
    number = (graphs(400, 30, 0.2, 0.5, 0.0)[:, 20:] >= 0).sum(-1).double()  # late: hardly ever the same one twice
    assert_mean((number == 0).double().mean(1), 0.2)
    assert_mean((number >= 2).double().mean(1), 0.4, 0.02)
    assert_mean((number == 3).double().mean(1), 0.2, 0.02)


def test_levels_are_longest_paths() -> None:
    parents = torch.tensor([[[-1] * 3, [0, -1, -1], [0, 1, -1], [-1] * 3, [3, 0, 2]]])
    assert levels_of(parents).tolist() == [[0, 1, 2, 0, 3]]


def test_ancestors_are_powers_of_the_adjacency_matrix() -> None:
    parents = graphs(40, 9, 0.2, 0.5, 0.3)
    edges = (parents[..., None] == torch.arange(9)).any(2).double()  # (B, G, G)
    reach = torch.linalg.matrix_power(torch.eye(9) + edges.float(), 9) > 0
    assert_same(ancestors_of(parents), reach)


# Functions


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_act_row_by_row_and_differ_from_edge_to_edge(name: str) -> None:
    x, values = edge_values(name)
    assert values.shape == x.shape
    assert values.isfinite().all()
    twins = FUNCTIONS[name](x[:1].expand(30, -1, -1), seeded(2))
    assert len(twins.unique(dim=0)) == 30
    doubled = FUNCTIONS[name](x[:1, [0, 1, 2, 0, 1, 2]], seeded(3))  # the same rows twice
    assert_same(doubled[:, :3], doubled[:, 3:], rtol=1e-4, atol=1e-4)


def test_linear_is_linear_and_keeps_the_scale() -> None:
    x, values = edge_values("linear", 2000, 20)
    residual = values.double() - x.double() @ torch.linalg.lstsq(x.double(), values.double()).solution
    assert residual.abs().max() < 1e-4
    assert_mean(values.square().mean((1, 2)), 1.0)


def test_quadratic_has_constant_second_differences() -> None:
    line = torch.linspace(-1, 1, 9)[None, :, None] * torch.ones(20, 1, 5)
    values = FUNCTIONS["quadratic"](line.double().float(), seeded()).double()
    second = values.diff(n=2, dim=1)
    assert_same(second, second[:, :1].expand_as(second), rtol=0, atol=1e-4)


def test_trees_take_few_values_and_prototypes_fewer() -> None:
    _, values = edge_values("trees", 60, 400)
    numbers = np.array([len(v.unique(dim=0)) for v in values])
    assert numbers.max() <= 2 ** (DEPTH * TREES)
    assert (numbers <= 2**DEPTH).mean() > 0.2
    assert (numbers > 2**DEPTH).mean() > 0.2
    _, values = edge_values("discretize", 200, 400)
    numbers = np.array([len(v.unique(dim=0)) for v in values])
    assert set(numbers.tolist()) == set(range(2, PROTOTYPES + 1))


def test_trees_split_on_single_components() -> None:
    """A tree is constant in a direction that none of its components sees: rows that differ in one alone."""
    x = torch.zeros(300, 2, 40)
    x[:, 1, 7] = 5.0
    changed = (FUNCTIONS["trees"](x, seeded()).diff(dim=1) != 0).any(-1).double()
    # One row above the threshold of the other: 1 … 4 trees of 1 … 5 splits on one of 40 components, half of them felt.
    assert 0.02 < changed.mean() < 0.2


def test_smooth_functions_have_the_rbf_kernel() -> None:
    """Over edges, the correlation at distance r is E exp(-r² / (2 D l²)) with log l ~ N(0, .5²)."""
    x = torch.zeros(6000, 2, 5)
    x[:, 1, 0] = 2.0
    values = FUNCTIONS["smooth"](x, seeded())
    lengthscale = (0.5 * torch.randn(100_000, generator=seeded(1))).exp()
    expected = torch.exp(-4 / (2 * 5 * lengthscale.square())).mean().item() / 2  # cosines have variance 1 / 2
    assert_mean((values[:, 0] * values[:, 1]).mean(1), expected, 0.003)
    assert_mean(values[:, 0].square().mean(1), 0.5, 0.003)


# Models


def test_linear_graphs_with_one_root_have_its_rank() -> None:
    model = Graph(functions="linear", noise=1e-7, roots=0.0, more=0.0, size=3)
    nodes = model.draw(30, 200, 8, seeded()).values.double()
    values = torch.linalg.svdvals(nodes - nodes.mean(1, keepdim=True))
    assert (values[:, 3] < 1e-3 * values[:, 0]).all()


def test_number_of_nodes_is_log_uniform_and_enough() -> None:
    count = Graph(nodes=(3, 32)).draw_count(4000, 2, seeded())
    assert set(count.tolist()) == set(range(3, 33))
    assert_mean((count < 11).double(), float(np.log(11 / 3) / np.log(11)))
    assert (Graph(nodes=(3, 4), size=2).draw_count(9, 10, seeded()) == 11).all()


def test_noise_is_that_of_each_node() -> None:
    model = Graph(noise=0.5, nodes=(12, 12), roots=0.0, functions="linear")
    variance = model.draw(800, 300, 1, seeded()).values.var(1)[:, 0]
    assert_mean(variance, 1 + 11 / 12 * 0.25, 0.02)


def test_categories_are_nearest_rows_and_their_number_is_geometric() -> None:
    vectors = torch.randn(1500, 400, 3, generator=seeded())
    codes = draw_codes(vectors, seeded(1))
    count = torch.tensor([len(c.unique()) for c in codes])
    assert_same(codes.amax(1).long() + 1, count)
    expected = np.array([(2 / 3) ** k / 3 for k in range(8)] + [(2 / 3) ** 8])
    assert stats.chisquare(torch.bincount(count, minlength=11)[2:], 1500 * expected).pvalue > TINY


def test_cells_of_categories_are_convex() -> None:
    pairs = torch.randn(40, 60, 2, generator=seeded())
    middle = (pairs[:, :30] + pairs[:, 30:]) / 2
    codes = draw_codes(torch.cat([pairs, middle], 1), seeded(1))
    same = codes[:, :30] == codes[:, 30:60]
    assert same.sum() > 200
    assert_same(codes[:, 60:][same], codes[:, :30][same])


def test_shares_of_categorical_features() -> None:
    raw = SCM({"points": 30}, variant="graph", model={"categorical": 0.8}).draw_table(1500, 20, 60, seeded())
    share = raw.categorical.double().mean(1)
    assert_mean((share > 0).double(), 0.5, 0.01)
    assert stats.kstest(share[share > 0], stats.uniform(0, 0.8).cdf).statistic < 0.06
    codes = raw.x.mT[raw.categorical]
    assert_same(codes, codes.round())
    assert set(codes.unique().tolist()) == set(map(float, range(10)))
    assert not SCM({"points": 30}, variant="graph").draw_table(50, 20, 9, seeded()).categorical.any()


def test_tables_that_say_nothing_are_drawn_again_where_that_is_asked_for() -> None:
    """Without edges a table is related where a feature is a component of the target's own node."""
    parents = torch.full((2, 4, 3), -1)
    parents[:, 3, 0], parents[1, 2, 1] = 1, 1
    owner = torch.tensor([[0, 2, 3], [0, 2, 3]])
    assert unrelated_tables(parents, owner).tolist() == [True, False]
    assert unrelated_tables(parents[:1], torch.tensor([[3, 3]])).tolist() == [False]
    sizes = {"points": 60, "features": 2, "context": 50}
    first, second = (SCM(sizes, variant="graph", model={"roots": 1.0, "related": related}) for related in (False, True))
    x, y = (part[:, :50] for part in first.sample(300, generator=seeded()).observed[:2])
    again = second.sample(300, generator=seeded())
    same = (again.observed.y_context == y).all(1)
    assert second.counts["unrelated target"] >= int((~same).sum()) > 50
    assert first.counts["unrelated target"] == 0
    assert_same(again.observed.x_context[same], x[same])


def test_the_target_is_a_component_of_its_vector() -> None:
    raw = SCM({"points": 30}, variant="graph", model={"size": 3}).draw_table(50, 40, 4, seeded())
    assert raw.vector.shape == (50, 40, 3)
    y, vector = raw.y - raw.y.mean(1, keepdim=True), raw.vector - raw.vector.mean(1, keepdim=True)
    product = (y[..., None] * vector).sum(1).square()
    correlation = product / (y.square().sum(1, keepdim=True) * vector.square().sum(1)).clamp(min=1e-9)
    assert (correlation[y.abs().amax(1) > 0.01].amax(1) > 0.999).all()


@pytest.mark.parametrize("noise", [None, 0.3])
def test_classes_of_nodes_are_drawn_and_can_be_told(noise: float | None) -> None:
    prior = SCM(
        {"points": 80, "features": 6, "context": 60},
        {"kind": "classes", "nearest": 1.0},
        variant="graph",
        model={"categorical": 1.0, "cause_laws": ["mixture", "normal"]},
        noise=noise,
    )
    task = prior.sample(300, generator=seeded())
    found = torch.nn.functional.one_hot(task.observed.y_context.long(), 10).sum(1) > 0
    assert_same(found.sum(1), task.observed.n_classes)
    assert prior.counts["missing class"] < 3000
    if noise is not None:
        rest = (task.law.log_prob(task.hidden) + task.law.entropy()).mean(1)
        assert_mean(rest, 0.0)


@pytest.mark.parametrize("features", [1, 6, 40])
def test_layout_and_range_over_many_draws(features: int) -> None:
    raw = SCM({"points": 30}, variant="graph").draw_table(300, 70, features, seeded())
    assert raw.x.shape == (300, 70, features)
    assert raw.y.shape == (300, 70)
    assert raw.x.isfinite().all()
    assert raw.x.abs().max() < 12
    variance = torch.cat([raw.x, raw.y[..., None]], 2).square().mean(1)
    assert_mean(variance[variance > 0], 1.0, 0.02)
    assert (variance == 0).double().mean() < 0.02


def test_targets_can_be_told_from_features() -> None:
    raw = SCM({"points": 30}, variant="graph").draw_table(300, 128, 8, seeded())
    x, y = raw.x.double(), raw.y[..., None].double()
    left = (y - x @ torch.linalg.pinv(x) @ y).square().mean(1)
    assert 0.1 < left.median() < 0.9


def test_tasks_are_independent_and_the_mean_of_the_rows_does_not_tell_the_last_one() -> None:
    prior = SCM({"points": 30}, variant="graph")
    y = prior.draw_table(400, 64, 3, seeded()).y
    assert_mean((y[:-1] * y[1:]).mean(1), 0.0)
    assert y.mean(1).abs().median() > 0.02


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"nodes": [5, 2]}, "low <= high"),
        ({"nodes": [5]}, "two whole numbers"),
        ({"size": 0}, "size must"),
        ({"functions": ["tree"]}, "did you mean 'trees'"),
        ({"functions": []}, "Unknown function"),
        ({"cause_laws": ["gauss"]}, "Unknown law of causes"),
        ({"roots": 2}, "share"),
        ({"more": -1}, "share"),
        ({"categorical": 1.5}, "categorical is a share"),
        ({"width": 3}, "variant 'graph'"),
    ],
)
def test_impossible_arguments_are_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SCM({"points": 30}, variant="graph", model=model)
