"""Rangefinder and bearing sensor: densities against draws and integrals, evidence against sums over the plane."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from priorfit.distributions import GaussianMixture, WeightedPoints
from priorfit.priors import RangeBearing
from priorfit.priors.range_bearing import INITIAL_COVARIANCE, INITIAL_MEAN, PROCESS_NOISE, TRANSITION, polar
from priorfit.priors.range_bearing_evidence import gauss_legendre, log_evidence
from priorfit.priors.range_bearing_sensors import (
    SOURCES,
    bearing_log_density,
    draw_bearing,
    draw_range,
    log_likelihood,
    range_log_density,
)
from priorfit.sources import pack
from tests.cases import assert_mean, assert_same, seeded

LIMIT = 3.0


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def observed(ranges: list[float] | None, bearings: list[float] | None) -> Tensor:
    """Rows of one task."""
    values = {"range": ranges, "bearing": bearings}
    return pack(SOURCES, {name: torch.tensor(some)[None, :, None] for name, some in values.items() if some})


@pytest.mark.parametrize("distance", [0.0, 0.3, 2.5, 7.0])
def test_range_densities_and_atoms_sum_to_one(distance: float) -> None:
    inside = torch.linspace(0, LIMIT, 400_001, dtype=torch.float64)[1:-1]
    smooth = range_log_density(inside, number(distance), LIMIT).exp().mean() * LIMIT
    low, high = (range_log_density(number(end), number(distance), LIMIT).exp() for end in (0.0, LIMIT))
    assert (smooth + low + high).item() == pytest.approx(1, abs=1e-4)
    assert low > 0
    assert high > 0.009  # 0.2 exp(-3)


@pytest.mark.parametrize("distance", [0.1, 1.0, 2.7])
def test_ranges_are_drawn_from_their_density(distance: float) -> None:
    draws = draw_range(torch.full((200_000,), distance), LIMIT, seeded(3)).double()
    assert draws.min() >= 0
    assert draws.max() == LIMIT
    for end in (0.0, LIMIT):
        atom = range_log_density(number(end), number(distance), LIMIT).exp().item()
        assert_mean((draws == end).double(), atom, 1e-5)
    for low, high in ((0.0, 0.2), (0.2, 0.9), (0.9, 1.3), (1.3, 2.6), (2.6, LIMIT)):
        grid = low + (high - low) * (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        share = range_log_density(grid, number(distance), LIMIT).exp().mean().item() * (high - low)
        assert_mean(((draws > low) & (draws < high)).double(), share)


@pytest.mark.parametrize("angle", [0.3, math.pi - 0.05, -math.pi + 0.2])
def test_bearings_have_their_density_also_across_the_seam(angle: float) -> None:
    grid = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)[:-1]
    density = bearing_log_density(grid, number(angle)).exp()
    assert (density.mean() * 2 * math.pi).item() == pytest.approx(1, abs=1e-6)
    draws = draw_bearing(torch.full((50_000,), angle, dtype=torch.float64), seeded(4))
    assert draws.min() >= -math.pi
    assert draws.max() < math.pi
    for function in (torch.sin, torch.cos):
        assert_mean(function(draws), (density * function(grid)).mean().item() * 2 * math.pi)
    whole_turn = bearing_log_density(number(angle) + 2 * math.pi, number(angle))
    assert whole_turn.item() == pytest.approx(bearing_log_density(number(angle), number(angle)).item())


def test_likelihood_multiplies_what_is_observed() -> None:
    rows = torch.cat([observed([1.5, 3.0], [0.4]), observed([0.0, 0.2], [-3.0])])
    distance, angle = torch.rand(2, 2, 5, generator=seeded(), dtype=torch.float64) * 3
    found = log_likelihood(rows, distance, angle, LIMIT)
    for i, (ranges, seen) in enumerate((((1.5, 3.0), 0.4), ((0.0, 0.2), -3.0))):
        expected = bearing_log_density(number(seen), angle[i])
        for z in ranges:
            expected = expected + range_log_density(number(z), distance[i], LIMIT)
        assert_same(found[i], expected, rtol=1e-6, atol=1e-6)
    shuffled = torch.stack([rows[0], rows[1, [2, 0, 1]]])  # sources in another order for each task
    assert_same(log_likelihood(shuffled, distance, angle, LIMIT), found, rtol=1e-12, atol=1e-12)


def test_ranges_beyond_the_limit_are_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 3 km"):
        log_likelihood(observed([3.5], None), torch.ones(1, 1), torch.ones(1, 1), LIMIT)


# Evidence

CENTRES = torch.tensor([[1.0, -0.6], [0.2, 0.1], [-0.7, 1.1]], dtype=torch.float64)
SPREADS = torch.tensor([[[0.30, 0.1], [0.1, 0.09]], [[0.8, 0.39], [0.39, 0.2]], [[0.04, 0.0], [0.0, 0.6]]]).double()
LOG_WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()


@pytest.fixture(scope="module")
def plane() -> tuple[Tensor, Tensor, Tensor]:
    """Log mass of the components' mixture, distance and angle, on a dense grid of a disc."""
    middles = (torch.arange(800, dtype=torch.float64) + 0.5) / 800
    distance, angle = (part.flatten() for part in torch.meshgrid(6 * middles, 2 * math.pi * middles, indexing="ij"))
    points = distance[:, None] * torch.stack([angle.sin(), angle.cos()], -1)
    log_area = (distance * 6 * 2 * math.pi / 800**2).log()
    prior = GaussianMixture.from_moments(LOG_WEIGHTS.exp(), CENTRES, SPREADS)
    return prior.log_prob_of_points(points) + log_area, distance, angle


