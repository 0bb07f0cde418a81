"""PFNClassifier: scikit-learn's contract, the network's own answers, ensembles of many kinds, and clear errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy import ndarray
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from priorfit import PFNClassifier, checkpoints
from priorfit.checkpoints import Checkpoint, CheckpointError
from tests.predictors.conftest import random_network
from tests.predictors.kernel_network import KernelNetwork, saved
from tests.toy import ToyPrior

Data = tuple[ndarray, ndarray, ndarray]
DOCUMENT = {"provenance": {}, "prior": {"name": "toy", "arguments": {}}}


def kernel(sizes: dict[str, Any] | None = None, **arguments: Any) -> Checkpoint:
    """The stand-in as a checkpoint, which may tell of the sizes that it was trained on."""
    prior = {"name": "toy", "arguments": {"sizes": sizes} if sizes else {}}
    return Checkpoint(KernelNetwork(**arguments), {**DOCUMENT, "prior": prior})


def contexts(classifier: PFNClassifier) -> tuple[torch.Tensor, ...]:
    """What the stand-in was last asked to encode."""
    return classifier._network.calls[-1]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("networks") / "kernel.safetensors")


@pytest.fixture
def data() -> Data:
    """60 training rows of 3 classes with 4 columns, and 20 queries."""
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(150)
    return x[order[:60]], np.array(["setosa", "versicolor", "virginica"])[y[order[:60]]], x[order[60:80]]


# --- scikit-learn -------------------------------------------------------------------------------------------


class OfTables(PFNClassifier):
    """Says that it takes missing values before it has its checkpoint, which tells."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


@parametrize_with_checks([OfTables()])
def test_scikit_learns_contract(estimator: PFNClassifier, check: Callable[..., None], path: Path) -> None:
    check(estimator.set_params(checkpoint=str(path), query_batch=64, n_estimators=4))


def test_works_inside_searches_and_cross_validation(data: Data) -> None:
    assert cross_val_score(PFNClassifier(kernel()), *data[:2], cv=3).min() > 0.8
    search = GridSearchCV(PFNClassifier(kernel()), {"softmax_temperature": [1.0, 100.0]}, scoring="neg_log_loss", cv=3)
    assert search.fit(*data[:2]).best_params_ == {"softmax_temperature": 1.0}  # at 100 all classes are equally likely


def test_missing_values_are_announced_as_far_as_the_network_is_known(path: Path, data: Data) -> None:
    def announced(classifier: PFNClassifier) -> bool:
        return classifier.__sklearn_tags__().input_tags.allow_nan

    assert announced(PFNClassifier(path))
    assert announced(PFNClassifier(kernel()))
    assert announced(PFNClassifier(kernel()).fit(*data[:2]))
    assert not announced(PFNClassifier("not-there"))


# --- what is predicted --------------------------------------------------------------------------------------


def test_answers_of_one_member_are_the_networks_own(data: Data) -> None:
    x, y, queries = data
    classifier = PFNClassifier(kernel(), n_estimators=1).fit(x, y)
    names, indices = np.unique(y, return_inverse=True)
    shape = torch.zeros(1, 4, dtype=torch.bool), torch.tensor([3])
    x, targets, queries = (torch.tensor(part[None], dtype=torch.float32) for part in (x, indices, queries))
    with torch.no_grad():
        direct = KernelNetwork()(x, targets, queries, *shape)
    np.testing.assert_allclose(classifier.predict_proba(data[2]), direct.probs[0], atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(data[2]), names[direct.probs[0].argmax(1)])
    np.testing.assert_array_equal(classifier.classes_, names)
    np.testing.assert_array_equal(classifier.class_counts_, np.bincount(indices))


def test_every_output_tells_the_same(data: Data) -> None:
    classifier = PFNClassifier(kernel()).fit(*data[:2])
    probabilities = classifier.predict_proba(data[2])
    assert probabilities.shape == (20, 3)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(classifier.predict_log_proba(data[2]), np.log(probabilities), rtol=1e-9)
    law = classifier.predict_distribution(data[2])
    assert law.batch_shape == (20,)
    np.testing.assert_allclose(law.probs, probabilities, rtol=1e-9)
    np.testing.assert_array_equal(classifier.predict(data[2]), classifier.classes_[probabilities.argmax(1)])


