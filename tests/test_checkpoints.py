"""Checkpoints come back as they were written, and anything else is refused before it can do harm."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from priorfit import checkpoint_file, provenance
from priorfit.checkpoints import CheckpointError, read, read_metadata, save, update_metrics, update_prior_check
from tests.toy import ToyNetwork, ToyPrior


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "toy.safetensors", ToyNetwork(), ToyPrior())


def forge(path: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
    """Rewrites a checkpoint with a changed document, and a matching digest of it if `seal`."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    document = json.loads(metadata["priorfit"])
    change(document)
    text = json.dumps(document)
    digest = checkpoint_file._sha256(text) if seal else metadata["priorfit_sha256"]
    save_file(tensors, path, {"priorfit": text, "priorfit_sha256": digest})


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"(?i){message}") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_round_trip(tmp_path: Path) -> None:
    network, prior = ToyNetwork(width=5), ToyPrior(scale=2.5, kinds=("a", "b"))
    with torch.no_grad():
        network.second.weight.normal_()
    metrics = {"nll": np.float32(0.5), "n": np.int64(3), "curve": torch.ones(2), "diverged": float("nan")}
    path = save(
        tmp_path / "new" / "toy.safetensors",
        network,
        prior,
        training={"steps": 10},
        metrics=metrics,
        description="A toy.",
        provenance={"seed": 1},
    )
    checkpoint = read(path)
    for name, tensor in network.state_dict().items():
        assert checkpoint.network.state_dict()[name].dtype == tensor.dtype
        torch.testing.assert_close(checkpoint.network.state_dict()[name], tensor, rtol=0, atol=0)
    assert not checkpoint.network.training
    assert checkpoint.network.arguments == {"width": 5}
    assert isinstance(checkpoint.prior, ToyPrior)
    assert checkpoint.prior.arguments == {"scale": 2.5, "kinds": ["a", "b"]}
    metadata = checkpoint.metadata
    assert metadata["schema_version"] == 1
    assert metadata["training"] == {"steps": 10}
    assert metadata["metrics"] == {"nll": 0.5, "n": 3, "curve": [1.0, 1.0], "diverged": None}
    assert metadata["description"] == "A toy."
    assert metadata["provenance"]["torch"] == torch.__version__
    assert metadata["provenance"]["seed"] == 1
    assert metadata == read_metadata(path)
    assert [file.name for file in path.parent.iterdir()] == ["toy.safetensors"]


def test_read_network_works_and_can_be_trained_further(path: Path) -> None:
    network = read(path).network
    assert isinstance(network, ToyNetwork)
    assert network.second.weight is network.first.weight  # still tied
    assert network.first.weight.requires_grad
    assert not network.frozen.requires_grad
    network(torch.ones(4)).mean.sum().backward()


def test_reading_leaves_the_global_random_state(path: Path) -> None:
    before = torch.get_rng_state()
    read(path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_storage(tmp_path: Path, dtype: torch.dtype) -> None:
    network = ToyNetwork(width=1000)
    large = save(tmp_path / "large.safetensors", network, ToyPrior())
    small = save(tmp_path / "small.safetensors", network, ToyPrior(), dtype=dtype)
    loaded = read(small).network.get_parameter("first.weight")
    assert large.stat().st_size - small.stat().st_size >= 3 * 2 * 1000
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded, network.first.weight.to(dtype).float(), rtol=0, atol=0)


def test_update_metrics_merges_and_keeps_the_weights(path: Path) -> None:
    update_metrics(path, {"nll": 1.0, "crps": 2.0})
    before = read_metadata(path)
    update_metrics(path, {"nll": float("inf")})
    after = read(path).metadata
    assert after["metrics"] == {"nll": None, "crps": 2.0}
    assert {**after, "metrics": before["metrics"]} == before


def test_update_prior_check_changes_nothing_else(path: Path) -> None:
    before, weights = read_metadata(path), read(path).network.state_dict()
    assert "prior_check" not in before
    for check in ({"names": ["a"]}, {"names": ["b"]}):
        update_prior_check(path, check)
        after = read(path)
        assert after.metadata == {**before, "prior_check": check}
        assert all(torch.equal(tensor, weights[name]) for name, tensor in after.network.state_dict().items())
    saved = save(path.with_name("other.safetensors"), ToyNetwork(), ToyPrior(), prior_check={"names": ["c"]})
    assert read_metadata(saved)["prior_check"] == {"names": ["c"]}
    with pytest.raises(CheckpointError, match=r"^The check of '.*missing.*' was not updated: there is no such file"):
        update_prior_check(path.with_name("missing.safetensors"), {})


