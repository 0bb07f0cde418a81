"""Evaluations on tasks from a file say what those on the same drawn tasks say, and use stored references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from priorfit import checkpoints
from priorfit.evaluation import reference_methods
from priorfit.evaluation.main import evaluate
from priorfit.evaluation.reference_methods import ReferenceMethod
from priorfit.evaluation.report import evaluate_checkpoint, store
from priorfit.evaluation.settings import Settings
from priorfit.evaluation.writers import alike, markdown
from priorfit.models import PFN
from priorfit.priors import GaussianProcess, LearningCurve, Mixture, Prior, StudentTProcess
from priorfit.task_files import TaskFile, write_reference
from tests.task_files.files import write, write_evaluation

PRIOR = GaussianProcess({"points": 32})
SETTINGS = Settings([0, 3], tasks=8, queries=4, batch_size=3, seed=5, device="cpu")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small untrained network."""
    pfn = PFN(1, n_buckets=32, width=16, n_layers=1, n_heads=1)
    task = PRIOR.with_context(0, 20).sample(200, generator=torch.Generator().manual_seed(0))
    pfn.fit_to_prior([task.observed], [task.hidden])
    return checkpoints.save(tmp_path_factory.mktemp("run") / "tiny.safetensors", pfn, PRIOR)


@pytest.fixture
def file(tmp_path: Path) -> TaskFile:
    return write_evaluation(tmp_path / "tasks.h5", PRIOR, SETTINGS)


def measure(network: Path, **options: Any) -> Any:
    return evaluate_checkpoint(network, progress=False, draws=5, **options)


def numbers(report: Any) -> list[Any]:
    return [(row.n_context, row.tasks, row.nll, row.gap, row.coverage, row.calibration) for row in report.rows]


@pytest.mark.parametrize("prior", [PRIOR, StudentTProcess({"points": 32})])
def test_the_numbers_are_those_of_the_same_drawn_tasks(prior: Prior, network: Path, tmp_path: Path) -> None:
    file = write_evaluation(tmp_path / "tasks.h5", prior, SETTINGS)
    live = checkpoints.save(tmp_path / "live.safetensors", checkpoints.read(network).network, prior)
    own = {name: getattr(SETTINGS, name) for name in ("context_sizes", "tasks", "queries", "batch_size", "seed")}
    expected, found = measure(live, device="cpu", **own), measure(network, device="cpu", path=str(file.path))
    assert numbers(found) == numbers(expected)
    assert found.reference == expected.reference == "exact"
    assert found.prior.arguments == prior.arguments
    whose = "the prior" if prior is PRIOR else "another prior, 'student_t_process', than the one"
    assert f"(digest {file.digest}), of {whose} that the network was trained on" in markdown(found, [])


def test_priors_are_compared_but_for_the_sizes_of_their_tasks() -> None:
    assert alike(PRIOR, GaussianProcess({"points": [5, 9]}), 3)
    assert not alike(PRIOR, GaussianProcess({"points": 32}, noise=0.5), 3)
    assert not alike(LearningCurve(length=20), LearningCurve(length=50), 40)  # which the first has no curves for


def test_a_stored_reference_is_what_the_gap_is_measured_to(file: TaskFile, network: Path) -> None:
    def compute(missing: range) -> Any:
        for number in missing:
            shape = file.batch(number).hidden.shape
            yield {"log_prob": np.full(shape, -1.5), "effective_sample_size": np.full(shape[:1], 50.0 + number)}

    write_reference(file.path, "mcmc", {}, compute, lambda n: None)
    found = measure(network, path=str(file.path), reference="mcmc")
    assert found.reference == "mcmc, stored"
    for row in found.rows:
        assert row.reference_nll.mean == pytest.approx(1.5)
        assert row.gap.mean == pytest.approx(row.nll.mean - 1.5)
    assert found.rows[0].effective_sample_size == pytest.approx((3 * 50 + 3 * 51 + 2 * 52) / 8)
    assert "the prior's own posterior (mcmc, stored)" in markdown(found, [])
    assert measure(network, path=str(file.path)).reference == "exact"
    assert [row.n_context for row in measure(network, path=str(file.path), context_sizes=[3]).rows] == [3]


def test_a_stored_posterior_is_not_computed_again(
    file: TaskFile, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = measure(network, path=str(file.path))

    def compute(missing: range) -> Any:
        return (reference_methods.posterior(PRIOR, file.batch(number), 0) for number in missing)

    write_reference(file.path, "posterior", {}, compute, lambda n: None)
    monkeypatch.setattr(GaussianProcess, "posterior", lambda *_: pytest.fail("computed again"))
    assert numbers(measure(network, path=str(file.path))) == numbers(live)


def test_parts_of_a_prior_are_not_told_apart_in_a_file(network: Path, tmp_path: Path) -> None:
    part = {"prior": "gaussian_process", "sizes": {"points": 32}}
    file = write_evaluation(tmp_path / "tasks.h5", Mixture({"one": part, "other": part}), SETTINGS)
    report = measure(network, path=str(file.path))
    assert not report.parts
    assert report.reference == "oracle"


def test_the_command_reads_a_file_and_stores_its_numbers_apart(file: TaskFile, network: Path, tmp_path: Path) -> None:
    changes = [f"checkpoint={network}", "data=hdf5", "device=cpu", "draws=5", f"output={tmp_path}"]
    with initialize_config_module("priorfit.configs", version_base="1.3"):
        config = compose("evaluate", [*changes, f"path={file.path}"])
        missing = compose("evaluate", changes)
    evaluate(config)
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["settings"]["path"] == str(file.path)
    assert [(row["n_context"], row["tasks"]) for row in document["sizes"]] == [(0, 8), (3, 8)]
    with pytest.raises(ValueError, match="Give path=FILE"):
        evaluate(missing)
    report = measure(network, path=str(file.path))
    store(report, network)
    assert "evaluation, path=tasks.h5, reference=own" in checkpoints.read_metadata(network)["metrics"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "mcmc"}, "has no reference 'mcmc'"),
        ({"context_sizes": [3, 4]}, "no tasks of the fixed context size 4; it has 0, 3"),
        ({"prior": {"noise": 0.5}}, "exclude one another"),
    ],
)
def test_what_a_file_does_not_hold_is_refused(options: dict, message: str, file: TaskFile, network: Path) -> None:
    with pytest.raises(ValueError, match=message):
        measure(network, path=str(file.path), **options)


def test_files_for_training_and_references_without_files_are_refused(network: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="they are for training"):
        measure(network, path=str(write(tmp_path / "tasks.h5", 2, PRIOR).path))
    with pytest.raises(ValueError, match="give data=hdf5 path=FILE as well"):
        measure(network, reference="mcmc")


def test_methods_are_found_by_name_and_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    method = ReferenceMethod(lambda prior, task, seed: {})
    monkeypatch.setitem(reference_methods.reference_methods, "toy", {"bnn": method})
    assert reference_methods.reference_method("posterior", PRIOR).compute is reference_methods.posterior
    with pytest.raises(ValueError, match="'toy' is not for the prior 'gaussian_process': it is for bnn"):
        reference_methods.reference_method("toy", PRIOR)
    with pytest.raises(ValueError, match="did you mean 'posterior'"):
        reference_methods.reference_method("posteriro", PRIOR)
