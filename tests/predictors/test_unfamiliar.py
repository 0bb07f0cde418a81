"""Tables that are unlike the prior: numbers that estimators keep, and warnings that come where they should only."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import cross_val_score
from torch import Tensor

from priorfit import PFNRegressor, checkpoints
from priorfit.checkpoints import Checkpoint
from priorfit.models.pfn import PFN
from priorfit.predictors.early_stopping import EarlyStopper
from priorfit.predictors.learning_curve_extrapolator import LearningCurveExtrapolator
from priorfit.prior_check import LEVELS, PriorCheck
from priorfit.priors import GaussianProcess
from tests.cases import seeded
from tests.predictors.trend_network import TrendNetwork

PRIOR = GaussianProcess(
    {"points": 30, "features": 1, "context": "uniform"}, inputs="normal", lengthscale=0.5, noise=0.1
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network, whose looks at inputs and targets are the prior's all the same, with its check."""
    network = PFN(max_features=1, n_buckets=20, width=16, n_layers=1).eval()
    task = PRIOR.with_context(0, 20).sample(200, generator=seeded())
    network.fit_to_prior([task.observed], [task.hidden], [task.law])
    check = PriorCheck.fit(network, PRIOR, tasks=1400)
    assert check is not None
    file = tmp_path_factory.mktemp("networks") / "checked.safetensors"
    return checkpoints.save(file, network, PRIOR, prior_check=check.document())


def draw(n: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the prior, X (n, 1) and y (n,)."""
    x, y, _ = PRIOR.with_context(n, 1).sample(1, generator=seeded(seed)).observed
    return x[0].double().numpy(), y[0].double().numpy()


def test_draws_of_the_prior_are_not_warned_of(path: Path) -> None:
    x, y = draw(25)
    scores = cross_val_score(PFNRegressor(path), x, y, cv=5)  # warnings are errors
    assert np.isfinite(scores).all()
    for n in (1, 2, 4, 10, 25):
        assert PFNRegressor(path).fit(*draw(n)).unfamiliarity_ < 1


def test_saved_and_pickled_estimators_keep_their_number(path: Path, tmp_path: Path) -> None:
    x, y = draw(20)
    with pytest.warns(UserWarning, match=r"^Data: unlike what this network's prior draws. .*Farthest: .* \(\+"):
        fitted = PFNRegressor(path, standardize=False).fit(x, 100 * y)
    assert fitted.unfamiliarity_ > 1
    loaded = PFNRegressor.load(fitted.save(tmp_path / "fitted.safetensors"))  # no warning, nor does predicting warn
    pickled = pickle.loads(pickle.dumps(fitted))
    for again in (loaded, pickled):
        assert again.unfamiliarity_ == fitted.unfamiliarity_
        assert np.isfinite(again.predict([[0.5]])).all()


def test_constants_are_unlike_the_prior_by_sensible_numbers(path: Path) -> None:
    """The logarithm of no spread is infinite."""
    x, y = draw(20)
    for table in ((x, np.ones(20)), (np.ones((20, 1)), y)):
        with pytest.warns(UserWarning, match="unlike what this network's prior draws"):
            fitted = PFNRegressor(path).fit(*table)
        assert 1 < fitted.unfamiliarity_ < 100


def test_summaries_of_ones_own_see_all_arguments_and_count_for_themselves() -> None:
    class Own(PFN):
        summary_names = ("targets",)

        def summary(self, x_context: Tensor, y_context: Tensor, x_query: Tensor) -> Tensor:
            assert x_query.shape == (1, 0, 1)
            return y_context.mean(1, keepdim=True)

        def n_observed(self, *observed: Tensor) -> Tensor:
            return torch.full((1,), 2)

    laws = torch.distributions.Normal(0, 1).icdf(torch.tensor(LEVELS))
    quantiles = torch.stack([laws[None], laws[None] + 1000]).tolist()  # twice as much is like nothing
    check = {"names": ["targets"], "sizes": [2.0, 4.0], "quantiles": quantiles, "thresholds": [3.5, 3.5]}
    arguments = {"sizes": {"points": 30, "features": 1}}
    metadata = {"provenance": {}, "prior": {"arguments": arguments}, "prior_check": check}
    checkpoint = Checkpoint(Own(max_features=1, n_buckets=20, width=16, n_layers=1).eval(), metadata)
    assert PFNRegressor(checkpoint, standardize=False).fit(*draw(10)).unfamiliarity_ < 1


class ScoredTrend(TrendNetwork):
    """Summarises curves by a number that no prior draws; counts how often it does."""

    summary_names = ("anything",)
    looks = 0

    def summary(self, *observed: Tensor) -> Tensor:
        self.looks += 1
        return torch.full((len(observed[1]), 1), 50.0)


def test_curves_that_grow_are_not_warned_of_at_every_step() -> None:
    quantiles = torch.distributions.Normal(0, 1).icdf(torch.tensor(LEVELS))[None, None].tolist()
    check = {"names": ["anything"], "sizes": [1.0], "quantiles": quantiles, "thresholds": [3.5]}
    network = ScoredTrend()
    checkpoint = Checkpoint(network, {"provenance": {}, "prior_check": check})
    stopper = EarlyStopper(12, checkpoint)
    assert not any(stopper.decide([0.4, 0.5, 0.6][:n]) for n in (2, 3))
    assert network.looks == 0
    with pytest.warns(UserWarning, match=r"^2 of 2 curves: .*Farthest: anything"):
        LearningCurveExtrapolator(checkpoint).fit([[0.4, 0.5], [0.6]])
