"""The bar distribution against numerical integration, sampling, and the laws that it approximates."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Laplace, Normal

from priorfit.distributions import BarDistribution
from priorfit.distributions.bar import HALF_NORMAL_MEDIAN, quantile_borders
from tests.cases import TINY, assert_same, seeded, uneven_bars

NODES, WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(40))
LEVELS = torch.tensor([1e-6, 1e-4, 0.01, 0.2, 0.5, 0.83, 0.99, 1 - 1e-4, 1 - 1e-6], dtype=torch.float64)
BORDERS = torch.tensor([-3.0, -1.5, -1.2, -0.3, 0.0, 0.7, 0.75, 2.0, 4.0], dtype=torch.float64)
MASSES = torch.tensor([0.05, 0.1, 0.2, 0.02, 0.3, 0.13, 0.12, 0.08], dtype=torch.float64)
CASES = {
    "plain": BarDistribution(MASSES.log(), BORDERS),
    "moved": BarDistribution(MASSES.log() + 3.0, BORDERS, loc=-2.0, scale=0.1),
    "two buckets": BarDistribution(torch.tensor([0.3, 0.7]).double().log(), torch.tensor([-1.0, 0.5, 1.0])),
    "light tails": BarDistribution(torch.tensor([-25.0, 0.0, 0.5, -20.0]).double(), BORDERS[:5], scale=2.0),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def bars(request: pytest.FixtureRequest) -> BarDistribution:
    return request.param


def integral(function: Callable[[Tensor], Tensor], breaks: Tensor) -> Tensor:
    """The integral of a function that is smooth between consecutive breaks, by Gauss-Legendre quadrature."""
    breaks = breaks.sort().values
    half, centre = breaks.diff() / 2, (breaks[1:] + breaks[:-1]) / 2
    return (function(centre[:, None] + half[:, None] * NODES) * WEIGHTS * half[:, None]).sum()


def kinks(bars: BarDistribution, *more: float) -> Tensor:
    """Where the density is not smooth, steps through both tails as far as they matter, and `more`."""
    inner, steps = bars.borders[1:-1], torch.arange(1, 40, dtype=torch.float64)
    tails = [inner[0] - steps * bars.widths[0], inner[-1] + steps * bars.widths[-1]]
    return torch.cat([bars.loc + bars.scale * torch.cat([inner, *tails]), torch.tensor(more, dtype=torch.float64)])


def expectation(bars: BarDistribution, function: Callable[[Tensor], Tensor], *more: float) -> float:
    """E[function(Y)] by quadrature; `more` are the function's own kinks."""
    return integral(lambda y: function(y) * bars.log_prob(y).exp(), kinks(bars, *more)).item()


def points(bars: BarDistribution) -> list[float]:
    """Points far out and near in both tails, on a border, and inside buckets."""
    z = [-20.0, -4.0, -1.6, -0.9, 0.0, 0.3, 0.9, 5.0, 30.0]
    return [(bars.loc + bars.scale * value).item() for value in z]


def test_density_integrates_to_one(bars: BarDistribution) -> None:
    assert expectation(bars, torch.ones_like) == pytest.approx(1, abs=1e-12)


def test_density_inside_a_bucket_is_mass_by_width() -> None:
    inside = torch.tensor([-1.3, -1.0, -0.1, 0.72], dtype=torch.float64)
    expected = MASSES[[1, 2, 3, 5]] / torch.tensor([0.3, 0.9, 0.3, 0.05], dtype=torch.float64)
    assert_same(CASES["plain"].log_prob(inside).exp(), expected, rtol=1e-12, atol=0)


