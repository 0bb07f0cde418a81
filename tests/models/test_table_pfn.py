"""The network for tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from priorfit.models import Network, TablePFN
from tests.cases import CLASSES, NUMBERS, SMALL_TABLES, assert_same, networks, perturbed, seeded, tables

CLOSE = {"rtol": 1e-3, "atol": 2e-3}
KINDS: dict[int, dict[str, Any]] = {3: CLASSES, 0: NUMBERS}
SIX = {"x": torch.zeros(3, 9, 6), "x_query": torch.zeros(3, 4, 6), "categorical": torch.zeros(3, 6, dtype=torch.bool)}


@pytest.fixture(params=KINDS, ids=["numbers" if not k else "classes" for k in KINDS])
def n_classes(request: pytest.FixtureRequest) -> int:
    return request.param


def build(n_classes: int, *, trained: bool = True) -> Network:
    network = networks.build("table_pfn", KINDS[n_classes])
    return (perturbed(network, 0.5) if trained else network).eval()


def predict(network: Network, *observed: Tensor) -> Tensor:
    with torch.no_grad():
        distribution = network(*observed)
    return distribution.mean if hasattr(distribution, "borders") else distribution.probs


def test_encoding_once_and_decoding_is_forward(n_classes: int) -> None:
    network, (x, y, x_query, *columns) = build(n_classes), tables(n_classes)(seeded())
    with torch.no_grad():
        cache = network.encode(x, y, *columns)
        parts = [network.decode(cache, part) for part in x_query.split(3, 1)]
    found = torch.cat([part.mean if n_classes == 0 else part.probs for part in parts], 1)
    assert_same(found, predict(network, x, y, x_query, *columns), **CLOSE)


def test_order_of_rows_does_not_matter(n_classes: int) -> None:
    network, (x, y, x_query, *columns) = build(n_classes), tables(n_classes)(seeded())
    expected = predict(network, x, y, x_query, *columns)
    order = torch.randperm(x.shape[1], generator=seeded(1))
    assert_same(predict(network, x[:, order], y[:, order], x_query, *columns), expected, **CLOSE)
    assert_same(predict(network, x, y, x_query.flip(1), *columns).flip(1), expected, **CLOSE)
    assert (predict(network, x, y.roll(1, 1), x_query, *columns) - expected).abs().max() > 0.01


def test_units_of_columns_do_not_matter(n_classes: int) -> None:
    network, (x, y, x_query, *columns) = build(n_classes), tables(n_classes)(seeded())
    factor, shift = torch.tensor([1.0, 1e4, 0.01, -3.0]), torch.tensor([0.0, 5e4, -2.0, 7.0])
    expected = predict(network, x, y, x_query, *columns)
    moved = [part * factor.abs() + shift for part in (x, x_query)]
    assert_same(predict(network, moved[0], y, moved[1], *columns), expected, rtol=0.02, atol=0.02)


def test_predicted_numbers_follow_the_units_of_the_target() -> None:
    network, (x, y, x_query, *columns) = build(0), tables(0)(seeded())
    expected = predict(network, x, y, x_query, *columns)
    assert_same(predict(network, x, 1e3 * y - 50, x_query, *columns), 1e3 * expected - 50, rtol=0.01, atol=1.0)


def test_untrained_it_predicts_with_the_stacked_experts() -> None:
    """Of a smooth function of one of two features, nearly all is known; of labels by its sign too."""
    generator = seeded()
    x = torch.randn(2, 120, 2, generator=generator)
    f = (1.5 * x[..., 0]).sin()
    columns = torch.zeros(2, 2, dtype=torch.bool)
    number = predict(build(0, trained=False), x[:, :80], f[:, :80], x[:, 80:], columns, torch.zeros(2).long())
    assert (number - f[:, 80:]).square().mean() < 0.05 * f.var()
    y = (f > 0).float()
    probs = predict(build(3, trained=False), x[:, :80], y[:, :80], x[:, 80:], columns, torch.full((2,), 2))
    assert (probs[..., 1].round() == y[:, 80:]).float().mean() > 0.9
    assert (probs[..., 2:] == 0).all()


def test_missing_values_are_not_numbers(n_classes: int) -> None:
    network, (x, y, x_query, *columns) = build(n_classes), tables(n_classes)(seeded())
    full = x_query.nan_to_num(0.3)
    holes = full.clone()
    holes[..., 1] = torch.nan
    both = [predict(network, x, y, part, *columns) for part in (full, holes)]
    assert (both[0] - both[1]).abs().max() > 1e-3
    assert both[1].isfinite().all()
    nothing = torch.full_like(x, torch.nan)
    assert predict(network, nothing, y, x_query, *columns).isfinite().all()


@pytest.mark.parametrize(("n", "m", "n_features"), [(0, 1, 1), (1, 2, 2), (2, 1, 5), (60, 3, 4)])
def test_any_number_of_rows_and_features(n_classes: int, n: int, m: int, n_features: int) -> None:
    observed = tables(n_classes, n, m, n_features)(seeded())
    found = predict(build(n_classes), *observed)
    assert found.shape[:2] == (3, m)
    assert found.isfinite().all()


@pytest.mark.parametrize("n", [0, 1])
def test_contexts_whose_numbers_do_not_vary_leave_the_spread_of_the_prior(n: int) -> None:
    network = build(0, trained=False)
    network.fit_to_prior([], [3 + 5 * torch.randn(200, 50, generator=seeded())], [])
    x, y, x_query, *columns = tables(0, n, 3, 2)(seeded())
    with torch.no_grad():
        distribution = network(x, y, x_query, *columns)
    assert_same(distribution.mean, torch.full((3, 3), 3.0) if not n else y.expand(3, 3), rtol=0, atol=0.1)
    spread = distribution.icdf(torch.tensor(0.75)) - distribution.icdf(torch.tensor(0.25))
    assert ((spread > 0.5 * 5) & (spread < 4 * 5)).all()  # 1.35 * 5 for a normal distribution, 1.63 * 5 for Student's t


def test_equal_numbers_are_predicted_exactly_whatever_their_size() -> None:
    x, y, x_query, *columns = tables(0, 37)(seeded())
    predicted = predict(build(0, trained=False), x, torch.full_like(y, 1234567936.0), x_query, *columns)
    assert_same(predicted, torch.full_like(predicted, 1234567936.0), rtol=1e-7, atol=0)


def test_one_network_may_predict_both_kinds() -> None:
    network = perturbed(TablePFN(**{**SMALL_TABLES, "max_classes": 3, "n_buckets": 8}), 0.5).eval()  # type: ignore[arg-type]
    assert predict(network, *tables(3)(seeded())).shape == (3, 4, 3)
    assert predict(network, *tables(0)(seeded())).shape == (3, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": torch.zeros(3, 9, 6), "x_query": torch.zeros(3, 4, 6), "categorical": torch.zeros(3, 6).bool()},
            "1 to 5 fea",
        ),
        ({"n_classes": torch.tensor([3, 3, 5])}, "2 to 4 classes"),
        ({"n_classes": torch.tensor([3, 3, 0])}, "all or none"),
        ({"n_classes": torch.zeros(3).long()}, "classes, not numbers"),
        ({"y": torch.full((3, 9), 0.5)}, "whole numbers from 0"),
        ({"y": torch.full((3, 9), 3.0)}, "whole numbers from 0"),
        ({"categorical": torch.zeros(3, 4)}, "must be bool"),
        ({"categorical": torch.zeros(3, 3).bool()}, "must agree"),
        ({"x": torch.full((3, 9, 4), torch.inf)}, "stands for a missing value"),
    ],
)
def test_tables_that_it_cannot_take_are_refused(change: dict[str, Tensor], message: str) -> None:
    names = ("x", "y", "x_query", "categorical", "n_classes")
    observed = dict(zip(names, tables(3)(seeded()), strict=True)) | change
    with pytest.raises(ValueError, match=message):
        build(3)(*observed.values())


def test_a_network_for_numbers_refuses_classes_and_the_reverse() -> None:
    with pytest.raises(ValueError, match="numbers, not classes"):
        build(0)(*tables(3)(seeded()))
    with pytest.raises(ValueError, match="classes, not numbers"):
        build(3)(*tables(0)(seeded()))


def test_decoding_refuses_queries_of_another_table() -> None:
    network, (x, y, x_query, *columns) = build(3), tables(3)(seeded())
    cache = network.encode(x, y, *columns)
    for wrong in (x_query[:2], x_query[..., :3], x_query[0]):
        with pytest.raises(ValueError, match="as the context has"):
            network.decode(cache, wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 15, "n_heads": 2}, "multiple of n_heads"),
        ({"max_classes": 1}, "at least 2"),
        ({"n_buckets": 1}, "at least 2"),
        ({"max_classes": 0}, "without a target"),
        ({"n_thinking": 0}, "must be positive"),
    ],
)
def test_impossible_sizes_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TablePFN(**arguments)
