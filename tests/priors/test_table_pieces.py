"""What is done to a table: each piece against closed forms, SciPy, or what it must leave alone.

Letters: B tasks, N rows, F features, P columns, K codes.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from priorfit.priors.table_pieces import (
    CategoricalColumns,
    ClassTarget,
    Irrelevant,
    MissingValues,
    NumberTarget,
    Outliers,
    Piece,
    Raw,
    SoftClip,
    Warp,
    pieces,
    targets,
)
from priorfit.priors.table_pieces.bins import encode, permutations, quantile_thresholds, rank_thresholds
from priorfit.priors.table_pieces.class_target import interval_probabilities
from priorfit.priors.table_pieces.flips import flip
from priorfit.priors.table_pieces.missing import levels
from priorfit.priors.table_pieces.prototypes import noisy_codes
from priorfit.priors.table_pieces.target import Values
from priorfit.priors.table_pieces.warp import kumaraswamy
from tests.cases import TINY, assert_mean, assert_same, seeded

ALWAYS: dict[str, Piece] = {
    "irrelevant": Irrelevant(1.0),
    "warp": Warp(1.0),
    "outliers": Outliers(1.0, 1.0, 0.5),
    "soft_clip": SoftClip(sigma=1.0),
    "categorical": CategoricalColumns(1.0),
    "missing": MissingValues(1.0),
}


def raw(batch_size: int = 50, n_rows: int = 40, n_features: int = 6, coded: int = 0) -> Raw:
    """Normal features, of which the first `coded` are the codes 0, 1, 2; the target is the last one."""
    x = torch.randn(batch_size, n_rows, n_features, generator=seeded(11))
    x[..., :coded] = torch.randint(3, (batch_size, n_rows, coded), generator=seeded(12)).float()
    categorical = (torch.arange(n_features) < coded).repeat(batch_size, 1)
    return Raw(x, x[..., -1], categorical)


def uniform(p: int, n: int) -> Tensor:
    return torch.rand(p, n, generator=seeded(13))


def full(p: int, value: int) -> Tensor:
    return torch.full((p,), value)


def shares(codes: Tensor, k: int) -> Tensor:
    """The share of each code among (P, N), (P, K)."""
    return torch.nn.functional.one_hot(codes, k).double().mean(1)


# Thresholds and codes


@pytest.mark.parametrize("k", [2, 3, 6])
def test_shares_of_rank_thresholds_are_a_dirichlet_draw(k: int) -> None:
    values = uniform(600, 1000).exp()
    codes = encode(values, rank_thresholds(values, full(600, k), full(600, 1000), k, seeded()))
    found = shares(codes, k)
    assert stats.kstest(found[:, 0], stats.beta(2, k - 1).cdf).pvalue > TINY
    for j in range(1, k):
        assert stats.kstest(found[:, j], stats.beta(1, k).cdf).pvalue > TINY
    names = permutations(full(600, k), k, torch.zeros(600).bool(), seeded(1))
    shuffled = shares(names.gather(1, codes), k)
    for j in range(k):
        assert stats.kstest(shuffled[:, j], stats.beta(1, k - 1).cdf).pvalue > TINY  # uniform on the simplex


@pytest.mark.parametrize("rows", [7, 12, 30])
def test_every_code_occurs_among_the_first_rows(rows: int) -> None:
    values, count = uniform(100, 30), torch.randint(2, 8, (100,), generator=seeded())
    for thresholds in (
        rank_thresholds(values, count, full(100, rows), 9, seeded(1)),
        quantile_thresholds(values, count, full(100, rows), 9),
    ):
        assert thresholds.shape == (100, 8)
        assert_same(thresholds.isfinite().sum(1), count - 1)
        assert (thresholds.sort(1).values == thresholds).all()
        finite = thresholds.isfinite()
        known = (thresholds[:, :, None] == values[:, None, :rows]).any(2)
        assert known[finite].all()
        codes = encode(values, thresholds)
        assert ((shares(codes[:, :rows], 9) > 0).sum(1) == count).all()
        assert (codes < count[:, None]).all()


@pytest.mark.parametrize(("rows", "k", "expected"), [(12, 4, [3, 3, 3, 3]), (10, 3, [3, 3, 4]), (4, 2, [2, 2])])
def test_quantile_thresholds_give_equal_shares(rows: int, k: int, expected: list[int]) -> None:
    values = uniform(20, 15)
    codes = encode(values, quantile_thresholds(values, full(20, k), full(20, rows), k))[:, :rows]
    assert_same((shares(codes, k) * rows).round().long(), torch.tensor(expected).expand(20, -1))


def test_thresholds_with_fewer_rows_than_codes() -> None:
    values = uniform(5, 3)
    for thresholds in (
        rank_thresholds(values, full(5, 6), full(5, 3), 6, seeded()),
        quantile_thresholds(values, full(5, 6), full(5, 3), 6),
    ):
        assert thresholds.shape == (5, 5)
        assert (encode(values, thresholds) < 6).all()


def test_a_value_at_a_threshold_is_above_it() -> None:
    thresholds = torch.tensor([[0.0, 2.0, float("inf")]])
    assert encode(torch.tensor([[-1.0, 0.0, 1.0, 2.0, 3.0]]), thresholds).tolist() == [[0, 1, 1, 2, 2]]


def test_names_are_uniform_on_the_permutations_of_the_codes_in_use() -> None:
    names = permutations(full(6000, 3), 5, torch.zeros(6000).bool(), seeded())
    orders = list(itertools.permutations(range(3)))
    counts = [int((names[:, :3] == torch.tensor(order)).all(1).sum()) for order in orders]
    assert sum(counts) == 6000
    assert stats.chisquare(counts).pvalue > TINY
    assert_same(names.sort(1).values, torch.arange(5).expand(6000, -1))
    assert_same(permutations(full(4, 3), 5, torch.ones(4).bool(), seeded()), torch.arange(5).expand(4, -1))


# Targets


def test_probabilities_of_intervals_are_those_of_scipy() -> None:
    mean, sd = torch.tensor([[0.3, -1.0], [2.0, 0.0]]), torch.tensor([[0.5], [2.0]])
    thresholds = torch.tensor([[-1.0, 0.4, float("inf")], [0.0, 1.0, 3.0]])
    edges = np.pad(thresholds.double().numpy(), ((0, 0), (1, 1)), constant_values=(-np.inf, np.inf))
    cdf = stats.norm.cdf(edges[:, None], mean.numpy()[..., None], sd.numpy()[..., None])
    found = interval_probabilities(mean, sd, thresholds)
    np.testing.assert_allclose(found, np.diff(cdf), rtol=0, atol=1e-6)
    assert found[0, 0, 3] == 0
    certain = interval_probabilities(torch.tensor([[-1.0, 0.4, 0.3]]), torch.zeros(1, 1), thresholds[:1])
    assert certain.tolist() == [[[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]]


def classes(n_context: int, batch_size: int = 4000, **arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Classes (B, N) made of 40 numbers without noise, their number (B,), and the numbers."""
    target = ClassTarget(**arguments)
    values = target.values(torch.randn(batch_size, 40, generator=seeded(2)), None, seeded(3))
    count = target.draw_number(batch_size, n_context, seeded(4))
    labels = target.label(values, count, n_context, seeded(5))
    assert labels.parameters is None
    if "by_value" not in arguments:
        assert not labels.missing.any()
    return labels.y.long(), labels.n_classes, values.clean