@pytest.mark.parametrize("average", ["log_probabilities", "probabilities"])
def test_members_are_averaged(data: Data, average: str) -> None:
    x, y, queries = data
    settings: Any = {"transforms": ("none", "quantile"), "softmax_temperature": 2.0}
    parts = []
    for transform in settings["transforms"]:
        alone = PFNClassifier(kernel(), n_estimators=1, transforms=[transform]).fit(x, y).predict_proba(queries)
        parts.append(np.sqrt(alone) / np.sqrt(alone).sum(1, keepdims=True))  # at temperature 2
    mean = np.mean(parts, 0) if average == "probabilities" else np.sqrt(parts[0] * parts[1])
    classifier = PFNClassifier(kernel(), n_estimators=2, average=average, **settings).fit(x, y)
    answers = classifier.predict_proba(queries)
    np.testing.assert_allclose(answers, mean / mean.sum(1, keepdims=True), atol=1e-6)


def test_the_stand_in_does_not_care_for_orders_so_neither_does_the_ensemble(data: Data) -> None:
    x, y, queries = data
    one = PFNClassifier(kernel(), n_estimators=1).fit(x, y).predict_proba(queries)
    many = PFNClassifier(kernel(), n_estimators=5, transforms=["none"]).fit(x, y)
    np.testing.assert_allclose(many.predict_proba(queries), one, atol=1e-5)
    seen_x, seen_y, _, n_classes = contexts(many)
    assert seen_x.shape == (5, 60, 4)
    assert len({tuple(row.tolist()) for row in seen_x[:, 0]}) == 5  # columns in other orders
    assert len({tuple(row.tolist()) for row in seen_y}) == 3  # classes in other orders
    assert n_classes.tolist() == [3] * 5


@pytest.mark.parametrize("size", [7, 50, 300])
def test_answers_do_not_depend_on_the_other_queries(data: Data, size: int) -> None:
    queries = np.repeat(data[2], 3, 0) * np.linspace(0.9, 1.1, 60)[:, None]
    classifier = PFNClassifier(kernel(), n_estimators=4).fit(*data[:2])
    expected = classifier.predict_proba(queries)
    apart = [classifier.predict_proba(queries[start : start + 7]) for start in range(0, 21, 7)]
    np.testing.assert_array_equal(np.concatenate(apart), expected[:21])
    answers = classifier.set_params(query_batch=size).predict_proba(queries)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-9)


def test_the_seed_decides(data: Data) -> None:
    x, y, queries = data
    x, queries = (np.hstack([part] * 10) for part in (x, queries))  # more columns than the network takes
    with pytest.warns(UserWarning, match="sees random ones"):
        fits = [PFNClassifier(kernel(), random_state=seed).fit(x, y).predict_proba(queries) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])


# --- many classes, one class --------------------------------------------------------------------------------


def test_one_class(data: Data) -> None:
    classifier = PFNClassifier(kernel()).fit(data[0], ["only"] * 60)
    assert set(classifier.predict(data[2])) == {"only"}
    np.testing.assert_array_equal(classifier.predict_proba(data[2]), np.ones((20, 1)))


def test_more_classes_than_the_network_takes() -> None:
    generator = np.random.default_rng(0)
    centers = 10 * generator.normal(size=(23, 3))
    y = np.repeat(np.arange(23), 6)
    x = centers[y] + generator.normal(size=(len(y), 3))
    classifier = PFNClassifier(kernel(max_classes=5, width=0.2), n_estimators=2).fit(x, y)
    assert len(contexts(classifier)[0]) == 2 * 2
    assert contexts(classifier)[3].tolist() == [5] * 4
    queries = centers[y] + generator.normal(size=(len(y), 3))
    assert classifier.predict_proba(queries).shape == (138, 23)
    assert classifier.score(queries, y) > 0.9


def test_output_codes_are_exact_where_digits_are_independent() -> None:
    """With four classes on a grid, and a column for each digit, P(class) is the product of P(digit)."""
    x = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]] * 5)
    y = np.array([0, 1, 3, 2] * 5)  # the second digit is added to the first: 2 has digits 0, 1 and 3 has 1, 0
    queries = np.array([[0.1, 0.2], [0.9, 0.4]])
    coded = PFNClassifier(kernel(max_classes=2, width=1.0, prior=0), n_estimators=1).fit(x, y)
    weights = np.exp(-2 * (queries[:, None] - x[None, :4]) ** 2)  # standardised columns: distances times 2
    weights = (weights / (weights + np.exp(-2 * (1 - queries[:, None] - x[None, :4]) ** 2))).prod(-1)
    digits = np.array([[0, 0], [1, 1], [0, 1], [1, 0]])
    first, second = (weights @ (digits[[0, 1, 3, 2], place] == 1) for place in (0, 1))
    expected = np.stack([(1 - first) * (1 - second), first * second, (1 - first) * second, first * (1 - second)], 1)
    np.testing.assert_allclose(coded.predict_proba(queries), expected, atol=1e-5)


# --- columns and rows ---------------------------------------------------------------------------------------