def test_tails_are_half_normals_with_half_their_mass_inside() -> None:
    bars = CASES["plain"]
    below = stats.halfnorm(scale=1.5 / HALF_NORMAL_MEDIAN)
    above = stats.halfnorm(scale=2.0 / HALF_NORMAL_MEDIAN)
    for distance in (0.1, 1.0, 2.0, 9.0):
        low, high = (torch.tensor(z, dtype=torch.float64) for z in (-1.5 - distance, 2.0 + distance))
        assert bars.log_prob(low).item() == pytest.approx(math.log(0.05) + below.logpdf(distance))
        assert bars.log_prob(high).item() == pytest.approx(math.log(0.08) + above.logpdf(distance))
        assert bars.cdf(low).item() == pytest.approx(0.05 * below.sf(distance), rel=1e-9)
        assert 1 - bars.cdf(high).item() == pytest.approx(0.08 * above.sf(distance), rel=1e-6)
    assert bars.cdf(-3.0).item() == pytest.approx(0.025, rel=1e-12)
    assert bars.cdf(4.0).item() == pytest.approx(0.96, rel=1e-12)


def test_cdf_is_the_integral_of_the_density(bars: BarDistribution) -> None:
    for point in points(bars):
        below = expectation(bars, lambda y, at=point: (y <= at).double(), point)
        assert bars.cdf(point).item() == pytest.approx(below, abs=1e-12)


def test_cdf_and_icdf_are_inverse(bars: BarDistribution) -> None:
    assert_same(bars.cdf(bars.icdf(LEVELS)), LEVELS, rtol=1e-9, atol=1e-13)


def test_cdf_and_icdf_are_inverse_in_float32() -> None:
    bars = BarDistribution(MASSES.log().float(), BORDERS.float(), loc=1.0, scale=2.0)
    levels = LEVELS.float()
    assert bars.icdf(levels).dtype == torch.float32
    assert_same(bars.cdf(bars.icdf(levels)), levels, rtol=2e-5, atol=2e-7)


def test_icdf_keeps_its_accuracy_far_into_the_lower_tail() -> None:
    levels = torch.logspace(-300, -8, 50, dtype=torch.float64)
    bars = CASES["plain"]
    quantiles = bars.icdf(levels)
    assert (quantiles.diff() > 0).all()
    assert_same(bars.cdf(quantiles), levels, rtol=1e-9, atol=0)


def test_icdf_of_zero_and_one_are_infinite(bars: BarDistribution) -> None:
    assert bars.icdf(0.0) == -math.inf
    assert bars.icdf(1.0) == math.inf


def test_icdf_agrees_with_quadrature(bars: BarDistribution) -> None:
    for level in (0.03, 0.5, 0.96):
        quantile = bars.icdf(level).item()
        assert expectation(bars, lambda y, at=quantile: (y <= at).double(), quantile) == pytest.approx(level)
    assert bars.median == bars.icdf(0.5)


def test_cdf_and_icdf_never_fall(bars: BarDistribution) -> None:
    grid = torch.linspace(0, 1, 5001, dtype=torch.float64)
    quantiles = bars.icdf(grid)
    assert (quantiles[1:] >= quantiles[:-1]).all()
    assert (bars.cdf(bars.loc + bars.scale * (24 * grid - 12)).diff() >= 0).all()


def test_draws_follow_the_cdf(bars: BarDistribution) -> None:
    torch.manual_seed(0)
    draws = bars.sample((5000,))
    assert stats.kstest(draws.numpy(), lambda y: bars.cdf(torch.from_numpy(y)).numpy()).pvalue > TINY


def test_mean_variance_and_entropy(bars: BarDistribution) -> None:
    mean = expectation(bars, lambda y: y)
    assert bars.mean.item() == pytest.approx(mean, rel=1e-10)
    assert bars.variance.item() == pytest.approx(expectation(bars, lambda y: (y - mean) ** 2), rel=1e-10)
    assert bars.stddev.item() == pytest.approx(bars.variance.item() ** 0.5)
    assert bars.entropy().item() == pytest.approx(expectation(bars, lambda y: -bars.log_prob(y)), rel=1e-10)


