"""Shifts of priors change what they say, by as much as they say, and draw tasks of the same kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from priorfit.priors import GaussianProcess, LearningCurve, MarkovJump, Mixture, Prior, StudentTProcess, priors
from priorfit.priors.laws import Law, scaled
from priorfit.priors.scm_laws import Hyper
from tests.cases import PRIORS, seeded

LAWS: list[dict[str, Any]] = [
    {"law": "gamma", "concentration": 3.0, "rate": 6.0},
    {"law": "inverse_gamma", "concentration": 3.0, "rate": 6.0},
    {"law": "log_normal", "loc": -1.0, "scale": 0.7},
    {"law": "uniform", "low": 0.5, "high": 2.0},
]


@pytest.fixture(params=PRIORS, ids=lambda case: case.id)
def prior(request: pytest.FixtureRequest) -> Prior:
    return request.param.build()


@pytest.mark.parametrize("spec", LAWS, ids=lambda spec: spec["law"])
def test_scaled_laws_draw_scaled_values(spec: dict[str, Any]) -> None:
    drawn = Law("one", spec).sample((50,), seeded())
    torch.testing.assert_close(Law("one", scaled(spec, 4)).sample((50,), seeded()), 4 * drawn)
    bounded = {**spec, "minimum": 0.1, "maximum": 1.0}
    drawn = Hyper("one", bounded).sample(50, seeded())
    torch.testing.assert_close(Hyper("one", scaled(bounded, 4)).sample(50, seeded()), 4 * drawn)
    assert (drawn == 1).any()


def test_spreads_numbers_and_lists_are_scaled() -> None:
    spread = {"law": "spread", "low": 0.1, "high": 10.0, "minimum": 0.01}
    drawn = Hyper("one", spread).sample(50, seeded())
    torch.testing.assert_close(Hyper("one", scaled(spread, 0.5)).sample(50, seeded()), 0.5 * drawn)
    assert scaled(0.5, 4) == 2
    assert scaled([0.5, 1.0], 4) == [2, 4]


def test_every_shift_is_a_prior_of_the_same_kind_with_other_arguments(prior: Prior) -> None:
    drawn = prior.with_context(1, 4).sample(2, generator=seeded())
    for shifted in prior.shifts().values():
        assert shifted.registered_name == prior.registered_name
        assert shifted.arguments != prior.arguments
        assert shifted.context_sizes() == prior.context_sizes() or isinstance(prior, LearningCurve)
        task = priors.build(shifted.registered_name, shifted.arguments).with_context(1, 4).sample(2, generator=seeded())
        assert type(task.observed) is type(drawn.observed)
        assert shifted.reference == prior.reference


def test_every_prior_has_shifts(prior: Prior) -> None:
    assert prior.shifts()


def test_larger_contexts_can_be_drawn_and_are_beyond_those_of_training(prior: Prior) -> None:
    for n_context in prior.larger_contexts():
        published = isinstance(prior, MarkovJump)  # measured on up to 300 paths, however many are trained on
        assert published or n_context > max(prior.context_sizes())
        observed = prior.with_context(n_context, 4).sample(2, generator=seeded()).observed
        lengths = {size for part in observed for size in part.shape[1:2]}
        assert lengths & {n_context, n_context + 1}  # rows may have one more for what is asked about


@pytest.mark.parametrize(
    ("shift", "variance"), [("noise variance × 4", 0.5), ("output variance × 4", 0.5), ("lengthscale × 2", 0.2)]
)
def test_variances_of_functions_are_those_that_the_shift_says(shift: str, variance: float) -> None:
    given: dict[str, Any] = {"sizes": {"points": 9}, "lengthscale": 0.1, "output_scale": 0.1, "noise": 0.1}
    for prior in (GaussianProcess(**given), StudentTProcess(**given, shape=1e6, rate=1e6)):
        shifted = prior.shifts()[shift]
        task = shifted.with_context(0, 3).sample(2, generator=seeded())
        assert shifted.posterior(task).variance.flatten().tolist() == pytest.approx([variance] * 6, rel=1e-4)


def test_noise_of_curves_is_three_times_as_large() -> None:
    prior = LearningCurve(length=12, noise=0.02)
    for one, noise in ((prior, 0.02), (prior.shifts()["noise × 3"], 0.06)):
        _, std = one.sample_curves(3, seeded())  # type: ignore[attr-defined]
        assert std.unique().tolist() == pytest.approx([noise])


def test_mislabelling_stays_below_one_half() -> None:
    shifted = MarkovJump(noise=[0.0, 0.1, 0.3]).shifts()["mislabelled × 3"]
    assert shifted.arguments["noise"] == pytest.approx([0.0, 0.3, 0.5])


def test_a_mixture_shifts_those_components_that_have_the_shift_and_keeps_the_weights() -> None:
    sizes = {"points": 9}
    components = {
        "gp": {"prior": "gaussian_process", "weight": 3.0, "sizes": sizes},
        "t": {"prior": "student_t_process", "sizes": sizes},
    }
    prior = Mixture(components)
    shifts = prior.shifts()
    both, tails = shifts["noise variance × 4"], shifts["shape × 0.5"]
    assert isinstance(both, Mixture)
    assert isinstance(tails, Mixture)
    assert both.weights == tails.weights == prior.weights
    assert [both.component(name).arguments["noise"] for name in components] == pytest.approx([0.04, 0.04])
    assert tails.component("gp").arguments == prior.component("gp").arguments
    assert tails.component("t").arguments["shape"] == 1.0
    assert prior.larger_contexts() == [18]
