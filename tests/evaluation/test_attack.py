"""Attacks on networks whose worst changes are known, what is measured of them, and the script.

Letters: B tasks, n measured values, d hidden numbers.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Self

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import Distribution, MultivariateNormal, Normal, kl_divergence

from priorfit import checkpoints
from priorfit.distributions import BarDistribution
from priorfit.evaluation.attack import changed, divergence, of_length, projected, random_change, worst_change
from priorfit.evaluation.attack_example import attack_example
from priorfit.evaluation.robustness import Response, responses
from priorfit.evaluation.scoring import draw_tasks
from priorfit.evaluation.settings import Settings
from priorfit.models import Network
from priorfit.models.pfn import PFN
from priorfit.priors import Evidence, GaussianProcess, LinearGaussian, MarkovJump, Prior, Regression, Task
from tests.cases import perturbed

ROOT = Path(__file__).resolve().parents[2]
MATRIX = torch.tensor([[1.0, -0.5, 2.0], [0.3, 0.7, -1.0]])
COVARIANCE = torch.tensor([[0.5, 0.2], [0.2, 0.4]])
UNITS = torch.tensor([2.0, 0.5, 0.0])  # the last number must not be changed
SETTINGS = Settings(tasks=40, queries=1, batch_size=20, draws=500, device="cpu")


class Seen(NamedTuple):
    values: Tensor  # (B, n)

    measured = "values"
    one_per_observation = ()


class Linear(Network):
    """q = N(A x, S)."""

    def compute(self, *observed: Tensor) -> Tensor:
        return observed[0] @ MATRIX.T

    def distribution(self, output: Tensor) -> MultivariateNormal:
        return MultivariateNormal(output, COVARIANCE)


class Mean(Network):
    """The exact posterior predictive of `Level`; told a wrong number of rows if `n_rows` is given."""

    def __init__(self, n_rows: int | None = None) -> None:
        super().__init__()
        self.n_rows = n_rows

    def compute(self, *observed: Tensor) -> tuple[Tensor, int]:
        _, y, x_query = observed
        n = y.shape[1] if self.n_rows is None else self.n_rows
        return (y.sum(1) / (n + 1))[:, None].expand(-1, x_query.shape[1]), n

    def distribution(self, output: tuple[Tensor, int]) -> Normal:
        mean, n = output
        return Normal(mean, (1 + 1 / (n + 1)) ** 0.5)


class Level(Prior):
    """y = m + e, m and all e standard normal: n rows give N(sum y / (n + 1), 1 / (n + 1)) for m."""

    reference = "exact"
    registered_name = "level"

    def __init__(self, n_context: int = 4) -> None:
        self.n_context = n_context

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        level = torch.randn(batch_size, 1, generator=generator)
        y = level + torch.randn(batch_size, self.n_context + 2, generator=generator)
        x = torch.zeros(batch_size, self.n_context + 2, 1)
        return Task(Regression(x[:, :-2], y[:, :-2], x[:, -2:]), y[:, -2:])

    def with_context(self, n_context: int, n_query: int) -> Self:
        return type(self)(n_context)

    def posterior(self, task: Task) -> Normal:
        return Mean()(*(part.double() for part in task.observed))  # type: ignore[return-value]


def information() -> Tensor:
    """F in units of the changes."""
    return UNITS[:, None] * (MATRIX.T @ torch.linalg.inv(COVARIANCE) @ MATRIX) * UNITS


def attack(size: float, n_steps: int = 40) -> tuple[Seen, Tensor]:
    observed = Seen(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    return observed, worst_change(Linear(), observed, UNITS.expand(7, 3), size, generator, n_steps)


@pytest.mark.parametrize("size", [0.01, 0.3, 2.0])
def test_the_worst_change_of_a_linear_gaussian_law_is_its_leading_direction(size: float) -> None:
    """KL = dᵀ F d / 2 is largest, λ size² / 2, along the eigenvector of the largest eigenvalue λ."""
    observed, change = attack(size)
    values, vectors = torch.linalg.eigh(information())
    before, after = Linear()(*observed), Linear()(*changed(observed, change, UNITS))
    assert kl_divergence(before, after).tolist() == pytest.approx([float(values[-1]) * size**2 / 2] * 7, rel=0.02)
    assert change.norm(dim=1).tolist() == pytest.approx([size] * 7, rel=1e-4)
    assert (change @ vectors[:, -1]).abs().tolist() == pytest.approx([size] * 7, rel=0.02)
    assert not change[:, 2].any()


def test_an_attack_beats_random_changes_of_the_same_size() -> None:
    observed, change = attack(0.5)
    other = random_change(UNITS.expand(7, 3), 0.5, torch.Generator().manual_seed(2))
    before = Linear()(*observed)
    worst, drawn = (kl_divergence(before, Linear()(*changed(observed, one, UNITS))) for one in (change, other))
    assert (worst > drawn).all()
    assert other.norm(dim=1).tolist() == pytest.approx([0.5] * 7)
    assert not other[:, 2].any()


def test_divergences_by_draws_are_means_over_the_values_of_a_task() -> None:
    torch.manual_seed(0)
    scale = torch.tensor([1.0, 2.0])
    before, after = Normal(torch.zeros(3, 2), scale), Normal(torch.ones(3, 2), scale)
    found = divergence(before, after, before.sample(torch.Size([100_000])))
    assert found.tolist() == pytest.approx([(0.5 + 0.125) / 2] * 3, abs=0.01)


def test_changes_of_nothing_stay_nothing_at_any_length() -> None:
    zero = torch.zeros(2, 3)
    assert torch.equal(of_length(zero, 50.0), zero)
    assert of_length(torch.tensor([[3.0, 4.0]]), 50.0).tolist() == [[30.0, 40.0]]


def test_projection_shortens_what_is_too_long_only() -> None:
    changes = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert projected(changes, 1.0).norm(dim=1).tolist() == pytest.approx([1.0, 0.5, 0.0])


def found(network: Network, prior: Prior, n_context: int, *sizes: float) -> dict[tuple[str, float], Response]:
    return {(row.kind, row.size): row for row in responses(network, prior, n_context, sizes, SETTINGS)}


def test_an_exact_network_moves_as_far_as_the_exact_posterior() -> None:
    """The mean of n = 4 values moves by 4 units size / √4 / 5 at most, under a variance of 1.2."""
    rows = found(Mean(), Level(), 4, 0.5)
    units = 2**0.5  # of y, whose variance is 2
    expected = (units * 0.5 * 2 / 5) ** 2 / 2 / 1.2
    worst = rows["attack", 0.5]
    assert worst.exact is not None
    assert worst.gap is not None
    assert worst.moved.mean == pytest.approx(expected, rel=0.2)  # units are estimated, too
    assert worst.exact.mean == pytest.approx(worst.moved.mean, rel=0.2)
    assert worst.gap.mean == pytest.approx(0, abs=1e-5)
    assert rows["random", 0.5].moved.mean < worst.moved.mean / 2
    assert rows["none", 0.0].moved.mean == 0
    assert 0.8 <= rows["none", 0.0].coverage.mean <= 1


def test_repeated_and_missing_observations_are_told_from_what_the_exact_posterior_does() -> None:
    """A network that takes the number of rows for four however many there are is right until one is changed."""
    exact, wrong = found(Mean(), Level(), 4), found(Mean(n_rows=4), Level(), 4)
    for kind in ("one twice", "one left out"):
        right, gap = exact[kind, 0.0].gap, wrong[kind, 0.0].gap
        assert right is not None
        assert gap is not None
        assert right.mean == pytest.approx(0, abs=1e-5)
        assert gap.mean > 0.005
    assert wrong["none", 0.0].gap is not None
    assert wrong["none", 0.0].gap.mean == pytest.approx(0, abs=1e-5)


def test_one_more_equal_observation_moves_the_exact_posterior_as_known() -> None:
    """From N(S / 5, 1.2) to N((S + y) / 6, 7 / 6): the KL divergence of the two, over the same tasks."""
    row = found(Mean(), Level(), 4)["one twice", 0.0]
    prior, parts = Level(), []
    for task in draw_tasks(prior, 4, SETTINGS):
        y = task.observed.y_context
        before, after = Normal(y.sum(1) / 5, 1.2**0.5), Normal((y.sum(1) + y[:, 0]) / 6, (7 / 6) ** 0.5)
        parts.append(kl_divergence(before, after))
    assert row.exact is not None
    assert row.exact.mean == pytest.approx(torch.cat(parts).mean().item(), abs=0.005)


def test_laws_of_vectors_are_covered_number_by_number() -> None:
    """Exact posteriors under linear observations cover 90 % of each latent number."""
    prior = LinearGaussian(dimension=2, outputs=2, meta_prior={"components": 2}, candidates=1)

    class Exact(Network):
        def compute(self, *observed: Tensor) -> Evidence:
            return Evidence(*observed)

        def distribution(self, output: Evidence) -> Distribution:
            return prior.posterior(Task(output, output.prior))

    (row, *_) = responses(Exact(), prior, 1, [], Settings(tasks=150, batch_size=150, draws=100, device="cpu"))
    assert row.coverage.mean == pytest.approx(0.9, abs=4 * 0.3 / 300**0.5)


@pytest.mark.parametrize(("n_context", "sizes"), [(0, [0.1]), (4, [0.0]), (4, [-1.0])])
def test_impossible_attacks_are_refused(n_context: int, sizes: list[float]) -> None:
    with pytest.raises(ValueError, match="positive sizes"):
        responses(Mean(), Level(), n_context, sizes, SETTINGS)


def test_tasks_without_measured_numbers_are_only_repeated_and_left_out() -> None:
    with pytest.raises(ValueError, match="no real numbers that were measured"):
        responses(Mean(), MarkovJump(), 3, [0.1], SETTINGS)


def test_an_example_shows_the_densities_of_the_attacked_value() -> None:
    shown = attack_example(Mean(), Level(), 4, 0.5, SETTINGS)
    spacing = shown.x[1] - shown.x[0]
    assert all(density.sum() * spacing == pytest.approx(1, abs=0.03) for density in (*shown.network, *shown.exact))
    assert len(shown.exact) == 2
    again = attack_example(Mean(), Level(), 4, 0.5, SETTINGS, chosen=shown.task)
    assert again.truth == shown.truth


def test_bars_are_attacked_through_their_logits() -> None:
    """Also draws from bars carry no gradient, and need none."""
    network = perturbed(PFN(n_buckets=16, width=16, n_layers=1))
    observed = (
        GaussianProcess({"points": 8, "context": 4}).sample(3, generator=torch.Generator().manual_seed(0)).observed
    )
    torch.manual_seed(0)
    change = worst_change(network, observed, torch.ones(3, 4), 0.3, torch.Generator().manual_seed(0), n_steps=5)
    after = network(*changed(observed, change, torch.ones(3, 4)))
    assert isinstance(after, BarDistribution)
    assert not after.logits.equal(network(*observed).logits)


def test_the_script_writes_tables_and_the_figure(tmp_path: Path) -> None:
    prior, folders = GaussianProcess({"points": 8, "context": 4}), [tmp_path / name for name in ("plain", "robust")]
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        network = perturbed(PFN(n_buckets=16, width=16, n_layers=1), seed=seed)
        checkpoints.save(folder / "checkpoint.safetensors", network, prior, training={}, metrics={}, description="")
    first, second = (str(folder / "checkpoint.safetensors") for folder in folders)
    options = ["--tasks", "4", "--queries", "2", "--draws", "8", "--eps", "0.1", "0.3", "--context", "3"]
    files = ["--figure", str(tmp_path / "attack.png"), "--output", str(tmp_path / "attack.md")]
    command = [sys.executable, "-m", "scripts.attack", first, "--against", second, *options, *files]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    text = (tmp_path / "attack.md").read_text(encoding="utf-8")
    assert "## plain" in text
    assert "## robust" in text
    assert text.count("attack | 0.3") == 2
    assert (tmp_path / "attack.png").read_bytes().startswith(b"\x89PNG")