@pytest.mark.parametrize("maximize", [True, False])
def test_expected_improvement(bars: BarDistribution, maximize: bool) -> None:
    sign = 1 if maximize else -1
    for best in points(bars):
        expected = expectation(bars, lambda y, at=best: (sign * (y - at)).clamp(min=0), best)
        found = bars.expected_improvement(best, maximize).item()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-14)
        assert found >= 0


@pytest.mark.parametrize("maximize", [True, False])
def test_probability_of_improvement(bars: BarDistribution, maximize: bool) -> None:
    sign = 1 if maximize else -1
    for best in points(bars):
        expected = expectation(bars, lambda y, at=best: (sign * (y - at) > 0).double(), best)
        assert bars.probability_of_improvement(best, maximize).item() == pytest.approx(expected, abs=1e-12)


def test_improvements_keep_their_accuracy_where_they_are_small() -> None:
    mirrored = BarDistribution(MASSES.flip(0).log().float(), -BORDERS.flip(0).float())
    bars = BarDistribution(MASSES.log().float(), BORDERS.float())
    for best in (8.0, 12.0):
        above = bars.probability_of_improvement(best)
        assert above.item() == pytest.approx(mirrored.cdf(-best).item(), rel=1e-6)
        assert 0 < above < 0.01
    fine = BarDistribution(torch.zeros(1000), torch.linspace(-1, 1, 1001))
    assert fine.expected_improvement(-50.0).item() == pytest.approx(50, rel=1e-6)
    assert fine.expected_improvement(50.0, maximize=False).item() == pytest.approx(50, rel=1e-6)
    assert fine.expected_improvement(-50.0, maximize=False).item() == 0


def test_mode_has_the_highest_density(bars: BarDistribution) -> None:
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    highest = bars.log_prob(bars.loc + bars.scale * grid).max()
    beside = bars.mode + torch.tensor(
        [-1e-9, 1e-9], dtype=torch.float64
    )  # a tail is highest at its start, which its neighbour owns
    assert bars.log_prob(beside).max().item() == pytest.approx(highest.item(), rel=1e-6)


def test_mode_is_of_the_density_and_not_of_the_mass() -> None:
    assert CASES["plain"].mode.item() == pytest.approx(0.725)  # 0.13 on a width of 0.05, against 0.3 on 0.7
    tail = BarDistribution(torch.tensor([9.0, 0.0, 0.0]), torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    assert tail.mode.item() == 0.0


def test_affine_moves_everything(bars: BarDistribution) -> None:
    loc, scale = 3.0, 0.2
    moved, y = bars.affine(loc, scale), torch.tensor(points(bars), dtype=torch.float64)
    exact = {"rtol": 1e-9, "atol": 1e-12}
    assert_same(moved.log_prob(loc + scale * y), bars.log_prob(y) - math.log(scale), **exact)
    assert_same(moved.cdf(loc + scale * y), bars.cdf(y), **exact)
    assert_same(moved.icdf(LEVELS), loc + scale * bars.icdf(LEVELS), **exact)
    for name in ("mean", "mode", "median"):
        assert_same(getattr(moved, name), loc + scale * getattr(bars, name), **exact)
    assert_same(moved.stddev, scale * bars.stddev, **exact)
    assert_same(moved.entropy(), bars.entropy() + math.log(scale), **exact)
    assert_same(moved.expected_improvement(loc + scale * y), scale * bars.expected_improvement(y), **exact)
    assert_same(moved.probability_of_improvement(loc + scale * y), bars.probability_of_improvement(y), **exact)
    law, moved_law = Normal(y, 0.5), Normal(loc + scale * y, scale * 0.5)
    expected = bars.expected_log_prob(law) - math.log(scale)
    assert_same(moved.expected_log_prob(moved_law), expected, **exact)


NORMALS = [(0.1, 0.3), (0.7, 1e-3), (-9.0, 1.0), (-40.0, 0.01), (60.0, 5.0), (1.0, 20.0), (-1.5, 1e-6)]


def quadrature_log_prob(bars: BarDistribution, mean: float, std: float) -> Tensor:
    """E[log_prob(Y)] for Y ~ N(mean, std²), differentiable in the masses."""
    law = Normal(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))
    near = mean + std * torch.arange(-12, 13, dtype=torch.float64)
    breaks = torch.cat([near, (bars.loc + bars.scale * bars.borders[1:-1]).clamp(near[0], near[-1])])
    return integral(lambda y: bars.log_prob(y) * law.log_prob(y).exp(), breaks)


