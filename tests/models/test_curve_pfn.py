"""The network for curves: what it predicts before training, what it learns, and what it refuses.

Letters: B curves, n observed steps, m queries, L whole steps, K buckets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal

from priorfit import checkpoints
from priorfit.distributions import BarDistribution
from priorfit.models import CurvePFN
from priorfit.models.bar_layout import student_masses
from priorfit.priors import GaussianProcess, LearningCurve
from tests.cases import SMALL_CURVES, assert_same, curves, perturbed, seeded

LENGTH = SMALL_CURVES["length"]
PUBLISHED_CAP = 7.2  # log density that the finest bucket of the published networks allows
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def fitted(prior: LearningCurve, n: int = 500, **sizes: int) -> CurvePFN:
    """An untrained network that is prepared for the prior as a training does it."""
    torch.manual_seed(0)
    network = CurvePFN(**{**SMALL_CURVES, "length": prior.length, **sizes}).eval()
    whole = prior.with_context(0, network.preparation_queries)
    tasks = [whole.sample(n, generator=seeded(seed)) for seed in range(2)]
    network.fit_to_prior([task.observed for task in tasks], [task.hidden for task in tasks], [t.law for t in tasks])
    return network


@pytest.fixture(scope="module")
def network() -> CurvePFN:
    return fitted(LearningCurve(length=LENGTH))


@pytest.fixture(scope="module")
def moved() -> CurvePFN:
    """One with random weights: its predictions do not just follow from the linear predictor's."""
    return perturbed(CurvePFN(**SMALL_CURVES)).eval().requires_grad_(False)


def mixture(network: CurvePFN, *observed: Tensor) -> MixtureSameFamily:
    """What the linear predictor alone predicts: a normal law for every level of the noise."""
    mean, std, log_weights, _ = network.predictor(*observed)
    return MixtureSameFamily(Categorical(logits=log_weights), Normal(mean, std))


# Before training


def test_untrained_network_has_the_moments_of_the_linear_predictor(network: CurvePFN) -> None:
    observed = curves(n=12)(seeded())
    prediction, expected = network(*observed), mixture(network, *observed)
    assert isinstance(prediction, BarDistribution)
    assert_same(prediction.loc, expected.mean.float(), **CLOSE)
    assert_same(prediction.scale, expected.stddev.float(), **CLOSE)


def test_untrained_network_predicts_student_t(network: CurvePFN) -> None:
    prediction = network(*curves()(seeded()))
    borders = network.borders[1:-1, None, None]
    levels = prediction.cdf(prediction.loc + prediction.scale * borders).detach()
    expected = stats.t(df=2).cdf(network.borders[1:-1].double().numpy())
    np.testing.assert_allclose(levels, np.broadcast_to(expected[:, None, None], levels.shape), rtol=0, atol=2e-5)
    assert_same(prediction.median, prediction.loc, **CLOSE)


def test_masses_are_student_t_and_borders_finest_in_the_middle(network: CurvePFN) -> None:
    borders = network.borders.double().numpy()
    levels = stats.t(df=2).cdf(borders)
    levels[0], levels[-1] = 0, 1
    np.testing.assert_allclose(student_masses(network.borders), np.diff(levels), rtol=1e-5)
    np.testing.assert_allclose(borders, -borders[::-1], rtol=1e-6, atol=1e-6)
    widths = np.diff(borders)
    assert widths.argmin() in (9, 10)
    assert borders[-1] == pytest.approx(400, rel=1e-5)


@pytest.mark.parametrize("n", [0, 3])
def test_without_context_it_predicts_the_marginals_of_the_prior(network: CurvePFN, n: int) -> None:
    clean, std = LearningCurve(length=LENGTH).sample_curves(4000, seeded(9))
    query_steps = torch.arange(1.0, LENGTH + 1)[None]
    steps, values = torch.arange(1.0, n + 1)[None], torch.rand(1, n, generator=seeded())
    prediction = network(steps, values, query_steps, torch.zeros(1, LENGTH, dtype=torch.int64))
    assert_same(prediction.loc, clean.mean(0)[None], rtol=0, atol=0.02)
    spread = (clean.var(0) + std.square().mean(0)).sqrt()
    assert_same(prediction.scale, spread[None], rtol=0.1, atol=0)


def test_fitting_sets_scales_and_horizon(network: CurvePFN) -> None:
    clean, _ = LearningCurve(length=LENGTH).sample_curves(4000, seeded(9))
    assert network.horizon == LENGTH
    assert network.value_loc.item() == pytest.approx(clean.mean().item(), abs=0.02)
    assert network.value_scale.item() == pytest.approx(clean.std().item(), rel=0.05)
    float64 = {name for name, part in network.state_dict().items() if part.dtype == torch.float64}
    assert float64 == {f"predictor.{name}" for name in ("mean", "basis", "log_levels", "log_level_weights")}


# What a prediction depends on


