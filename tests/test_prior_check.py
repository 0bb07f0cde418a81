"""Prior-predictive checks: normal scores in closed form, the share of draws that is flagged, shifts that are.

Letters: B tasks, J summaries.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from scipy import stats
from torch import Generator, Tensor

from priorfit import checkpoints, manifest
from priorfit.models import networks
from priorfit.prior_check import LEVELS, PriorCheck, normal_scores
from priorfit.priors import GaussianProcess, LearningCurve, Prior, Task
from priorfit.training.main import train
from scripts import calibrate_checks
from tests.cases import NETWORKS, NetworkCase, perturbed, seeded
from tests.toy import ToyNetwork, ToyPrior
from tests.training.commands import TINY


class Draws(NamedTuple):
    """Numbers of a task."""

    values: Tensor  # (B, n)


class NormalPrior(Prior):
    """n numbers about the origin; of standard deviation 10 / n, so that sizes matter."""

    def __init__(self, n: int = 1) -> None:
        self.n = n

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        values = torch.randn(batch_size, self.n, generator=generator) * 10 / self.n
        return Task(Draws(values), values)

    def with_context(self, n_context: int, n_query: int) -> Self:
        return self.replace(n=n_context)

    def context_sizes(self) -> list[int]:
        return [0, 64]


class NormalNetwork(ToyNetwork):
    """Summarises numbers by their mean, their log standard deviation, and one that never changes."""

    summary_names = ("mean", "spread", "constant")

    def summary(self, *observed: Tensor) -> Tensor:
        (values,) = observed
        spread = values.std(1).log() if values.shape[1] > 1 else torch.full((len(values),), torch.nan)
        return torch.stack([values.mean(1), spread, torch.ones(len(values))], 1)

    def n_observed(self, *observed: Tensor) -> Tensor:
        return torch.full((len(observed[0]),), observed[0].shape[1])


@pytest.fixture(scope="module")
def check() -> PriorCheck:
    """Of numbers about the origin."""
    found = PriorCheck.fit(NormalNetwork(), NormalPrior(), tasks=4000)
    assert found is not None
    return found


def scores(check: PriorCheck, n: int, shift: float = 0.0, batch: int = 2000) -> Tensor:
    """Of fresh draws of n numbers, moved by `shift`."""
    values = NormalPrior(n).sample(batch, generator=seeded(n)).observed.values
    return check.score(NormalNetwork(), (values + shift,))


def quantiles(law: Any) -> Tensor:
    """Of one summary, (1, Q)."""
    return torch.from_numpy(law.ppf(LEVELS))[None]


def test_scores_of_normal_draws_are_themselves() -> None:
    values = torch.linspace(-2.3, 2.3, 47, dtype=torch.float64)[:, None]
    torch.testing.assert_close(normal_scores(5 + 3 * values, 5 + 3 * quantiles(stats.norm())), values)


def test_tails_are_exponential() -> None:
    values = torch.tensor([[6.0], [10.0], [20.0]], dtype=torch.float64)
    expected = -stats.norm.ppf(np.exp(-values.numpy()))
    np.testing.assert_allclose(normal_scores(values, quantiles(stats.expon())).numpy(), expected, rtol=0.06)
    np.testing.assert_allclose(normal_scores(-values, -quantiles(stats.expon()).flip(-1)).numpy(), -expected, rtol=0.06)


def test_what_is_not_defined_says_nothing() -> None:
    values = torch.tensor([[torch.nan, 3.0, 2.0, torch.inf]], dtype=torch.float64)
    known = quantiles(stats.norm())[0]
    laws = torch.stack([known, torch.full_like(known, torch.nan), torch.full_like(known, 2.0), known])
    found = normal_scores(values, laws)[0]
    assert found[:3].tolist() == [0.0, 0.0, 0.0]
    assert 1e3 < found[3] < np.inf


@pytest.mark.parametrize("n", [1, 3, 6, 11, 23, 64])
def test_one_in_two_hundred_draws_is_flagged_at_any_size(check: PriorCheck, n: int) -> None:
    flagged = int((scores(check, n) > 1).sum())
    assert flagged <= stats.binom.ppf(0.999, 2000, 0.01)
    assert scores(check, n).median() < 0.6


def test_shifts_are_flagged_and_larger_ones_score_more(check: PriorCheck) -> None:
    small, large = (scores(check, 23, shift) for shift in (1.0, 100.0))
    assert (small > 1).float().mean() > 0.95
    assert (large > small).all()
    assert (scores(check, 64, 100.0) > 1).all()
    values = NormalPrior(23).sample(500, generator=seeded()).observed.values
    assert (check.score(NormalNetwork(), (0.2 * values,)) > 1).float().mean() > 0.95  # too regular


def test_documents_are_small_json_that_say_the_same(check: PriorCheck) -> None:
    text = json.dumps(check.document(), allow_nan=False)
    assert len(text) < 3000
    read = PriorCheck.from_document(json.loads(text))
    assert read is not None
    assert torch.equal(scores(read, 5), scores(check, 5))
    assert read.names == NormalNetwork.summary_names
    assert PriorCheck.from_document(None) is None


def test_networks_and_priors_that_tell_nothing_have_no_check() -> None:
    assert PriorCheck.fit(ToyNetwork(), NormalPrior()) is None
    assert PriorCheck.fit(NormalNetwork(), ToyPrior()) is None  # does not tell its sizes
    assert PriorCheck.fit(NormalNetwork(), NormalPrior(), tasks=99) is None
    with pytest.raises(ValueError, match="too few for 2 sizes"):
        PriorCheck.fit(NormalNetwork(), NormalPrior(), context_sizes=[1, 2], tasks=150)


def test_draws_depend_on_the_seed_alone() -> None:
    found = [PriorCheck.fit(NormalNetwork(), NormalPrior(), tasks=200, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (check.document() for check in found if check is not None)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "case", [case for case in NETWORKS if networks.classes[case.name].summary_names], ids=lambda case: case.id
)
def test_every_summary_keeps_its_contract(case: NetworkCase) -> None:
    network = case.build().eval()
    observed = case.observe(seeded())
    with torch.no_grad():
        summary, sizes = network.summary(*observed), network.n_observed(*observed)
        answer, beside = network.with_summary(*observed)
        alone = network.summary(*(part[:1] for part in observed))
    batch = len(observed[0])
    assert summary is not None
    assert beside is not None
    assert alone is not None
    assert summary.shape == (batch, len(network.summary_names))
    assert sizes.shape == (batch,)
    assert answer.batch_shape[0] == batch
    assert summary.isfinite().any()
    torch.testing.assert_close(beside, summary, equal_nan=True)
    torch.testing.assert_close(alone, summary[:1], rtol=1e-2, atol=1e-2, equal_nan=True)


def test_oscillating_curves_are_told_from_the_priors() -> None:
    """Also with an untrained network: its linear predictor is the prior's."""
    prior = LearningCurve(length=30, queries=30, noise=0.01)
    network = networks.build("curve_pfn", {"length": 30, "n_basis": 5, "n_levels": 4, "width": 16, "n_layers": 1})
    task = prior.with_context(0, 30).sample(1000, generator=seeded(1))
    network.fit_to_prior([task.observed], [task.hidden], [task.law])
    check = PriorCheck.fit(network.eval(), prior, context_sizes=[20], tasks=1000)
    assert check is not None
    steps, values, query_steps, visible = prior.with_context(20, 1).sample(300, generator=seeded(2)).observed
    wave = 0.1 * (2 * torch.pi * steps / 8).sin()
    assert (check.score(network, (steps, values, query_steps, visible)) > 1).float().mean() < 0.04
    assert (check.score(network, (steps, values + wave, query_steps, visible)) > 1).float().mean() > 0.9