@pytest.mark.parametrize(("mean", "std"), NORMALS)
def test_expected_log_prob(bars: BarDistribution, mean: float, std: float) -> None:
    law = Normal(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))
    expected = quadrature_log_prob(bars, mean, std).item()
    assert bars.expected_log_prob(law).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("mean", "std"), NORMALS)
def test_gradient_of_expected_log_prob(mean: float, std: float) -> None:
    law = Normal(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))
    gradients = []
    for by_quadrature in (False, True):
        logits = MASSES.log().clone().requires_grad_()
        bars = BarDistribution(logits, BORDERS)
        value = quadrature_log_prob(bars, mean, std) if by_quadrature else bars.expected_log_prob(law)
        gradients.append(torch.autograd.grad(value, logits)[0])
    assert_same(*gradients, rtol=1e-8, atol=1e-8)


def test_gradient_of_expected_log_prob_is_that_of_many_draws() -> None:
    torch.manual_seed(0)
    law, gradients = Normal(torch.tensor([-0.5, 3.0]), torch.tensor([0.7, 2.0])), []
    for sampled in (False, True):
        logits = MASSES.log().float().expand(2, -1).clone().requires_grad_()
        bars = BarDistribution(logits, BORDERS.float())
        value = bars.log_prob(law.sample((100_000,))).mean(0) if sampled else bars.expected_log_prob(law)
        gradients.append(torch.autograd.grad(value.sum(), logits)[0])
    assert_same(*gradients, rtol=0, atol=0.01)


def test_expected_log_prob_is_differentiable_in_shift_and_scale_but_not_in_the_law() -> None:
    mean = torch.tensor([-4.0, 0.2, 6.0], dtype=torch.float64, requires_grad=True)
    law = Normal(mean, 0.8)
    logits, loc, scale = (torch.tensor(v, dtype=torch.float64) for v in (MASSES.log().tolist(), 0.3, 1.7))
    inputs = tuple(t.requires_grad_() for t in (logits, loc, scale))
    assert torch.autograd.gradcheck(
        lambda *t: BarDistribution(t[0], BORDERS, t[1], t[2]).expected_log_prob(law), inputs
    )
    BarDistribution(logits, BORDERS, loc, scale).expected_log_prob(law).sum().backward()
    assert mean.grad is None


def test_log_prob_is_differentiable_in_the_masses_and_in_tails_in_everything() -> None:
    value = torch.tensor([-6.0, -1.0, 0.2, 5.0], dtype=torch.float64)
    loc, scale = (torch.tensor(v, dtype=torch.float64) for v in (0.3, 1.7))
    logits = MASSES.log().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: BarDistribution(t, BORDERS, loc, scale).log_prob(value), logits)
    inputs = tuple(t.clone().requires_grad_() for t in (MASSES.log(), loc, scale, value[[0, 3]]))
    assert torch.autograd.gradcheck(lambda *t: BarDistribution(t[0], BORDERS, t[1], t[2]).log_prob(t[3]), inputs)


