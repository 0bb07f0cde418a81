"""The two-level system against matrix exponentials, numerical integrals, and scores computed independently."""

from __future__ import annotations

import pytest
import torch
from scipy import integrate, stats

from priorfit.distributions import WeightedPoints
from priorfit.priors import Evidence, Task, TwoLevelSystem
from priorfit.priors.latent_law import BetaLaw
from priorfit.priors.two_level_system import RUNS, STATE_NOISE, TIME_NOISE, chance_of_one
from tests.cases import assert_mean, seeded


@pytest.mark.parametrize("weight", [0.08, 0.5, 0.83])
@pytest.mark.parametrize("run", [(1.0, 0.0, 3.0), (0.0, 1.0, 2.0), (1.0, 1.0, 1.0)])
def test_chances_are_those_of_noisy_runs(weight: float, run: tuple[float, float, float]) -> None:
    options, draws = {"generator": seeded(1), "dtype": torch.float64}, 50_000
    state = torch.tensor(run[:2], dtype=torch.float64) + STATE_NOISE * torch.randn(draws, 2, **options)
    state = (state / state.norm(dim=1, keepdim=True)).to(torch.complex128)
    time = run[2] + TIME_NOISE * torch.randn(draws, **options)
    hamiltonian = torch.tensor([[1 - weight, weight], [weight, weight - 1]], dtype=torch.complex128)
    evolved = torch.linalg.matrix_exp(-1j * time[:, None, None] * hamiltonian) @ state[..., None]
    expected = chance_of_one(*(torch.tensor(number, dtype=torch.float64) for number in (weight, *run)))
    assert_mean(evolved[:, 0, 0].abs().square(), expected.item())


def test_outcomes_have_their_chances() -> None:
    latents = torch.full((20_000, 1), 0.3)
    rows = TwoLevelSystem().observe(latents, 10, seeded())
    assert torch.equal(rows[0, :, :3], torch.tensor(RUNS))
    for run, outcome in zip(RUNS, rows[..., 3].T, strict=True):
        assert_mean(outcome, chance_of_one(*(torch.tensor(number) for number in (0.3, *run))).item())


def test_fewer_rows_are_some_of_the_runs() -> None:
    rows = TwoLevelSystem().observe(torch.full((3, 1), 0.3), 4, seeded())
    runs = {tuple(row) for row in rows[0, :, :3].tolist()}
    assert len(runs) == 4
    assert runs < set(RUNS)
    assert torch.equal(rows[:1, :, :3].expand(3, -1, -1), rows[..., :3])
    with pytest.raises(ValueError, match="at most 10"):
        TwoLevelSystem(rows=11)


def test_posterior_is_that_of_numerical_integration() -> None:
    task = TwoLevelSystem(rows=10, empty=0.0).sample(4, generator=seeded(2))
    order = torch.randperm(10, generator=seeded())
    task.observed.rows[1] = task.observed.rows[1, order]  # runs that are not shared by all tasks
    found = TwoLevelSystem().posterior(task)
    prior = BetaLaw.from_tokens(task.observed.prior)
    for i, (row, first, second) in enumerate(zip(task.observed.rows.double(), prior.first, prior.second, strict=True)):

        def density(weight: float, row: torch.Tensor = row, law: tuple[float, float] = (float(first), float(second))):
            chance = chance_of_one(torch.tensor(weight, dtype=torch.float64), *row[:, :3].T)
            return stats.beta.pdf(weight, *law) * torch.where(row[:, 3] > 0, chance, 1 - chance).prod().item()

        total = integrate.quad(density, 0, 1, limit=200)[0]
        x = task.hidden[i].item()
        assert found.log_prob(task.hidden.double())[i].exp().item() == pytest.approx(density(x) / total, rel=1e-5)
        below = integrate.quad(density, 0, x, limit=200)[0] / total
        assert found.cdf(task.hidden)[i].item() == pytest.approx(below, abs=1e-3)


def test_scores_are_those_computed_independently() -> None:
    """-0.914 with ten runs and -0.266 under the prior, from 20 000 other tasks."""
    prior = TwoLevelSystem(empty=0.0, candidates=1)
    task = prior.sample(3000, generator=seeded(5))
    exact = -prior.posterior(task).log_prob(task.hidden.double())
    before = -BetaLaw.from_tokens(task.observed.prior).log_prob(task.hidden[:, None])[:, 0]
    assert_mean(exact, -0.914, 0.025)
    assert_mean(before, -0.266, 0.02)
    assert_mean(exact - before, -0.648, 0.015)


def test_law_is_unbiased_for_the_posterior() -> None:
    prior = TwoLevelSystem(empty=0.0, candidates=5)
    task = prior.sample(800, generator=seeded(6))
    law, posterior = task.law, prior.posterior(task)
    assert isinstance(law, WeightedPoints)
    levels = torch.stack([posterior.cdf(law.values[:, j]) for j in range(5)], 1)
    assert_mean((law.weights * levels).sum(1), 0.5, 1e-3)
    assert_mean((law.weights * levels.square()).sum(1), 1 / 3, 1e-3)
    assert law.weights.max() < 1


def test_without_runs_the_posterior_is_the_prior() -> None:
    drawn = TwoLevelSystem(rows=0).sample(3, generator=seeded())
    task = Task(Evidence(drawn.observed.prior, drawn.observed.rows), drawn.hidden)
    exact = BetaLaw.from_tokens(task.observed.prior).distribution.log_prob(task.hidden.double())[:, 0]
    torch.testing.assert_close(TwoLevelSystem().posterior(task).log_prob(task.hidden.double()), exact)