def test_number_of_classes_has_its_law() -> None:
    counts = torch.bincount(classes(30)[1], minlength=11)
    expected = [0.5 + 0.5 / 9] + [0.5 / 9] * 8
    assert counts[:2].sum() == 0
    assert stats.chisquare(counts[2:].numpy(), 4000 * np.array(expected)).pvalue > TINY
    assert set(classes(30, number=[3, 5], binary=0.0)[1].tolist()) == {3, 4, 5}
    assert set(classes(30, number=4)[1].tolist()) == {4}


@pytest.mark.parametrize(("n_context", "most"), [(0, 2), (1, 2), (4, 2), (9, 4), (20, 10)])
def test_small_contexts_have_few_classes(n_context: int, most: int) -> None:
    assert int(classes(n_context)[1].max()) == most


@pytest.mark.parametrize("balanced", [0.0, 1.0])
@pytest.mark.parametrize("n_context", [20, 40])
def test_every_class_occurs_in_the_context(n_context: int, balanced: float) -> None:
    y, count, _ = classes(n_context, balanced=balanced)
    assert ((shares(y[:, :n_context], 10) > 0).sum(1) == count).all()
    assert (y < count[:, None]).all()


def test_balanced_classes_have_equal_shares_of_the_context() -> None:
    y, _, _ = classes(24, number=4, balanced=1.0)
    assert_same(shares(y[:, :24], 4), torch.full((4000, 4), 0.25).double())


