"""When Markov jump processes are observed."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from priorfit.priors.jump_grids import GRIDS, draw_times
from tests.cases import TINY, assert_uniform, seeded


@pytest.mark.parametrize("n_points", [2, 3, 100])
@pytest.mark.parametrize("kind", GRIDS)
def test_times_increase_and_stay_at_the_last_one(kind: str, n_points: int) -> None:
    times, seen = draw_times({kind: 1.0}, 20, 5, n_points, seeded())
    assert times.shape == seen.shape
    length = seen.sum(-1)
    assert int(length.min()) >= 2
    assert int(length.max()) == times.shape[2] <= n_points
    assert torch.equal(seen, torch.arange(times.shape[2]) < length[..., None])
    steps = times.float().diff(dim=-1)
    assert (steps[seen[..., 1:]] > 0).all()
    assert (steps[~seen[..., 1:]] == 0).all()
    assert times.min() >= 0
    assert times.max() <= 1


def test_published_regular_grids() -> None:
    times, seen = draw_times({"regular": 1.0}, 2000, 2, 100, seeded())
    assert torch.equal(times[:, 0], times[:, 1])
    lengths, counts = seen[:, 0].sum(1).unique(return_counts=True)
    assert lengths.tolist() == [25, 34, 50, 100]
    assert stats.chisquare(counts.numpy()).pvalue > TINY
    last = {int(n): round(10 * float(t), 3) for n, t in zip(seen[:, 0].sum(1), times[:, 0, -1], strict=True)}
    assert last == {100: 10.0, 50: 9.899, 34: 10.0, 25: 9.697}


def test_published_thinned_grids() -> None:
    times, seen = draw_times({"thinned": 1.0}, 200, 50, 100, seeded())
    assert torch.equal((99 * times).round(), (99 * times).round().clamp(0, 99))
    lengths = seen.sum(-1)
    half = lengths.double().mean(1) > 37.5
    assert stats.binomtest(int(half.sum()), 200).pvalue > TINY
    for mine, share in ((half, 0.5), (~half, 0.25)):
        counts = lengths[mine].flatten()
        law = stats.binom(100, share)
        low, high = law.ppf(0.01), law.ppf(0.99)
        bins = counts.clamp(low, high).long().bincount(minlength=int(high) + 1)[int(low) :].numpy()
        expected = [law.cdf(low), *law.pmf(range(int(low) + 1, int(high))), law.sf(high - 1)]
        assert stats.chisquare(bins, len(counts) * torch.tensor(expected).numpy()).pvalue > TINY


def test_uniform_times_are_uniform_and_differ_between_paths() -> None:
    times, seen = draw_times({"uniform": 1.0}, 40, 6, 20, seeded())
    assert_uniform(times[seen])
    assert {int(n) for n in seen.sum(-1).unique()} == {5, 7, 10, 20}
    assert (times[:, 0] != times[:, 1]).any(1).all()


def test_kinds_are_drawn_by_their_weights() -> None:
    times, _ = draw_times({"full": 1.0, "uniform": 3.0}, 2000, 1, 4, seeded())
    full = (times[:, 0] * 3).sub(torch.arange(4)).abs().amax(1) < 1e-9
    assert stats.binomtest(int(full.sum()), 2000, 0.25).pvalue > TINY