@pytest.fixture
def frame() -> pd.DataFrame:
    """Texts, a category, truth values and numbers, all with missing values; and a constant column."""
    return pd.DataFrame(
        {
            "color": ["red", "blue", None, "red", "blue", "red"],
            "size": pd.Categorical([3, 1, 3, None, 1, 3]),
            "round": pd.Series([True, False, pd.NA, True, False, True], dtype="boolean"),
            "weight": [1.0, 2.0, 1.1, np.nan, 2.2, 0.9],
            "same": 5,
        }
    )


def test_data_frames_are_taken_as_they_come(frame: pd.DataFrame) -> None:
    y = ["a", "b", "a", "a", "b", "a"]
    classifier = PFNClassifier(kernel(), n_estimators=1).fit(frame, y)
    x, _, categorical, _ = contexts(classifier)
    np.testing.assert_array_equal(x[0, :, :2], [[1, 1], [0, 0], [np.nan, 1], [1, np.nan], [0, 0], [1, 1]])
    assert x.shape == (1, 6, 4)
    assert categorical.tolist() == [[True, True, False, False]]
    assert classifier.feature_names_in_.tolist() == [*frame.columns]
    unseen = frame.assign(color="green", same=-7)
    missing = frame.assign(color=None, same=None)
    np.testing.assert_array_equal(classifier.predict_proba(unseen), classifier.predict_proba(missing))
    assert (classifier.predict(frame) == y).all()
    with pytest.raises(ValueError, match="feature names should match"):
        classifier.predict(frame[["size", "color", "round", "weight", "same"]])
    with pytest.raises(ValueError, match="4 features, but PFNClassifier is expecting 5"):
        PFNClassifier(kernel()).fit(frame.to_numpy(), y).predict(frame.to_numpy()[:, :4])


def test_members_take_categorical_columns_along(frame: pd.DataFrame) -> None:
    classifier = PFNClassifier(kernel(), n_estimators=6).fit(frame, [0, 1, 0, 0, 1, 0])
    for x, categorical in zip(contexts(classifier)[0], contexts(classifier)[2], strict=True):
        codes = {frozenset(column[~column.isnan()].tolist()) for column in x[:, categorical].T}
        assert codes == {frozenset([0.0, 1.0])}
        assert categorical.sum() == 2


def test_chosen_columns_are_categorical(data: Data) -> None:
    classifier = PFNClassifier(kernel(), n_estimators=1, categorical_features=[1]).fit(*data[:2])
    assert contexts(classifier)[2].tolist() == [[False, True, False, False]]


def test_without_a_column_that_tells_anything_classes_have_their_frequencies() -> None:
    classifier = PFNClassifier(kernel(prior=0)).fit([[1, np.nan]] * 5, [0, 1, 0, 0, 1])
    np.testing.assert_allclose(classifier.predict_proba([[1, 2], [7, np.nan]]), [[0.6, 0.4]] * 2, atol=1e-6)


def test_more_rows_than_are_shown(data: Data) -> None:
    x, y, _ = data
    with pytest.warns(UserWarning, match=r"60 rows, of which each member of the ensemble sees 40 random") as caught:
        classifier = PFNClassifier(kernel({"points": [2, 40]}), max_rows=40, n_estimators=4).fit(x, y)
    assert caught[0].filename == __file__
    seen, targets, *_ = contexts(classifier)
    assert seen.shape == (4, 40, 4)
    assert len({tuple(row.tolist()) for row in targets}) == 4
    with (
        pytest.warns(UserWarning, match="60 rows, of which each member of the ensemble sees 56"),
        pytest.warns(UserWarning, match="56 rows and this network was trained on at most 14"),
    ):
        PFNClassifier(kernel({"points": 14})).fit(x, y)
    with pytest.warns(UserWarning, match="60 rows and this network was trained on at most 14"):
        assert contexts(PFNClassifier(kernel({"points": 14}), ignore_limits=True).fit(x, y))[0].shape[1] == 60


def test_more_columns_than_the_network_takes(data: Data) -> None:
    with pytest.warns(UserWarning, match=r"4 features .* takes at most 3: each member .* sees random ones"):
        classifier = PFNClassifier(kernel(max_features=3), n_estimators=6).fit(*data[:2])
    assert contexts(classifier)[0].shape == (6, 60, 3)