@pytest.mark.parametrize(("n", "m"), [(0, 1), (1, 3), (29, 7)])
def test_any_number_of_steps_and_queries(moved: CurvePFN, n: int, m: int) -> None:
    prediction = moved(*curves(n, m)(seeded()))
    assert prediction.batch_shape == (3, m)
    assert prediction.mean.isfinite().all()


def test_each_query_sees_its_prefix_and_no_other_query(moved: CurvePFN) -> None:
    steps, values, query_steps, visible = curves(n=9, m=6)(seeded())
    together = moved(steps, values, query_steps, visible)
    for b, q in np.ndindex(3, 6):
        row, query, seen = slice(b, b + 1), slice(q, q + 1), slice(int(visible[b, q]))
        alone = moved(steps[row, seen], values[row, seen], query_steps[row, query], visible[row, query])
        for part in ("loc", "scale", "logits"):
            assert_same(getattr(alone, part), getattr(together, part)[row, query], rtol=1e-4, atol=1e-4)


def test_order_of_what_is_seen_does_not_matter(moved: CurvePFN) -> None:
    steps, values, query_steps, _ = curves(n=6)(seeded())
    visible, order = torch.full(query_steps.shape, 5), torch.tensor([3, 1, 4, 0, 2, 5])
    expected = moved.compute(steps, values, query_steps, visible)
    assert_same(moved.compute(steps[:, order], values[:, order], query_steps, visible), expected, **CLOSE)
    pairing_lost = moved.compute(steps, values[:, order], query_steps, visible)
    assert (pairing_lost[1] - expected[1]).abs().max() > 1e-3


def test_extreme_queries_and_values_are_finite(moved: CurvePFN) -> None:
    steps, values, *_ = curves(n=6, batch=1)(seeded())
    query_steps = torch.tensor([[-3.0, 0.0, 0.5, 1.0, 2.0, 31.0, 1e4, 1e9]])
    visible = torch.full(query_steps.shape, 6)
    for curve in (values, 0 * values, 0 * values + 1, 1e3 * values, -1e6 * values):
        for rows in (steps, 100 * steps, -steps):
            prediction = moved(rows, curve, query_steps, visible)
            draws = prediction.icdf(torch.tensor([0.001, 0.5, 0.999])[:, None, None])
            for part in (draws, prediction.log_prob(draws), prediction.mean, prediction.stddev):
                assert part.isfinite().all()


# Flat curves


def flat(n: int = 60) -> tuple[Tensor, ...]:
    """A curve that differs by a ten-thousandth from step to step, and its next step."""
    steps = torch.arange(1.0, n + 1)[None]
    return steps, 0.7 + 5e-5 * (-1) ** steps, steps[:, -1:] + 1, torch.tensor([[n]])


def test_confidence_on_flat_curves_grows_with_the_precision_of_the_prior() -> None:
    network = fitted(LearningCurve(noise={"law": "log_normal", "loc": -9.0, "scale": 1.0}), n_basis=12, n_levels=12)
    prediction = network(*flat())
    assert prediction.log_prob(torch.tensor(0.7)) > PUBLISHED_CAP
    assert prediction.loc.item() == pytest.approx(0.7, abs=1e-4)
    assert 5e-5 < prediction.scale.item() < 2e-4


def test_confidence_on_flat_curves_may_pass_that_of_the_linear_predictor() -> None:
    """The published prior's least noise is .001: training may put all mass on the buckets in the middle."""
    network = fitted(LearningCurve(), n_basis=12, n_levels=12, n_buckets=128)
    with torch.no_grad():
        network.shape.bias[63:65] += 20
        network.place.bias[1] -= 2
    prediction = network(*flat())
    assert prediction.log_prob(prediction.loc) > PUBLISHED_CAP + 2


# Learning


class TwoRamps:
    """Curves that rise or fall along one known ramp, under known noise: their posterior is a mixture of two normals."""

    steps = torch.arange(1.0, 9)
    ramps = 0.5 + 0.3 * torch.tensor([[-1.0], [1.0]]) * steps / 8  # (2, 8)
    noise = torch.tensor(0.1)

    def draw(self, batch: int, seed: int) -> tuple[Normal, Tensor, Tensor]:
        """Laws of the curves, and two independent draws from them, all (batch, 8)."""
        law = Normal(self.ramps[torch.randint(2, (batch,), generator=seeded(seed))], self.noise)
        noise = self.noise * torch.randn(2, batch, 8, generator=seeded(seed + 1))
        return law, *(law.mean + noise)

    def ask(self, values: Tensor, visible: Tensor) -> tuple[Tensor, ...]:
        """What a network observes that is asked about every step, from `visible` values."""
        steps = self.steps.expand(len(values), -1)
        return steps, values, steps, visible.expand(len(values), 8)

    def posterior(self, values: Tensor, n: int) -> Distribution:
        """Of new values at all steps, given the first n: batch shape (B, 8)."""
        evidence = Normal(self.ramps[:, :n], self.noise).log_prob(values[:, None, :n]).sum(-1)  # (B, 2)
        ramps = Normal(self.ramps.T.expand(len(values), 8, 2), self.noise)
        return MixtureSameFamily(Categorical(logits=evidence[:, None].expand(-1, 8, -1)), ramps)