@pytest.mark.parametrize(
    ("ranges", "bearings"),
    [
        (None, None),
        ([1.2], [2.0]),
        ([1.2], None),
        (None, [-2.9]),
        ([0.0], [1.0]),
        ([LIMIT], [0.5]),
        ([1.1, 0.2, 1.4], [2.0, 2.2]),
    ],
)
def test_evidence_is_the_sum_over_the_plane(
    plane: tuple[Tensor, ...], ranges: list[float] | None, bearings: list[float] | None
) -> None:
    rows = observed(ranges, bearings) if ranges or bearings else torch.zeros(1, 0, 4)
    found = log_evidence(LOG_WEIGHTS[None], CENTRES[None], SPREADS[None], rows, LIMIT)
    log_mass, distance, angle = plane
    each = log_mass + log_likelihood(rows, distance[None], angle[None], LIMIT)[0]
    assert found.item() == pytest.approx(each.logsumexp(0).item(), abs=1e-3)


@pytest.mark.parametrize("place", [(0.8, 0.1), (-0.05, 0.02), (-6.0, -11.0)])
def test_evidence_of_a_known_point_is_its_likelihood(place: tuple[float, float]) -> None:
    centre, tiny = torch.tensor(place, dtype=torch.float64), 1e-10 * torch.eye(2).double()
    rows = observed([1.7], [0.9])
    found = log_evidence(torch.zeros(1, 1).double(), centre[None, None], tiny[None, None], rows, 20.0)
    at_place = log_likelihood(rows, centre.norm()[None, None], torch.atan2(*centre)[None, None], 20.0)
    assert_same(found, at_place[0], rtol=1e-3, atol=1e-3)


def test_gauss_legendre_integrates_polynomials() -> None:
    nodes, log_weights = gauss_legendre(8, torch.device("cpu"))
    for power in range(16):
        assert (log_weights.exp() * nodes**power).sum().item() == pytest.approx(1 / (power + 1), rel=1e-12)


# The prior


def test_posterior_weighs_the_prior_by_the_likelihood() -> None:
    """The ratio of both densities has mean one over draws of the prior: brute-force importance sampling."""
    prior = RangeBearing(empty=0.0)
    generator = seeded(7)
    task = prior.sample(12, generator=generator)
    posterior = prior.posterior(task)
    law = GaussianMixture.from_packed(task.observed.prior.double(), 4)
    draws = law.draw((40_000,), generator)  # (J, B, 4)
    ratios = (posterior.log_prob(draws) - law.log_prob(draws)).exp()
    for ratio in ratios.T:
        assert_mean(ratio, 1.0)
    one = posterior.log_prob(task.hidden)
    assert_same(one, posterior.log_prob(task.hidden.expand(3, 12, 4))[1], rtol=1e-9, atol=1e-9)