def test_random_weights_do_not_matter_to_a_check_of_inputs() -> None:
    """Tasks far outside of the inputs' range are flagged whatever a network predicts."""
    prior = GaussianProcess(sizes={"points": 20, "features": 1, "context": "uniform"})
    network = perturbed(networks.build("pfn", {"max_features": 1, "n_buckets": 20, "width": 16, "n_layers": 1}))
    task = prior.with_context(0, 20).sample(100, generator=seeded())
    network.fit_to_prior([task.observed], [task.hidden], [task.law])
    check = PriorCheck.fit(network.eval(), prior, context_sizes=[10], tasks=400)
    assert check is not None
    x, y, query = prior.with_context(10, 1).sample(100, generator=seeded(3)).observed
    assert (check.score(network, (x, y, query)) > 1).float().mean() < 0.05
    order = torch.randperm(10, generator=seeded())
    torch.testing.assert_close(
        check.score(network, (x[:, order], y[:, order], query)), check.score(network, (x, y, query)), rtol=1e-3, atol=0
    )
    assert (check.score(network, (x + 2, y, query)) > 1).all()
    assert (check.score(network, (x, 100 * y, query)) > 1).all()


def run(folder: Path, *overrides: str) -> Path:
    """A tiny training in this process; the checkpoint that it wrote."""
    changes = ["trainer.max_steps=2", "trainer.val_check_interval=2", f"output={folder}", "name=test"]
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        train(compose("train", [*TINY, *changes, *overrides]))
    return folder / "checkpoint.safetensors"