def test_inside_the_gradient_by_the_value_is_the_slope_between_centres() -> None:
    value = torch.tensor([0.2], dtype=torch.float64, requires_grad=True)
    bars = BarDistribution(MASSES.log(), BORDERS)
    (slope,) = torch.autograd.grad(bars.log_prob(value).sum(), value)
    centres = (BORDERS[1:] + BORDERS[:-1]) / 2
    left = int((centres <= 0.2).sum()) - 1
    heights = (MASSES / BORDERS.diff()).log()
    expected = (heights[left + 1] - heights[left]) / (centres[left + 1] - centres[left])
    assert 0 < left < len(MASSES) - 2
    assert slope.item() == pytest.approx(expected.item(), rel=1e-9)


def test_crps_is_the_integral_of_the_cdfs_squared_error(bars: BarDistribution) -> None:
    for y in points(bars):
        error = integral(lambda x, y=y: (bars.cdf(x) - (x >= y).double()).square(), kinks(bars, y))
        assert bars.crps(y).item() == pytest.approx(error.item(), rel=1e-6)


def test_expected_crps_is_the_mean_of_crps_over_draws(bars: BarDistribution) -> None:
    assert bars.expected_crps().item() == pytest.approx(expectation(bars, bars.crps), rel=1e-9)
    fine = fine_parts()[0]  # nearly normal
    torch.testing.assert_close(fine.expected_crps(), fine.stddev / math.sqrt(math.pi), rtol=2e-3, atol=0)


def test_crps_has_the_batch_shape_and_the_dtype_of_the_masses() -> None:
    moved = BarDistribution(torch.zeros(3, 4), torch.linspace(-1, 1, 5), loc=torch.zeros(2, 1))
    assert moved.crps(torch.zeros(2, 3)).shape == moved.expected_crps().shape == (2, 3)
    assert moved.crps(0.0).dtype == moved.expected_crps().dtype == torch.float32


