"""Quantiles by bisection against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal, StudentT

from priorfit.evaluation.quantiles import quantile


@pytest.mark.parametrize("level", [0.001, 0.05, 0.5, 0.95])
def test_bisection_inverts_a_mixture(level: float) -> None:
    loc = torch.tensor([[0.0, 0.0], [-50.0, 50.0]], dtype=torch.float64)
    mixture = MixtureSameFamily(
        Categorical(torch.tensor([[0.5, 0.5], [0.3, 0.7]], dtype=torch.float64)), Normal(loc, 1.0)
    )
    found = quantile(mixture, level)
    assert found[0].item() == pytest.approx(Normal(0.0, 1.0).icdf(torch.tensor(level).double()).item(), abs=1e-6)
    assert mixture.cdf(found).tolist() == pytest.approx([level, level], abs=1e-9)


def test_an_icdf_is_used_where_there_is_one() -> None:
    normal = Normal(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    assert torch.equal(quantile(normal, 0.9), normal.icdf(torch.tensor(0.9)))


def test_without_icdf_and_cdf_there_is_no_quantile() -> None:
    with pytest.raises(NotImplementedError):
        quantile(StudentT(torch.tensor([3.0])), 0.9)
