"""Fitted estimators as files: the same answers again, and clear errors for any other file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from sklearn.exceptions import NotFittedError

from priorfit import PFNClassifier, PFNRegressor, checkpoints
from priorfit.checkpoints import CheckpointError
from tests.predictors.kernel_network import saved

FRAME = pd.DataFrame(
    {"color": ["red", "blue", None, "green"] * 5, "weight": [1.0, np.nan, 3, 4, 5] * 4, "count": np.arange(20)}
)
CLASSES = {
    "texts": ["b", "a", "c", "b"],
    "objects": np.array(["b", "a", "c", "b"], dtype=object),
    "whole numbers": [3, 1, 7, 3],
    "truth values": [True, False, True, True],
    "numbers": [1.0, 0.0, 2.0, 1.0],
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("networks") / "kernel.safetensors")


@pytest.fixture
def file(network: Path, tmp_path: Path) -> Path:
    """A saved classifier."""
    return PFNClassifier(network).fit(FRAME, CLASSES["texts"] * 5).save(tmp_path / "fitted.safetensors")


@pytest.mark.parametrize("kind", CLASSES)
def test_a_loaded_classifier_is_the_same(network: Path, tmp_path: Path, kind: str) -> None:
    settings: Any = {
        "n_estimators": 3,
        "softmax_temperature": 0.8,
        "categorical_features": np.array([2]),
        "max_rows": 15,
    }
    with pytest.warns(UserWarning, match="sees 15 random ones"):
        fitted = PFNClassifier(network, **settings).fit(FRAME, np.tile(CLASSES[kind], 5))
    path = fitted.save(tmp_path / "deep" / "fitted.safetensors")
    loaded = PFNClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(FRAME), fitted.predict_proba(FRAME))
    np.testing.assert_array_equal(loaded.predict(FRAME), fitted.predict(FRAME))
    assert loaded.classes_.dtype == fitted.classes_.dtype
    np.testing.assert_array_equal(loaded.class_counts_, fitted.class_counts_)
    assert loaded.feature_names_in_.tolist() == [*FRAME.columns]
    assert loaded.get_params() | {"checkpoint": network} == fitted.get_params() | {
        "transforms": ["none", "quantile", "power"],
        "categorical_features": [2],
    }
    assert loaded.metadata_ == fitted.metadata_
    again = PFNClassifier.load(loaded.save(tmp_path / "again.safetensors"))
    np.testing.assert_array_equal(again.predict_proba(FRAME), fitted.predict_proba(FRAME))


def test_many_classes_survive(tmp_path: Path) -> None:
    fitted = PFNClassifier(saved(tmp_path / "k.safetensors", max_classes=3)).fit(FRAME, np.arange(20) % 7)
    loaded = PFNClassifier.load(fitted.save(tmp_path / "fitted.safetensors"))
    np.testing.assert_array_equal(loaded.predict_proba(FRAME), fitted.predict_proba(FRAME))


def test_a_loaded_regressor_is_the_same(network: Path, tmp_path: Path) -> None:
    fitted = PFNRegressor(network, n_estimators=3).fit(FRAME, np.arange(20.0) ** 2)
    loaded = PFNRegressor.load(fitted.save(tmp_path / "fitted.safetensors"))
    for output in ("mean", "std", "quantiles"):
        np.testing.assert_array_equal(loaded.predict(FRAME, output), fitted.predict(FRAME, output))


@pytest.mark.parametrize("standardize", [True, False])
def test_a_loaded_regressor_of_numbers_is_the_same(checkpoint_path: Path, tmp_path: Path, standardize: bool) -> None:
    x = np.random.default_rng(0).uniform(size=(20, 2))
    fitted = PFNRegressor(checkpoint_path, standardize=standardize).fit(x, 7 + x.sum(1))
    loaded = PFNRegressor.load(fitted.save(tmp_path / "fitted.safetensors"))
    np.testing.assert_array_equal(loaded.predict(x), fitted.predict(x))
    assert not hasattr(loaded, "feature_names_in_")


def test_weights_are_not_in_the_file_and_nothing_is_pickled(file: Path) -> None:
    with safe_open(file, framework="np") as content:
        assert set(content.keys()) == {"x", "y", "kept", "categorical", "y_loc", "y_scale"}
        document = json.loads(content.metadata()["priorfit"])
    assert document["estimator"]["class"] == "PFNClassifier"
    assert document["estimator"]["columns"][1] == [["blue", "green", "red"], None, None]


def test_the_network_may_have_moved(network: Path, file: Path, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere.safetensors"
    there.write_bytes(network.read_bytes())
    loaded = PFNClassifier.load(file, checkpoint=there, device="auto")
    assert (loaded.checkpoint, loaded.device) == (there, "auto")
    assert loaded.predict(FRAME).shape == (20,)


def test_another_network_is_refused(file: Path, tmp_path: Path) -> None:
    other = saved(tmp_path / "other.safetensors", max_features=5)
    with pytest.raises(CheckpointError, match=r"is not the one that the estimator .* was fitted with: name that one"):
        PFNClassifier.load(file, checkpoint=other)


def test_a_network_that_is_gone(tmp_path: Path) -> None:
    network = saved(tmp_path / "network.safetensors")
    file = PFNClassifier(network).fit(FRAME, CLASSES["texts"] * 5).save(tmp_path / "fitted.safetensors")
    network.unlink()
    with pytest.raises(CheckpointError, match=r"network\.safetensors': there is no such file"):
        PFNClassifier.load(file)


def test_the_other_class_is_named(file: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"holds a PFNClassifier, not a PFNRegressor: PFNClassifier.load reads it"
    ):
        PFNRegressor.load(file)


def test_files_of_other_kinds(network: Path, file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a trained network, not a fitted estimator: priorfit.load reads it"):
        PFNClassifier.load(network)
    with pytest.raises(CheckpointError, match=r"Cannot read .*no such file"):
        PFNClassifier.load(tmp_path / "nothing.safetensors")
    other = tmp_path / "other.safetensors"
    other.write_text("not at all")
    with pytest.raises(CheckpointError, match="not a safetensors file, or it is damaged"):
        PFNClassifier.load(other)
    with pytest.raises(CheckpointError, match="its weights do not fit its network"):
        checkpoints.read(file)


@pytest.mark.parametrize("place", [0.5, 0.95])
def test_damaged_files(file: Path, place: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"Cannot read .*(damaged|changed|JSON)"):
        PFNClassifier.load(file)


def test_what_cannot_be_saved(network: Path, tmp_path: Path) -> None:
    y = CLASSES["texts"] * 5
    path = tmp_path / "fitted.safetensors"
    with pytest.raises(NotFittedError):
        PFNClassifier(network).save(path)
    with pytest.raises(CheckpointError, match="given as an object: fit with its name or path"):
        PFNClassifier(checkpoints.read(network)).fit(FRAME, y).save(path)
    with pytest.raises(CheckpointError, match=r"Nothing was written .* RandomState"):
        PFNClassifier(network, random_state=np.random.RandomState(0)).fit(FRAME, y).save(path)
    assert not path.exists()