def test_law_is_unbiased_for_the_posterior() -> None:
    """The prior's mean over tasks equals that of the laws, of which most weight is not on the latent itself."""
    prior = RangeBearing(empty=0.0, candidates=8)
    task = prior.sample(4000, generator=seeded(8))
    first = GaussianMixture.from_packed(task.observed.prior.double(), 4).marginal([0])
    law = task.law
    assert isinstance(law, WeightedPoints)
    levels = torch.stack([first.cdf(law.values[:, j, :1].double()) for j in range(8)], 1)
    assert_mean((law.weights * levels).sum(1), 0.5)
    assert_mean((law.weights * levels.square()).sum(1), 1 / 3)
    assert law.weights[:, 0].mean() < 0.5


def test_one_row_is_either_and_two_are_both() -> None:
    states = torch.randn(5, 4, generator=seeded())
    prior = RangeBearing()
    kinds = {tuple(prior.observe(states, 1, seeded(seed))[0, :, 2:].tolist()[0]) for seed in range(20)}
    assert kinds == {(1.0, 0.0), (0.0, 1.0)}
    both = prior.observe(states, 2, seeded())
    assert torch.equal(both[..., 2:], torch.eye(2).expand(5, 2, 2))
    assert prior.observe(states, 0, seeded()).shape == (5, 0, 4)


def test_dynamics_are_those_of_a_damped_velocity() -> None:
    """v' = -v over a unit of time, exactly, and one push per axis: a covariance of rank two."""
    one = torch.linalg.matrix_exp(torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
    assert_same(TRANSITION, torch.block_diag(one, one), rtol=1e-6, atol=1e-6)
    assert torch.linalg.matrix_rank(PROCESS_NOISE) == 2
    assert_same(PROCESS_NOISE.diagonal(), torch.tensor([0.01, 0.04, 0.01, 0.04]), rtol=1e-6, atol=0)
    assert_same(polar(INITIAL_MEAN), (torch.tensor(2.0).sqrt(), torch.tensor(math.pi / 4)), rtol=1e-6, atol=0)
    assert torch.equal(INITIAL_COVARIANCE, torch.eye(4))


def test_predicted_mixtures_are_what_the_dynamics_make() -> None:
    drawn, moved = (RangeBearing(predicted=share).draw_prior(6, seeded(2)).mixture for share in (0.0, 1.0))
    means = (TRANSITION @ drawn.means[..., None])[..., 0]
    assert_same(moved.means, means, rtol=1e-4, atol=1e-5)
    covariances = TRANSITION @ drawn.covariances @ TRANSITION.T + PROCESS_NOISE
    assert_same(moved.covariances, covariances, rtol=1e-3, atol=1e-5)
    some = RangeBearing(predicted=0.5).draw_prior(400, seeded(2)).mixture
    chosen = (some.means == RangeBearing(predicted=0.0).draw_prior(400, seeded(2)).mixture.means).all(-1).all(-1)
    assert 150 < chosen.sum() < 250


def test_the_published_law_is_a_configuration() -> None:
    path = Path(__file__).parents[2] / "priorfit" / "configs" / "prior" / "range_bearing_published.yaml"
    arguments = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "_target_"}
    mixture = RangeBearing(**arguments).draw_prior(4000, seeded(1)).mixture
    centres = mixture.means.flatten(0, 1).double()
    assert_same(centres.T @ centres / len(centres), torch.eye(4).double() + 1, rtol=0, atol=0.08)
    assert_mean(mixture.weights[:, 0].square(), 0.25 * (1.25 / 2))  # Dirichlet(1/4, …): E w² = a (a + 1) / (s (s + 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0.0}, "limit"),
        ({"predicted": 1.5}, "predicted"),
        ({"rows": 3}, "at most 2"),
        ({"meta_prior": {"dimension": 4}}, "dimension"),
        ({"meta_prior": {"spred": 1.0}}, "spred"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RangeBearing(**changes)