def test_narrow_bars_approach_the_normal_law() -> None:
    law = Normal(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    borders = law.icdf(torch.linspace(0, 1, 2001).double().clamp(2.5e-4, 1 - 2.5e-4))
    bars = BarDistribution(torch.zeros(2000, dtype=torch.float64), borders)
    assert bars.mean.item() == pytest.approx(0, abs=1e-9)
    assert bars.stddev.item() == pytest.approx(1, abs=1e-3)
    assert bars.entropy().item() == pytest.approx(law.entropy().item(), abs=1e-3)
    assert bars.expected_log_prob(law).item() == pytest.approx(-law.entropy().item(), abs=1e-3)
    y = torch.linspace(-3, 3, 13).double()
    assert_same(bars.cdf(y), law.cdf(y), rtol=0, atol=5e-4)
    improvement = law.log_prob(y).exp() - y * law.cdf(-y)
    assert_same(bars.expected_improvement(y), improvement, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_have_the_dtype_of_the_masses(dtype: torch.dtype) -> None:
    bars = BarDistribution(MASSES.log().to(dtype), BORDERS.to(dtype), loc=1.0, scale=2.0)
    law = Normal(torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype))
    results = [bars.sample((2,)), bars.icdf(0.3), bars.cdf(0.3), bars.log_prob(torch.zeros(2, dtype=dtype))]
    results += [bars.mean, bars.variance, bars.stddev, bars.mode, bars.median, bars.entropy(), bars.probs]
    results += [bars.expected_improvement(0.3), bars.probability_of_improvement(0.3)]
    results += [bars.expected_improvement(0.3, maximize=False), bars.expected_log_prob(law)]
    assert {result.dtype for result in results} == {dtype}


@pytest.mark.parametrize(
    ("logits", "borders", "expected"),
    [
        (torch.float64, torch.float32, torch.float64),
        (torch.float32, torch.float64, torch.float64),
        (torch.bfloat16, torch.float32, torch.float32),
    ],
)
def test_mixed_precision_is_resolved_upwards(logits: torch.dtype, borders: torch.dtype, expected: torch.dtype) -> None:
    bars = BarDistribution(torch.zeros(3, 8, dtype=logits), BORDERS.to(borders))
    y = torch.zeros(5, 3, dtype=torch.float32)
    for result in (bars.log_prob(y), bars.cdf(y), bars.icdf(y + 0.3), bars.sample((2,)), bars.mean):
        assert result.dtype == expected


def test_shift_and_scale_broadcast_with_the_masses() -> None:
    logits = torch.randn(4, 1, 8, dtype=torch.float64, generator=seeded())
    loc, scale = torch.tensor([0.0, -2.0, 3.0]), torch.tensor(0.5)
    bars = BarDistribution(logits, BORDERS, loc, scale)
    assert bars.batch_shape == (4, 3)
    y = torch.randn(6, 4, 3, dtype=torch.float64, generator=seeded())
    law, levels = Normal(y, 0.7), torch.rand(6, 4, 3, dtype=torch.float64, generator=seeded())
    assert bars.sample((2, 5)).shape == (2, 5, 4, 3)
    for i in range(4):
        for j in range(3):
            one, at = BarDistribution(logits[i, 0], BORDERS, loc[j], scale), (slice(None), i, j)
            for name in ("mean", "variance", "mode", "median"):
                assert_same(getattr(bars, name)[i, j], getattr(one, name), rtol=1e-12, atol=0)
            assert_same(bars.entropy()[i, j], one.entropy(), rtol=1e-12, atol=0)
            for method, argument in {
                "log_prob": y,
                "cdf": y,
                "icdf": levels,
                "expected_improvement": y,
                "probability_of_improvement": y,
            }.items():
                expected = getattr(one, method)(argument[at])
                assert_same(getattr(bars, method)(argument)[at], expected, rtol=1e-11, atol=1e-13)
            expected = one.expected_log_prob(Normal(y[at], 0.7))
            assert_same(bars.expected_log_prob(law)[at], expected, rtol=1e-11, atol=1e-13)


def test_moments_have_the_batch_shape_also_where_only_the_shift_has_one() -> None:
    bars = BarDistribution(MASSES.log(), BORDERS, loc=torch.zeros(3))
    for result in (bars.mean, bars.variance, bars.mode, bars.median, bars.entropy(), bars.sample()):
        assert result.shape == (3,)


@pytest.mark.parametrize("certain", [0, 3, 7])
@pytest.mark.parametrize("size", [80.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_masses_stay_finite(certain: int, size: float, dtype: torch.dtype) -> None:
    logits = torch.full((8,), -size, dtype=dtype)
    logits[certain] = 0.0
    logits.requires_grad_()
    bars, y = BarDistribution(logits, BORDERS.to(dtype)), torch.linspace(-9, 9, 37, dtype=dtype)
    levels = torch.linspace(0.001, 0.999, 37, dtype=dtype)
    results = [bars.log_prob(y), bars.cdf(y), bars.icdf(levels), bars.mean, bars.variance, bars.entropy()]
    results += [bars.expected_improvement(y), bars.expected_log_prob(Normal(y, 0.1)), bars.mode]
    for result in results:
        assert result.isfinite().all()
    if 0 < certain < 7:
        assert ((bars.icdf(levels) >= BORDERS[certain]) & (bars.icdf(levels) <= BORDERS[certain + 1])).all()
    loss = bars.log_prob(y).sum() + bars.expected_log_prob(Normal(y, 0.1)).sum() + bars.entropy()
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.zeros(8), BORDERS[:-1]),
        (torch.zeros(1), BORDERS[:2]),
        (torch.zeros(8), BORDERS.expand(2, -1)),
        (torch.zeros(8), BORDERS.flip(0)),
        (torch.zeros(3), torch.tensor([0.0, 1.0, 1.0, 2.0])),
        (torch.zeros(2), torch.tensor([0.0, torch.nan, 2.0])),
        (torch.zeros(2), torch.tensor([0.0, 1.0, torch.inf])),
        (torch.zeros(8), BORDERS, 0.0, 0.0),
        (torch.zeros(8), BORDERS, 0.0, torch.tensor([1.0, -1.0])),
        (torch.zeros(8), BORDERS, 0.0, torch.nan),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple) -> None:
    with pytest.raises(ValueError, match="borders must"):
        BarDistribution(*arguments)


def test_negative_scales_are_refused_by_affine() -> None:
    with pytest.raises(ValueError, match="scale must be positive"):
        CASES["plain"].affine(0.0, -1.0)


@pytest.mark.parametrize("level", [-0.1, 1.1, math.nan])
def test_levels_outside_the_unit_interval_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="levels"):
        CASES["plain"].icdf(torch.tensor([0.5, level]))


