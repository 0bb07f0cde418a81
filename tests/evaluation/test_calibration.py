"""An exact posterior passes every diagnostic; one that is wrong in a known way fails those that can see it."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Normal

from priorfit.distributions import BarDistribution, GaussianMixture, RateLaw
from priorfit.evaluation import Report, evaluate_checkpoint
from priorfit.evaluation.calibration import Calibration, contractions, independent
from priorfit.evaluation.probing import Chance, Probe, probe
from priorfit.evaluation.scoring import Scores
from priorfit.models import Network, networks
from priorfit.priors import SCM, Evidence, InverseGammaVariance, LinearGaussian, MarkovJump, Task
from tests.evaluation.exact import Even, Exact, gentle, in_memory

SEEN, UNSEEN = 0.005, 0.02  # a p-value below: rejected; above: not. Seeds are fixed
TWO = {
    "dimension": 2,
    "outputs": 1,
    "matrix": [[1.0, 1.0]],
    "noise": 0.05,
    "meta_prior": {"components": 1, "mean_covariance": 1.0},
}


@networks.register("exact_latent")
class ExactLatent(Network):
    """The posterior of `LinearGaussian`, wrong in a known way."""

    def __init__(self, prior: dict, wrong: str = "") -> None:
        super().__init__()
        self.prior, self.wrong = LinearGaussian(**prior), wrong

    def compute(self, *observed: Tensor) -> GaussianMixture:
        prior, rows = observed
        seen = rows[:, :0] if self.wrong == "ignores the data" else rows
        law = self.prior.posterior(Task(Evidence(prior, seen), torch.zeros(len(prior), 2)))
        tril = law.scale_trils
        if self.wrong == "independent":
            return GaussianMixture(law.log_weights, law.means, torch.diag_embed(tril.square().sum(-1).sqrt()))
        width = {"narrow": 0.7, "wide": 1.4}.get(self.wrong, 1.0)
        shift = 0.3 * tril.square().sum(-1).sqrt() if self.wrong == "shifted" else 0.0
        return GaussianMixture(law.log_weights, law.means + shift, width * tril)

    def distribution(self, output: GaussianMixture) -> GaussianMixture:
        return output


def quietly(network: Network, prior: Any, **options: Any) -> Report:
    return evaluate_checkpoint(in_memory(network, prior), progress=False, device="cpu", batch_size=250, **options)


def only(report: Report) -> Calibration:
    (row,) = report.rows
    assert row.calibration is not None
    return row.calibration


@cache
def latent(wrong: str) -> Calibration:
    return only(quietly(ExactLatent(TWO, wrong), LinearGaussian(**TWO), context_sizes=[1], tasks=1500))


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        ("", set()),
        ("narrow", {"PIT", "densest region", "TARP"}),
        ("wide", {"PIT", "densest region", "TARP"}),
        ("shifted", {"PIT", "TARP"}),
        ("independent", {"densest region"}),  # each number by itself is right
        ("ignores the data", {"TARP"}),  # right on average
    ],
)
def test_each_test_sees_what_it_can(wrong: str, seen: set[str]) -> None:
    found = latent(wrong)
    p_values = found.p_values()
    assert {name for name, p_value in p_values.items() if p_value < SEEN} >= seen
    unseen = {"": set(p_values), "independent": {"PIT"}, "ignores the data": {"PIT", "densest region"}}.get(
        wrong, set()
    )
    assert all(p_values[name] > UNSEEN for name in unseen)


@pytest.mark.parametrize("wrong", ["", "narrow", "wide", "shifted"])
def test_moments_have_the_values_that_theory_gives_them(wrong: str) -> None:
    found = latent(wrong)
    width, shift = {"narrow": 0.7, "wide": 1.4}.get(wrong, 1.0), 0.3 if wrong == "shifted" else 0.0
    assert found.z_mean is not None
    assert found.z_square is not None
    assert abs(found.z_mean.mean - shift / width) < 4 * found.z_mean.standard_error
    assert abs(found.z_square.mean - (1 + shift**2) / width**2) < 4 * found.z_square.standard_error
    assert found.excess is not None
    if wrong in ("", "narrow"):
        assert (abs(found.excess.mean) < 4 * found.excess.standard_error) == (wrong == "")
    assert found.r_squared is not None
    assert found.expected_r_squared is not None
    if not wrong:
        assert found.r_squared == pytest.approx(found.expected_r_squared, abs=0.05)
    assert found.score_name == "energy score"


@pytest.mark.parametrize(
    ("shift", "widening", "rejected"), [(0, 1, False), (0, 0.7, True), (0, 1.4, True), (0.5, 1, True)]
)
def test_functions_have_one_value_tested_per_task(shift: float, widening: float, rejected: bool) -> None:
    found = only(
        quietly(Exact(gentle().arguments, shift, widening), gentle(), context_sizes=[5], tasks=1000, queries=4)
    )
    assert found.transform is not None
    assert found.transform.values == 1000  # of 4000
    assert (found.transform.p_value < SEEN) == rejected
    assert found.central is not None
    assert found.highest_density is not None
    if widening != 1:
        assert max(found.central.p_value, found.highest_density.p_value) < SEEN
        expected = np.mean(
            [abs(2 * norm.cdf(widening * norm.ppf((1 + a) / 2)) - 1 - a) for a in np.arange(1, 100) / 100]
        )
        assert found.central.error == pytest.approx(expected, abs=0.015)
    if not rejected:
        assert min(found.p_values().values()) > UNSEEN
        assert found.central.error < 2 * found.central.expected_error


def test_the_crps_of_a_normal_posterior_is_that_of_theory() -> None:
    found = only(quietly(Exact(gentle().arguments, 0.0, 2.0), gentle(), context_sizes=[0], tasks=400))
    sd = math.sqrt(0.2)  # output scale 0.1 + noise variance 0.1
    assert found.score is not None
    assert found.own_score is not None
    assert found.own_score.mean == pytest.approx(2 * sd / math.sqrt(math.pi), rel=0.01)
    expected = sd * (math.sqrt(5) * math.sqrt(2 / math.pi) - 2 / math.sqrt(math.pi))  # E|X - y| - E|X - X'| / 2
    assert abs(found.score.mean - expected) < 4 * found.score.standard_error


def test_an_exact_posterior_of_a_positive_number_passes() -> None:
    prior = InverseGammaVariance()

    class Known(Network):
        def compute(self, *observed: Tensor) -> Any:
            return prior.posterior(Task(Evidence(*observed), torch.zeros(len(observed[0]), 1)))

        def distribution(self, output: Any) -> Any:
            return output

    networks.register("known_variance")(Known)
    found = only(quietly(Known(), prior, context_sizes=[1], tasks=1000))
    assert min(found.p_values().values()) > UNSEEN
    assert found.score_name == "energy score"


def test_jump_processes_of_several_sizes_can_be_measured_together() -> None:
    """Processes of 2 states have 2 rates, those of 4 have 12: only columns that all have are tested one by one."""

    class Rates(Network):
        def compute(self, *observed: Tensor) -> tuple[int, int]:
            return len(observed[0]), int(observed[2][0])

        def distribution(self, output: tuple[int, int]) -> RateLaw:
            n_tasks, n_states = output
            shape = (n_tasks, n_states, n_states)
            one = torch.zeros(*shape, 1)
            return RateLaw(torch.zeros(shape), one, one, one + 1, torch.ones(n_tasks, n_states))

    networks.register("same_rates")(Rates)
    prior = MarkovJump(states=[2, 4], state_weights=[1, 1, 1], points=10)
    report = evaluate_checkpoint(
        in_memory(Rates(), prior), context_sizes=[2], tasks=60, batch_size=10, device="cpu", progress=False
    )
    found, (scores,) = only(report), report.scores
    assert scores.pit is not None
    assert scores.pit.shape[1] > 2
    assert np.isnan(scores.pit).any()
    assert not np.isnan(scores.pit[:, :2]).any()
    assert found.transform is not None
    assert found.transform.values == 60
    assert found.p_values()["densest region"] < SEEN
    (row,) = report.rows
    assert row.coverage is not None
    assert 0.5 < row.coverage[0].mean <= 1


def test_classes_have_a_brier_score_and_an_error_beside_what_chance_gives() -> None:
    prior = SCM(
        sizes={"points": 60, "features": 2}, noise=0.5, target={"kind": "classes", "number": 4, "balanced": 1.0}
    )
    found = only(quietly(Even(), prior, context_sizes=[20], tasks=300, queries=20))
    assert found.score_name == "Brier score"
    assert found.score is not None
    assert found.score.mean == pytest.approx(0.75, abs=1e-5)
    assert found.excess is not None
    assert abs(found.excess.mean) < 1e-5
    assert found.central is None
    assert found.z_mean is None
    assert found.expected_calibration_error is not None
    assert found.null_calibration_error is not None
    assert 0 < found.expected_calibration_error < 4 * found.null_calibration_error


def test_tasks_that_are_not_independent_are_not_counted_as_such() -> None:
    probed = Probe(np.arange(12.0).reshape(6, 2))
    unit = np.array([0, 0, 1, 1, 2, 2])
    values = [
        independent(probed.transform, Scores(1, np.zeros((6, 2)), None, None, None, None, unit, {}, probed, several))
        for several in (False, True)
    ]
    assert values[0] is not None
    assert values[1] is not None
    assert values[0].tolist() == [[0.0], [5.0], [8.0]]  # in turns
    assert values[1].tolist() == [[0.0, 1.0], [4.0, 5.0], [8.0, 9.0]]


def test_contraction_is_of_variances_and_constants_have_none() -> None:
    truth = np.array([[-1.0, 3.0], [1.0, 3.0]])
    std = np.array([[0.5, 0.0], [2.0, 0.0]])
    found = contractions(Probe(None, mean=truth, std=std, truth=truth))
    assert found[:, 0].tolist() == [0.75, 0.0]
    assert np.isnan(found[:, 1]).all()


def test_draws_leave_the_global_generator_alone_and_are_the_same_every_time() -> None:
    task = gentle().with_context(3, 4).sample(5, generator=torch.Generator().manual_seed(0))
    chance = Chance(7, 20, np.ones(8))
    state = torch.get_rng_state()
    first, again = (probe(Normal(torch.zeros(5, 4), 1.0), task, None, chance) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for one, same in zip(first, again, strict=True):
        assert (one is None) == (same is None)
        assert one is None or np.array_equal(one, same)
    assert first.confidence is None
    assert first.transform is not None


def test_bars_have_an_exact_crps() -> None:
    task = gentle().with_context(0, 6).sample(40, generator=torch.Generator().manual_seed(0))
    bars = BarDistribution(torch.zeros(40, 6, 4), torch.tensor([-1.0, -0.3, 0.0, 0.4, 1.0]))
    few, many = (probe(bars, task, None, Chance(0, n_draws, np.ones(8))) for n_draws in (2, 9))
    assert few.score is not None
    assert np.array_equal(few.score, many.score if many.score is not None else 0)
    assert few.own_score is not None
    assert np.ptp(few.own_score) == 0


def test_a_law_of_which_only_the_density_is_known_has_no_diagnostics() -> None:
    class Bare(Normal):
        def sample(self, sample_shape: Any = ()) -> Tensor:
            raise NotImplementedError

    task = gentle().with_context(0, 6).sample(4, generator=torch.Generator().manual_seed(0))
    found = probe(Bare(torch.zeros(4, 6), 1.0), task, None, Chance(0, 10, np.ones(8)))
    assert found.transform is None
    assert found.highest_density is None
    assert found.mean is not None
