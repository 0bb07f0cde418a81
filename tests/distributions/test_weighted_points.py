"""Laws that are known by weighted points."""

from __future__ import annotations

import pytest
import torch

from priorfit.distributions import WeightedPoints
from tests.cases import assert_mean, assert_same

LAW = WeightedPoints(torch.tensor([[0.0, 1.0], [4.0, 3.0], [9.0, 9.0]]), torch.tensor([3.0, 1.0, 0.0]).log() + 7)


def test_moments_are_weighted() -> None:
    assert LAW.weights.tolist() == pytest.approx([0.75, 0.25, 0])
    assert LAW.mean.tolist() == pytest.approx([1, 1.5])
    assert LAW.variance.tolist() == pytest.approx([3, 0.75])
    assert (LAW.batch_shape, LAW.event_shape) == ((), (2,))


def test_draws_are_points_in_proportion() -> None:
    torch.manual_seed(0)
    draws = LAW.expand(torch.Size((2, 3))).sample((2000,))
    assert draws.shape == (2000, 2, 3, 2)
    assert {tuple(point) for point in draws.flatten(0, -2).tolist()} == {(0.0, 1.0), (4.0, 3.0)}
    assert_mean((draws[:, 1, 2, 0] == 4).double(), 0.25)


def test_expectations_leave_points_of_weight_zero_out() -> None:
    assert LAW.expectation(lambda points: 1 / (9 - points[..., 0])).item() == pytest.approx(0.75 / 9 + 0.25 / 5)


def test_expand_repeats() -> None:
    large = LAW.expand(torch.Size((4,)))
    assert_same(large.mean, LAW.mean.expand(4, 2))


def test_there_is_no_density() -> None:
    with pytest.raises(NotImplementedError):
        LAW.log_prob(torch.zeros(2))


@pytest.mark.parametrize(
    ("values", "log_weights", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(2), "log weights"),
        (torch.zeros(3), torch.zeros(3), "log weights"),
        (torch.zeros(3, 2), torch.full((3,), -torch.inf), "must not be zero"),
        (torch.zeros(3, 2), torch.full((3,), torch.nan), "must be numbers"),
    ],
)
def test_impossible_laws_are_refused(values: torch.Tensor, log_weights: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedPoints(values, log_weights)