def test_only_normal_laws_have_an_expected_log_prob() -> None:
    with pytest.raises(TypeError, match="Normal law, not Laplace"):
        CASES["plain"].expected_log_prob(Laplace(0.0, 1.0))


def test_quantile_borders_give_equal_masses() -> None:
    values = torch.randn(40, 250, generator=seeded()) ** 3
    borders = quantile_borders(values, 100)
    assert borders.shape == (101,)
    assert borders.dtype == torch.float32
    counts = torch.histogram(values.flatten(), torch.cat([borders[:1] - 1e9, borders[1:-1], borders[-1:] + 1e9])).hist
    assert (counts == 100).all()
    assert (values < borders[0]).sum() == (values > borders[-1]).sum() == 50  # half an end bucket's share


def test_quantile_borders_lie_between_neighbours() -> None:
    assert quantile_borders(torch.arange(8.0), 4).tolist() == [0.5, 1.5, 3.5, 5.5, 6.5]


@pytest.mark.parametrize(
    ("values", "n_buckets", "message"),
    [
        (torch.arange(10.0), 1, "at least 2"),
        (torch.arange(10.0), 6, "draw more"),
        (torch.zeros(0), 2, "draw more"),
        (torch.arange(4.0).repeat(50), 10, "repeats values"),
        (torch.tensor([0.0, 1.0, torch.nan, 2.0]), 2, "NaN"),
        (torch.tensor([0.0, 1.0, torch.inf, 2.0]), 2, "infinite"),
    ],
)
def test_quantile_borders_refuse(values: Tensor, n_buckets: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantile_borders(values, n_buckets)


@pytest.mark.parametrize("shape", [(), (3,), (4, 1, 1), (4, 2, 3), (2, 1)])
def test_quantiles_of_levels_of_any_shape_that_broadcasts(shape: tuple[int, ...]) -> None:
    bars = uneven_bars()
    levels = torch.rand(shape, generator=seeded(), dtype=torch.float64)
    expected = torch.broadcast_shapes(levels.shape, (2, 3))
    found = bars.icdf(levels)
    assert found.shape == expected
    torch.testing.assert_close(bars.cdf(found), levels.expand(expected))


def test_quantiles_of_an_empty_batch() -> None:
    bars = BarDistribution(torch.zeros(0, 4), torch.arange(5.0))
    assert bars.icdf(torch.full((3, 1), 0.5)).shape == (3, 0)


# --- mixtures -----------------------------------------------------------------------------------------------


def fine_parts(*, n_buckets: int = 2000) -> list[BarDistribution]:
    """Three distributions of batch shape (2,) on fine borders, each nearly normal, with loc and scale of their own."""
    borders = 1.5 * torch.linspace(-5, 5, n_buckets + 1, dtype=torch.float64).sinh()
    mass = Normal(0.0, 1.0).cdf(borders[1:-1])
    logits = torch.cat([mass[:1], mass.diff(), 1 - mass[-1:]]).clamp(min=1e-30).log()
    places = [([0.0, 5.0], [1.0, 2.0]), ([0.5, 5.5], [1.5, 2.0]), ([-1.0, 4.0], [0.8, 1.0])]
    return [BarDistribution(logits.expand(2, -1), borders, *(torch.tensor(v).double() for v in at)) for at in places]


def test_a_mixture_of_equals_is_the_same(bars: BarDistribution) -> None:
    mixture = BarDistribution.mixture([bars, bars, bars])
    assert_same(mixture.logits, bars.logits, rtol=1e-12, atol=1e-12)
    assert (mixture.loc, mixture.scale) == (bars.loc, bars.scale)


def test_a_mixture_on_one_loc_and_scale_is_exact(bars: BarDistribution) -> None:
    other = BarDistribution(bars.logits.flip(-1), bars.borders, bars.loc, bars.scale)
    mixture = BarDistribution.mixture([bars, other])
    at = torch.tensor(points(bars), dtype=torch.float64)
    density = torch.logaddexp(bars.log_prob(at), other.log_prob(at)) - math.log(2)
    assert_same(mixture.log_prob(at), density, rtol=1e-12, atol=1e-12)
    assert_same(mixture.cdf(at), (bars.cdf(at) + other.cdf(at)) / 2, rtol=1e-12, atol=1e-15)


def test_a_mixtures_cdf_is_the_mean_of_cdfs_at_its_borders() -> None:
    parts = fine_parts()
    mixture = BarDistribution.mixture(parts)
    borders = mixture.loc + mixture.scale * mixture.borders[1:-1, None]  # (K - 1, 2)
    expected = torch.stack([part.cdf(borders) for part in parts]).mean(0)
    assert_same(mixture.cdf(borders), expected, rtol=1e-9, atol=1e-14)
    exceeded = torch.stack([part.probability_of_improvement(borders) for part in parts]).mean(0)
    assert_same(mixture.probability_of_improvement(borders), exceeded, rtol=1e-6, atol=1e-25)


def test_a_mixture_of_moved_normals_is_that_of_normals() -> None:
    parts = fine_parts()
    mixture = BarDistribution.mixture(parts)
    loc, scale = (torch.stack(column) for column in zip(*((part.loc, part.scale) for part in parts), strict=True))
    mean = loc.mean(0)
    assert_same(mixture.mean, mean, rtol=1e-3, atol=1e-4)
    assert_same(mixture.variance, (scale.square() + (loc - mean).square()).mean(0), rtol=5e-3, atol=0)
    at = torch.tensor([-2.0, 0.3, 4.0, 6.0])[:, None, None].double()
    density = Normal(loc, scale).log_prob(at).exp().mean(1)  # (4, 2)
    assert_same(mixture.log_prob(at[:, 0].expand(4, 2)), density.log(), rtol=5e-3, atol=5e-3)


def test_gradients_flow_through_a_mixture() -> None:
    parts = fine_parts()
    loc = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    moved = BarDistribution(parts[0].logits, parts[0].borders, loc, parts[0].scale)
    BarDistribution.mixture([moved, *parts[1:]]).mean.sum().backward()
    assert loc.grad is not None
    assert_same(loc.grad, torch.full((2,), 1 / 3).double(), rtol=0.02, atol=0)


@pytest.mark.parametrize("parts", [[], [CASES["plain"], CASES["two buckets"]]])
def test_mixtures_need_common_borders(parts: list[BarDistribution]) -> None:
    with pytest.raises(ValueError, match="all of them on the same borders"):
        BarDistribution.mixture(parts)


def test_location_and_scale_can_be_learned_from_draws() -> None:
    """The density has steps; followed literally, their slope would shrink any scale."""
    generator = torch.Generator().manual_seed(0)
    draws = 3 + 0.5 * torch.randn(2000, generator=generator)
    borders = torch.linspace(-4, 4, 33)
    centres = (borders[1:] + borders[:-1]) / 2
    place = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([place], lr=0.05)
    for _ in range(300):
        bars = BarDistribution(-centres.square() / 2, borders, place[0], place[1].exp())
        loss = -bars.log_prob(draws).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert abs(place[0].item() - 3) < 0.05
    assert abs(place[1].exp().item() - 0.5) < 0.05