def test_unbalanced_classes_have_a_uniform_partition() -> None:
    """Of n rows, a class of two has 1 … n - 1 with equal probability: for two random rows it never has none."""
    y, _, _ = classes(20, number=2, balanced=0.0)
    counts = torch.bincount(y[:, :20].sum(1), minlength=21)
    assert counts[0] == counts[20] == 0
    assert stats.chisquare(counts[1:20].numpy()).pvalue > TINY


def test_classes_are_intervals_in_order_or_shuffled() -> None:
    y, _, clean = classes(40, number=3, ordered=1.0)
    in_order = y.gather(1, clean.argsort(1))
    assert (in_order.diff(dim=1) >= 0).all()
    y, _, clean = classes(40, number=3)
    in_order = y.gather(1, clean.argsort(1))
    assert ((in_order.diff(dim=1) != 0).sum(1) == 2).all()  # still intervals
    orders = in_order[:, [0, -1]] @ torch.tensor([3, 1])  # the lowest and the highest class
    assert stats.chisquare(torch.bincount(orders)[[1, 2, 3, 5, 6, 7]].numpy()).pvalue > TINY


def test_thresholds_by_value_are_normal() -> None:
    y, _, _ = classes(40, number=2, by_value=1.0, ordered=1.0, balanced=0.0)
    level = stats.norm.ppf(1 - y.double().mean(1).clamp(0.02, 0.98).numpy())
    centre, width = np.median(level), np.subtract(*np.quantile(level, [0.75, 0.25]))
    assert centre == pytest.approx(0, abs=0.1)
    assert width == pytest.approx(1.349, abs=0.15)


def test_class_noise_makes_the_law_known() -> None:
    target, n = ClassTarget(number=[2, 4], noise=0.5), 30
    values = target.values(torch.randn(3000, 40, generator=seeded()), torch.full((3000,), 0.2), seeded(1))
    labels = target.label(values, target.draw_number(3000, n, seeded(2)), n, seeded(3))
    assert labels.parameters.shape == (3000, 10, 4)
    assert_same(labels.parameters.sum(-1), torch.ones(3000, 10), rtol=0, atol=1e-6)
    used = torch.arange(4) < labels.n_classes[:, None]
    assert (labels.parameters * ~used[:, None]).abs().max() == 0
    hit = torch.nn.functional.one_hot(labels.y[:, n:].long(), 4) - labels.parameters
    weighted = hit * labels.parameters  # uncorrelated with the probabilities, too
    for j in range(4):
        assert_mean(hit[:, 0, j], 0.0)
        assert_mean(weighted[:, 0, j], 0.0)