def test_learns_what_is_not_gaussian() -> None:
    """Two hundred steps halve the linear predictor's distance to the exact posterior, whatever the prefix."""
    torch.manual_seed(0)
    prior, network = TwoRamps(), CurvePFN(8, n_basis=1, n_levels=2, n_buckets=32, width=32, n_layers=1)
    law, values, _ = prior.draw(500, seed=0)
    network.fit_to_prior([prior.ask(values, torch.zeros(1, 8).long())], [values], [law])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for step in range(200):
        law, values, _ = prior.draw(32, seed=2 * step + 2)
        visible = torch.randint(9, (32, 8), generator=seeded(step))
        loss = -network(*prior.ask(values, visible)).expected_log_prob(law).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _, values, hidden = prior.draw(2000, seed=1000)
    for n in (2, 4, 6):
        observed = prior.ask(values, torch.tensor([[n]]))
        exact = prior.posterior(values, n).log_prob(hidden).mean().item()
        linear = mixture(network, *observed).log_prob(hidden.double()).mean().item()
        assert linear < exact - 0.08
        assert network(*observed).log_prob(hidden).mean().item() > (exact + linear) / 2


# Checkpoints


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpoints_keep_the_linear_predictor_bit_for_bit(
    network: CurvePFN, tmp_path: Path, dtype: torch.dtype
) -> None:
    prior, observed = LearningCurve(length=LENGTH), curves(n=12)(seeded())
    path = checkpoints.save(tmp_path / "curves.safetensors", network, prior, dtype=dtype)
    twin = checkpoints.read(path).network
    assert isinstance(twin, CurvePFN)
    assert_same(list(twin.buffers()), list(network.buffers()))
    assert [part.dtype for part in twin.buffers()] == [part.dtype for part in network.buffers()]
    assert_same(twin.predictor(*observed), network.predictor(*observed))
    if dtype == torch.float32:
        assert_same(twin(*observed), network(*observed))


# Bad input


@pytest.mark.parametrize("length", [LENGTH - 1, LENGTH + 1])
def test_priors_of_another_length_are_refused(length: int) -> None:
    whole = LearningCurve(length=length).with_context(0, CurvePFN(**SMALL_CURVES).preparation_queries)
    task = whole.sample(20, generator=seeded())
    with pytest.raises(ValueError, match="on the steps 1 … 30"):
        CurvePFN(**SMALL_CURVES).fit_to_prior([task.observed], [task.hidden], [task.law])


def test_priors_of_something_else_are_refused() -> None:
    prior = GaussianProcess({"points": 40, "features": 2})
    task = prior.with_context(0, CurvePFN(**SMALL_CURVES).preparation_queries).sample(20, generator=seeded())
    with pytest.raises(ValueError, match="prior=learning_curve"):
        CurvePFN(**SMALL_CURVES).fit_to_prior([task.observed], [task.hidden], [task.law])


def test_priors_without_a_law_are_refused() -> None:
    task = LearningCurve(length=LENGTH).with_context(0, LENGTH).sample(20, generator=seeded())
    with pytest.raises(ValueError, match="tasks carry a law"):
        CurvePFN(**SMALL_CURVES).fit_to_prior([task.observed] * 2, [task.hidden] * 2, [task.law, None])


@pytest.mark.parametrize(
    "changes",
    [
        {"length": 1},
        {"n_basis": 0},
        {"n_basis": 31},
        {"n_levels": 1},
        {"n_buckets": 1},
        {"width": 0},
        {"n_layers": 0},
        {"hidden": -4},
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Sizes must be positive"):
        CurvePFN(**{**SMALL_CURVES, **changes})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 5), (3, 4), (3, 2), (3, 2)], "steps and values must agree"),
        ([(3, 5), (3, 5), (3, 2), (3, 1)], "query_steps and visible too"),
        ([(3, 5), (3, 5), (2, 2), (2, 2)], "all in B"),
        ([(5,), (5,), (2,), (2,)], "Expected steps and values"),
        ([(3, 5), (3, 5), (3, 2), (3, 2, 1)], "Expected steps and values"),
        ([(3, 5), (3, 5), (3, 0), (3, 0)], "There is no query"),
        ([(0, 5), (0, 5), (0, 2), (0, 2)], "There is no query"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(network: CurvePFN, shapes: list[tuple[int, ...]], message: str) -> None:
    steps, values, query_steps, visible = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        network(steps, values, query_steps, visible.long())


@pytest.mark.parametrize(
    "visible",
    [torch.tensor([[6, 0]]), torch.tensor([[2, -1]]), torch.tensor([[2.0, 1.0]]), torch.tensor([[True, False]])],
)
def test_numbers_seen_that_cannot_be_are_refused(network: CurvePFN, visible: Tensor) -> None:
    with pytest.raises(ValueError, match=r"visible must be whole numbers \(int64\) from 0 to the 5 observed steps"):
        network(torch.ones(1, 5), torch.ones(1, 5), torch.ones(1, 2), visible)