def test_training_writes_the_check_of_its_network(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = checkpoints.read(run(tmp_path / "checked", "check_tasks=300", "seed=0"))
    expected = PriorCheck.fit(file.network, file.prior, tasks=300)
    assert expected is not None
    assert file.metadata["prior_check"] == expected.document()
    with caplog.at_level(logging.WARNING):
        without = run(tmp_path / "without", "check_tasks=0")
    assert not [record for record in caplog.records if record.levelno > logging.INFO and "priorfit" in record.name]
    assert "prior_check" not in checkpoints.read_metadata(without)
    assert calibrate(str(without), "--tasks", "300") is None  # what training left out
    assert checkpoints.read_metadata(without)["prior_check"]["names"] == list(file.network.summary_names)


def calibrate(*arguments: str) -> int | None:
    """Runs the script; the status with which it left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["calibrate_checks.py", *arguments])
        try:
            calibrate_checks.main()
        except SystemExit as stopped:
            return stopped.code  # type: ignore[return-value]
    return None


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose manifest lists "own", with metrics and a description that its file does not have, and "toy"."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "manifest.json").write_text('{"schema_version": 1, "base_url": "http://127.0.0.1/", "checkpoints": {}}')
    for module in (manifest, calibrate_checks):
        monkeypatch.setattr(module, "folder", lambda: home)
    prior = GaussianProcess(sizes={"points": 8, "features": 1})
    network = networks.build("pfn", {"max_features": 1, "n_buckets": 20, "width": 16, "n_layers": 1})
    task = prior.with_context(0, 8).sample(100, generator=seeded())
    network.fit_to_prior([task.observed], [task.hidden], [task.law])
    own = checkpoints.save(tmp_path / "own.safetensors", network, prior)
    manifest.register_file(own, "own", description="Ours.", metrics={"nll": 1.5})
    manifest.register_file(checkpoints.save(tmp_path / "toy.safetensors", ToyNetwork(), ToyPrior()), "toy")
    return home


def test_the_script_adds_checks_to_shipped_files(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, toy = manifest.read_manifest().entries, (shipped / "toy.safetensors").read_bytes()
    weights = checkpoints.read_metadata(shipped / "own.safetensors")["weights_sha256"]
    assert calibrate("--tasks", "200") is None
    after, metadata = manifest.read_manifest().entries, checkpoints.read_metadata(shipped / "own.safetensors")
    assert "toy: its network offers no summaries" in capsys.readouterr().out
    assert (shipped / "toy.safetensors").read_bytes() == toy
    assert after["toy"] == before["toy"]
    assert (after["own"].description, after["own"].metrics) == ("Ours.", {"nll": 1.5})
    assert after["own"].sha256 == manifest.file_sha256(shipped / "own.safetensors") != before["own"].sha256
    assert metadata["weights_sha256"] == weights
    assert len(metadata["prior_check"]["sizes"]) == 2


def test_the_script_refuses_what_it_cannot_do(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate("missing.safetensors") == 1
    assert "missing.safetensors: " in capsys.readouterr().err
    assert calibrate("own", "--tasks", "99") == 2
    assert "at least 100" in capsys.readouterr().err