def test_extreme_numbers(data: Data) -> None:
    x, y, queries = data
    x = x * [1e200, 1e-200, 1, 1] + [0, 0, 1e9, 0]
    classifier = PFNClassifier(kernel()).fit(x, y)
    assert classifier.score(x, y) > 0.9
    assert np.isfinite(classifier.predict_log_proba(queries * 1e300)).all()


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([[1.0], [2.0]], [0.5, 1.25], ValueError, "Unknown label type.*To predict numbers, use PFNRegressor"),
        ([[1.0], [2.0]], [1.0, np.nan], ValueError, r"Input y contains NaN \(a missing target\), the first in row 1"),
        ([[1.0], [2.0]], ["a", None], ValueError, "Input y contains NaN .* row 1: drop those rows"),
        ([[1.0], [2.0]], [1.0, np.inf], ValueError, "y contains infinity"),
        ([[1.0], [2.0]], [0, 1, 1], ValueError, "inconsistent numbers of samples"),
        ([[1.0], [2.0]], [[0, 1], [1, 0]], ValueError, "y should be a 1d array"),
        ([[1.0], [2.0]], None, ValueError, "requires y to be passed"),
        ([[1.0], [np.inf]], [0, 1], ValueError, "Input X contains infinity, the first in row 1 of column 0"),
        (pd.DataFrame({"t": pd.date_range("2020", periods=2)}), [0, 1], ValueError, "column 't' are dates or times"),
    ],
)
def test_bad_training_data(x: Any, y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PFNClassifier(kernel()).fit(x, y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_estimators": 0}, "n_estimators must be a positive whole number"),
        ({"query_batch": 2.5}, "query_batch must be a positive whole number"),
        ({"max_rows": 0}, "max_rows must be a positive whole number"),
        ({"softmax_temperature": 0}, "softmax_temperature must be a positive number"),
        ({"average": "logits"}, "Unknown average 'logits': .*Known: log_probabilities, probabilities"),
        ({"transforms": ["powr"]}, "Unknown transform 'powr': did you mean 'power'"),
        ({"transforms": "power"}, "transforms must be a list of names"),
        ({"transforms": []}, "transforms must be a list of names"),
        ({"categorical_features": [9]}, "categorical_features must be indices, names or a mask of the 4 columns"),
        ({"device": "gpu"}, "device='gpu' cannot be used here"),
    ],
)
def test_bad_settings(data: Data, settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PFNClassifier(kernel(), **settings).fit(*data[:2])


def test_networks_that_do_not_classify(data: Data) -> None:
    with pytest.raises(CheckpointError, match="predicts numbers, not classes: use PFNRegressor"):
        PFNClassifier(kernel(max_classes=0)).fit(*data[:2])
    with pytest.raises(CheckpointError, match="a PFN, does not classify rows of tables"):
        PFNClassifier(Checkpoint(random_network(), DOCUMENT)).fit(*data[:2])


def test_nothing_is_predicted_before_fitting(data: Data) -> None:
    classifier = PFNClassifier(kernel())
    for ask in (classifier.predict, classifier.predict_proba, classifier.predict_distribution):
        with pytest.raises(NotFittedError):
            ask(data[2])


# --- pickles and devices ------------------------------------------------------------------------------------


def test_pickles_hold_the_rows_and_not_the_network(path: Path, data: Data) -> None:
    classifier = PFNClassifier(path).fit(*data[:2])
    expected = classifier.predict_proba(data[2])
    for twin in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        assert not hasattr(twin, "_network")
        np.testing.assert_array_equal(twin.predict_proba(data[2]), expected)
    np.testing.assert_array_equal(clone(classifier).fit(*data[:2]).predict_proba(data[2]), expected)


def test_moving_keeps_the_answers(path: Path, data: Data) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classifier = PFNClassifier(path)
    assert classifier.to("auto") is classifier
    expected = classifier.to("cpu").fit(*data[:2]).predict_proba(data[2])
    assert classifier.to(device).device == device
    assert next(classifier._network.parameters()).device.type == device
    np.testing.assert_allclose(classifier.predict_proba(data[2]), expected, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="device='gpu' cannot be used here"):
        classifier.to("gpu")
    assert classifier.device == device


def test_a_checkpoint_of_mixed_priors_tells_its_sizes(data: Data) -> None:
    parts = {"small": {"prior": "scm", "sizes": {"points": [2, 10]}}, "large": {"sizes": {"points": 50, "features": 9}}}
    checkpoint = replace(
        kernel(), metadata={**DOCUMENT, "prior": {"name": "mixture", "arguments": {"components": parts}}}
    )
    with pytest.warns(UserWarning, match="60 rows and this network was trained on at most 50"):
        PFNClassifier(checkpoint).fit(*data[:2])


def test_the_stand_in_can_be_saved(tmp_path: Path) -> None:
    network = checkpoints.read(saved(tmp_path / "k.safetensors", ToyPrior(), width=0.7)).network
    assert isinstance(network, KernelNetwork)
    assert network.width == 0.7