def test_a_failed_write_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    old = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"Nothing was written .*No space left"):
        save(path, ToyNetwork(), ToyPrior())
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "toy.safetensors", ToyNetwork(), ToyPrior())
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    class Unnamed(ToyNetwork):
        pass

    diverged, grown = ToyNetwork(), ToyNetwork()
    diverged.frozen.data.fill_(torch.nan)
    grown.extra = torch.nn.Linear(1, 1)
    huge = ToyNetwork()
    huge.frozen.data.fill_(1e6)
    path = tmp_path / "toy.safetensors"
    cases: list[tuple[str, ToyNetwork, ToyPrior, dict[str, Any]]] = [
        ("register", Unnamed(), ToyPrior(), {}),
        ("frozen .* NaN", diverged, ToyPrior(), {}),
        ("unknown: extra.bias, extra.weight", grown, ToyPrior(), {}),
        ("frozen .* infinite", huge, ToyPrior(), {"dtype": torch.float16}),
        ("dtype", ToyNetwork(), ToyPrior(), {"dtype": torch.int8}),
        ("JSON compliant", ToyNetwork(), ToyPrior(scale=float("inf")), {}),
        ("PosixPath|WindowsPath", ToyNetwork(), ToyPrior(), {"training": {"path": tmp_path}}),
    ]
    for message, network, prior, options in cases:
        with pytest.raises(CheckpointError, match=message):
            save(path, network, prior, **options)
    assert not list(tmp_path.iterdir())


def test_a_flipped_bit_in_any_tensor_is_refused(path: Path) -> None:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for position in range(start, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert_refused(path, "weights were changed or damaged")


def test_a_changed_document_is_refused(path: Path) -> None:
    forge(path, lambda document: document["metrics"].update(nll=-100.0), seal=False)
    assert_refused(path, "changed or damaged")
    with pytest.raises(CheckpointError, match="changed or damaged"):
        read_metadata(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(path, "damaged or incomplete")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def by_pickle(bomb: Bomb, path: Path) -> None:
    path.write_bytes(pickle.dumps(bomb))


def by_torch(bomb: Bomb, path: Path) -> None:
    torch.save(bomb, path)


def by_old_torch(bomb: Bomb, path: Path) -> None:
    torch.save(bomb, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [by_pickle, by_torch, by_old_torch])
def test_a_pickle_in_disguise_is_refused_and_not_run(tmp_path: Path, write: Callable[..., None]) -> None:
    path, marker = tmp_path / "toy.safetensors", tmp_path / "marker"
    write(Bomb(marker), path)
    assert_refused(path, "pickle.*refused")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.update(schema_version=2), "schema version is 2.*upgrade"),
        (lambda document: document.update(schema_version="1"), "no schema version"),
        (lambda document: document.pop("schema_version"), "no schema version"),
        (lambda document: document.pop("metrics"), "lacks a proper 'metrics'"),
        (lambda document: document.update(network="toy"), "lacks a proper 'network'"),
        (
            lambda document: document["network"].update(name="toi"),
            "unknown network 'toi'.*mean 'toy'.*import",
        ),
        (lambda document: document["network"].update(name="os.system"), "unknown network 'os.system'"),
        (lambda document: document["network"].update(name=["toy"]), "proper name"),
        (lambda document: document["network"].update(arguments=[3]), "proper name or arguments"),
        (lambda document: document["network"].update(arguments={"widht": 3}), "mean 'width'"),
        (lambda document: document["network"].update(arguments={"width": "3"}), "cannot be built"),
        (lambda document: document["network"].update(arguments={"width": -1}), "cannot be built"),
        (lambda document: document["network"].update(arguments={"width": 4}), r"\[3\].*needs.*\[4\]"),
        (lambda document: document["network"].update(arguments={"width": 10**14}), "cannot be built.*memory"),
        (lambda document: document.update(weights_sha256="0" * 64), "weights were changed"),
    ],
)
def test_a_sealed_document_that_is_wrong_is_refused(path: Path, change: Callable[..., None], message: str) -> None:
    forge(path, change)
    assert_refused(path, message)


@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000, '{"schema_version": true}'])
def test_a_document_of_another_form_is_refused(path: Path, text: str) -> None:
    save_file({"a": torch.ones(1)}, path, {"priorfit": text, "priorfit_sha256": checkpoint_file._sha256(text)})
    assert_refused(path, "not valid JSON|no schema version")


def test_sealed_tensors_that_do_not_fit_are_refused(path: Path) -> None:
    document, tensors = checkpoint_file.open_file(path)
    nan, wrong = torch.full_like(tensors["first.bias"], torch.nan), torch.tensor(7.0)
    cases = [
        (
            {name: tensor for name, tensor in tensors.items() if name != "count"},
            "missing: count; unknown: none",
        ),
        ({**tensors, "alien": wrong}, "missing: none; unknown: alien"),
        ({**tensors, "count": wrong}, "count is torch.float32"),
        ({**tensors, "first.bias": nan}, "first.bias .* NaN"),
    ]
    for state, message in cases:
        checkpoint_file.write(path, document, state)
        assert_refused(path, message)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("not a checkpoint at all")
    assert_refused(tmp_path / "foreign.safetensors", "not one that priorfit wrote")
    assert_refused(tmp_path / "text.safetensors", "not a safetensors file")
    assert_refused(tmp_path / "missing.safetensors", "no such file")
    assert_refused(tmp_path, "folder")


def test_an_unknown_prior_hinders_only_itself(path: Path) -> None:
    forge(path, lambda document: document["prior"].update(name="toi"))
    checkpoint = read(path)
    checkpoint.network(torch.ones(2))
    with pytest.raises(CheckpointError, match=r"Unknown prior 'toi'.*import it first"):
        _ = checkpoint.prior


def test_git_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = provenance.git_commit()
    assert commit is None or re.fullmatch("[0-9a-f]{40}(-dirty)?", commit)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.git_commit() is None