@pytest.mark.parametrize("sd", [None, 0.4])
def test_nearest_classes_are_those_of_prototypes_in_the_context(sd: float | None) -> None:
    target, n = ClassTarget(nearest=1.0), 25
    noise = None if sd is None else torch.full((800,), sd)
    vector = torch.randn(800, 60, 3, generator=seeded())
    values = target.values(vector[..., 1], noise, seeded(1))._replace(vector=vector)
    count = target.draw_number(800, n, seeded(2))
    labels = target.label(values, count, n, seeded(3))
    y = labels.y.long()
    assert (y < count[:, None]).all()
    if sd is None:
        assert labels.parameters is None
        assert ((shares(y[:, :n], 10) > 0).sum(1) == count).all()
        assert not labels.missing.any()
        ends, middle = vector[:, :20], (vector[:, :20] + vector[:, 20:40]) / 2  # cells are convex
        both = target.label(values._replace(vector=torch.cat([vector[:, :40], middle], 1)), count, n, seeded(3)).y
        same = both[:, :20] == both[:, 20:40]
        assert ends.shape == middle.shape
        assert_same(both[:, 40:][same], both[:, :20][same])
    else:
        assert_same(labels.parameters.sum(-1), torch.ones(800, 35), rtol=0, atol=1e-5)
        hit = torch.nn.functional.one_hot(y[:, n:], 10) - labels.parameters
        for j in range(10):
            assert_mean(hit[..., j].mean(1), 0.0)
            assert_mean((hit * labels.parameters)[..., j].mean(1), 0.0)


def test_noisy_codes_have_the_law_of_gumbel_noise() -> None:
    scores = torch.tensor([[0.0, 1.0, -0.5, -math.inf]]).expand(1, 20_000, 4)
    codes, law = noisy_codes(scores, torch.tensor([[0.5]]), seeded())
    weights = np.exp([0.0, 2.0, -1.0, -np.inf])
    np.testing.assert_allclose(law[0, 0], weights / weights.sum(), rtol=1e-5)
    counts = torch.bincount(codes[0], minlength=4)
    assert counts[3] == 0
    assert stats.chisquare(counts[:3], 20_000 * weights[:3] / weights.sum()).pvalue > TINY
    certain, law = noisy_codes(scores, torch.zeros(1, 1), seeded())
    assert (certain == 1).all()
    assert_same(law[0, 0], torch.tensor([0.0, 1.0, 0.0, 0.0]))
    assert noisy_codes(scores, None, seeded())[1] is None


def test_without_vectors_the_nearest_values_decide_whatever_their_scale() -> None:
    target, n = ClassTarget(nearest=1.0, number=3, noise=0.3), 30
    clean = torch.randn(200, 40, generator=seeded())
    first, second = (
        target.label(target.values(scale * clean, None, seeded(1)), full(200, 3), n, seeded(2)) for scale in (1, 64)
    )
    assert_same(first.y, second.y)
    assert_same(first.parameters, second.parameters, rtol=0, atol=1e-3)


def test_a_share_of_labels_is_flipped() -> None:
    """Of the labels that are replaced, one in K stays by chance; the law of the queries says so."""
    plain, flipped = ClassTarget(number=4), ClassTarget(number=4, flip=0.6)
    values = plain.values(torch.randn(3000, 300, generator=seeded()), None, seeded())
    one, two = (target.label(values, full(3000, 4), 280, seeded(1)) for target in (plain, flipped))
    wrong = (one.y != two.y).double().mean(1)
    touched = wrong > 0
    assert_mean(touched.double(), 0.5, 0.005)
    assert stats.kstest(wrong[touched], stats.uniform(0, 0.6 * 3 / 4).cdf).statistic < 0.05
    right = two.parameters.gather(2, one.y[:, 280:, None].long())[..., 0]
    assert_same(two.parameters.sum(-1), torch.ones(3000, 20), rtol=0, atol=1e-5)
    assert_mean((right - (one.y == two.y)[:, 280:].double()).mean(1), 0.0)
    assert ((right < 1).any(1) == (right < 1).all(1)).all()


def test_flips_mix_a_known_law_with_the_uniform_one_of_the_classes_in_use() -> None:
    y, law = torch.zeros(4000, 9, dtype=torch.int64), torch.tensor([[0.7, 0.3, 0.0, 0.0]]).expand(4000, 2, 4)
    count = full(4000, 3)
    got, mixed = flip(y, law, count, 1.0, seeded())
    share = 1 - (mixed[:, 0, 0] - mixed[:, 0, 1]) / 0.4
    assert_same(mixed[..., 2], (share / 3)[:, None].expand(-1, 2), rtol=0, atol=1e-5)
    assert (mixed[..., 3] == 0).all()
    assert (got < 3).all()
    for j in (1, 2):
        assert_mean((got == j).double().mean(1) - share / 3, 0.0)


def test_numbers_keep_their_scale_and_noise_adds_up() -> None:
    target = NumberTarget(noise=0.3)
    y = 5 + 7 * torch.randn(500, 40, generator=seeded())
    clean, noisy, sd, _ = target.values(y, torch.full((500,), 2.8), seeded(1))
    assert_same(clean, y)
    expected = ((0.3 * y.std(1, correction=0, keepdim=True)) ** 2 + 2.8**2).sqrt()
    assert_same(sd, expected, rtol=1e-5, atol=0)
    assert stats.kstest(((noisy - clean) / sd).flatten(), "norm").pvalue > TINY
    labels = target.label(Values(clean, noisy, sd), torch.zeros(500, dtype=torch.int64), 30, seeded())
    law = target.law(labels.parameters)
    assert_same(law.mean, clean[:, 30:])
    assert_same(law.stddev, sd.expand(-1, 10))
    assert_same(labels.y, noisy)


def test_warped_targets_keep_their_order_and_range() -> None:
    y = torch.randn(400, 40, generator=seeded())
    plain, bent = (NumberTarget(warp=warp).values(y, None, seeded(1)).clean for warp in (0.0, 0.4))
    assert_mean(((plain - bent).abs().amax(1) > 1e-3).double(), 0.4)
    assert (bent.gather(1, y.argsort(1)).diff(dim=1) >= 0).all()
    assert_same(bent.aminmax(dim=1), plain.aminmax(dim=1), rtol=0, atol=1e-5)


def test_a_constant_target_stays_finite() -> None:
    values = NumberTarget().values(torch.full((2, 5), 3.0), torch.ones(2), seeded())
    assert_same(values.clean, torch.full((2, 5), 3.0))
    assert values.noisy.isfinite().all()


# Pieces in common


def test_every_piece_is_tried() -> None:
    assert set(ALWAYS) == set(pieces.classes)


@pytest.mark.parametrize("name", ALWAYS)
def test_pieces_are_deterministic_and_leave_their_input_alone(name: str) -> None:
    given = raw(coded=2)
    before = given.x.clone()
    first, second = (ALWAYS[name](given, seeded(1)) for _ in range(2))
    assert torch.equal(first.x.nan_to_num(99), second.x.nan_to_num(99))
    assert first.x.shape == given.x.shape
    assert_same(given.x, before)
    assert_same(first.y, given.y)


@pytest.mark.parametrize("name", ALWAYS)
def test_pieces_spare_the_other_columns(name: str) -> None:
    given, piece = raw(coded=2), ALWAYS[name].replace(columns=0.8)
    chosen = piece.choose(given, seeded(1))
    changed = ~((piece(given, seeded(1)).x == given.x).all(1))  # (B, F)
    assert changed.any()
    assert not (changed & ~chosen).any()
    if name not in ("irrelevant", "missing"):
        assert not (changed & given.categorical).any()


@pytest.mark.parametrize("name", ALWAYS)
@pytest.mark.parametrize("changes", [{"tables": 0.0}, {"columns": 0.0}])
def test_pieces_that_are_off_change_nothing(name: str, changes: dict[str, float]) -> None:
    given = raw(coded=2)
    assert_same(ALWAYS[name].replace(**changes)(given, seeded()), given)


@pytest.mark.parametrize("name", ALWAYS)
def test_one_row_is_a_table_too(name: str) -> None:
    assert ALWAYS[name](raw(n_rows=1), seeded()).x.shape == (50, 1, 6)


def test_columns_are_chosen_with_their_law() -> None:
    chosen = Irrelevant(0.3, 0.6).choose(raw(2000, 1, 400), seeded())
    share = chosen.double().mean(1)
    affected = share > 0
    assert_mean(affected.double(), 0.3, 0.004)  # a share below 1 / 400 is seldom seen
    assert stats.kstest(share[affected], stats.uniform(0, 0.6).cdf).pvalue > TINY


# Each piece


def test_irrelevant_columns_keep_their_values_and_say_nothing() -> None:
    given = raw(2000, 40, 1)
    dealt = Irrelevant(1.0, 1.0)(given, seeded())
    assert_same(dealt.x.sort(1).values, given.x.sort(1).values)
    chosen = ~(dealt.x == given.x).all(1)[:, 0]
    assert chosen.double().mean() == pytest.approx(0.5, abs=0.06)
    assert_mean((dealt.x[chosen, :, 0] * given.y[chosen]).mean(1), 1 / 40)  # a value may be dealt to its own row
    assert_mean((dealt.x[~chosen, :, 0] * given.y[~chosen]).mean(1), 1.0)


def test_warp_is_the_kumaraswamy_distribution_function() -> None:
    values = 3 + 2 * uniform(30, 50)
    found = kumaraswamy(values, seeded(1), 0.7)
    a, b = (0.7 * torch.randn(2, 30, 1, generator=seeded(1))).exp().double().numpy()
    low, high = values.min(1, keepdim=True).values.numpy(), values.max(1, keepdim=True).values.numpy()
    u = (values.double().numpy() - low) / (high - low)
    expected = low + (high - low) * stats.beta(1, b).cdf(u**a)  # U^a ~ Beta(1, b)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert_same(kumaraswamy(torch.ones(2, 5), seeded()), torch.ones(2, 5))


def test_soft_clip_has_logarithmic_tails() -> None:
    columns = torch.cat([torch.linspace(-1, 1, 100), torch.tensor([30.0, -20.0])])[None]
    found = SoftClip(sigma=2.0).clipped(columns)
    mean, sd = columns.mean(), columns.std(correction=0)
    z = ((columns - mean) / sd)[0, -2:].double().numpy()
    np.testing.assert_allclose(found[0, -2] - mean, sd * (2 + np.log(z[0] - 1)), rtol=1e-5)
    np.testing.assert_allclose(found[0, -1] - mean, -sd * (2 + np.log(-z[1] - 1)), rtol=1e-5)
    assert_same(found[:, :100], columns[:, :100])


def test_outliers_are_few_and_move_outwards() -> None:
    columns = torch.randn(800, 500, generator=seeded())
    found = Outliers(rate=0.1, strength=1.2).moved(columns, seeded(1))
    mean = columns.mean(1, keepdim=True)
    factor = (found - mean) / (columns - mean)
    moved = found != columns
    assert stats.kstest(moved.double().mean(1), stats.uniform(0, 0.1).cdf).statistic < 0.1
    assert_mean(moved.double().mean(1), 0.05)
    assert stats.kstest(factor[moved][:3000].double().log() / 1.2, stats.halfnorm.cdf).pvalue > TINY


def test_levels_count_equal_values_half() -> None:
    assert levels(torch.tensor([[2.0, 1.0, 4.0, 2.0]])).tolist() == [[0.5, 0.125, 0.875, 0.5]]
    assert levels(torch.zeros(1, 7)).tolist() == [[0.5] * 7]


@pytest.mark.parametrize("informative", [0.0, 1.0])
def test_missing_values_have_their_rate(informative: float) -> None:
    columns = torch.randn(600, 400, generator=seeded())
    found = MissingValues(rate=0.4, informative=informative).thinned(columns, seeded(1))
    gone = found.isnan()
    assert_same(found[~gone], columns[~gone])
    assert stats.kstest(gone.double().mean(1), stats.uniform(0, 0.4).cdf).statistic < 0.06
    assert_mean(gone.double().mean(1), 0.2)


def test_missing_values_depend_on_the_value_only_where_that_is_asked_for() -> None:
    columns = torch.randn(2000, 200, generator=seeded())
    level = levels(columns) - 0.5
    for informative, slope in ((0.0, 0.0), (1.0, 1.0), (0.5, 0.5)):
        gone = MissingValues(rate=0.5, informative=informative).thinned(columns, seeded(1)).isnan().double()
        found = (gone * level).mean(1)  # rate / 6 where high values are missing, minus that where low ones are
        if informative == 0:
            assert_mean(found, 0.0)
        assert_mean(found, 0.0, 0.001)
        assert found.abs().mean() == pytest.approx(slope * 0.25 / 6 + (1 - slope) * 0.0085, abs=0.003)


@pytest.mark.parametrize("shuffled", [0.0, 1.0])
def test_categories_are_dense_codes_of_their_number(shuffled: float) -> None:
    columns = torch.randn(3000, 60, generator=seeded())
    codes = CategoricalColumns(categories=[3, 7], shuffled=shuffled).codes(columns, seeded(1))
    assert codes.dtype == torch.float32
    count = torch.tensor([len(row.unique()) for row in codes])
    assert_same(codes.amax(1).long() + 1, count)
    assert stats.chisquare(torch.bincount(count)[3:].numpy()).pvalue > TINY
    in_order = codes.gather(1, columns.argsort(1)).diff(dim=1)
    assert ((in_order != 0).sum(1) == count - 1).all()  # intervals of the values
    rises = (in_order >= 0).all(1).double()
    if shuffled:
        assert_mean(rises, sum(1 / math.factorial(k) for k in range(3, 8)) / 5)
    else:
        assert rises.all()


def test_categories_mark_their_columns() -> None:
    given = raw(coded=2)
    found = CategoricalColumns(1.0, 1.0, 4)(given, seeded())
    changed = ~(found.x == given.x).all(1)
    assert_same(found.categorical, given.categorical | changed)
    marked = found.x.mT[changed]
    assert set(marked.unique().tolist()) == {0.0, 1.0, 2.0, 3.0}


# Bad input


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("missing", {"rate": 0.6}, "rate must be a number from 0 to 0.5"),
        ("missing", {"tables": 1.5}, "tables must be a number from 0 to 1"),
        ("missing", {"informative": None}, "informative"),
        ("warp", {"columns": -0.1}, "columns"),
        ("warp", {"strength": float("nan")}, "strength"),
        ("warp", {"strenght": 1}, "did you mean 'strength'"),
        ("outliers", {"rate": True}, "rate"),
        ("soft_clip", {"sigma": "4"}, "sigma"),
        ("categorical", {"categories": 1}, "categories must be a whole number from 2"),
        ("categorical", {"categories": [5, 3]}, "categories"),
        ("categorical", {"shuffled": 2}, "shuffled"),
        ("irelevant", {}, "did you mean 'irrelevant'"),
    ],
)
def test_impossible_pieces_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pieces.build(name, arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("class", {}, "did you mean 'classes'"),
        ("classes", {"number": 1}, "number must be a whole number from 2 to 10"),
        ("classes", {"number": [2, 11]}, "number"),
        ("classes", {"binary": 2}, "binary"),
        ("classes", {"flip": 2}, "flip"),
        ("classes", {"nearest": -1}, "nearest"),
        ("classes", {"by_value": -1}, "by_value"),
        ("classes", {"balance": 0.5}, "did you mean 'balanced'"),
        ("classes", {"ordered": "yes"}, "ordered"),
        ("number", {"noise": 0}, "noise must be a positive number"),
        ("number", {"warp": 3}, "warp"),
        ("number", {"number": 3}, "takes no argument 'number'"),
    ],
)
def test_impossible_targets_are_refused(kind: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        targets.build(kind, arguments)
