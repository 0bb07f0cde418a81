"""`GaussianMixtureFilter` with an exact network is the Kalman filter of every component."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch.distributions import MultivariateNormal

from priorfit.checkpoints import Checkpoint, CheckpointError
from priorfit.distributions import GaussianMixture
from priorfit.evaluation.kalman_filter import kalman_filter
from priorfit.predictors import GaussianMixtureFilter
from tests.cases import assert_same, seeded
from tests.predictors.linear_gaussian_network import (
    MATRICES,
    NOISES,
    LinearGaussianNetwork,
    linear_gaussian,
    linear_gaussian_with_check,
)

A = torch.tensor([[1.0, 0.5], [0.0, 0.9]])
Q = torch.tensor([[0.01, 0.02], [0.02, 0.04]])  # of rank one
OFFSET = torch.tensor([0.1, -0.2])
SERIES, STEPS = 4, 12
NAN = float("nan")


def tracker(**options: object) -> GaussianMixtureFilter:
    return GaussianMixtureFilter(linear_gaussian(), A.numpy(), Q, OFFSET, device="cpu", **options)  # type: ignore[arg-type]


def first() -> GaussianMixture:
    weights, means = torch.tensor([0.2, 0.5, 0.3]), torch.randn(3, 2, generator=seeded(1))
    return GaussianMixture.from_moments(weights, means, torch.eye(2).expand(3, 2, 2))


def seen(size: int = 2) -> torch.Tensor:
    return torch.randn(SERIES, STEPS, size, generator=seeded(2))


def exact(prior: GaussianMixture, observations: torch.Tensor) -> list[GaussianMixture]:
    return kalman_filter(prior, observations, MATRICES["both"], NOISES["both"], A, Q, OFFSET)


def assert_close(found: GaussianMixture, expected: list[GaussianMixture]) -> None:
    for step, belief in enumerate(expected):
        torch.testing.assert_close(found.means[:, step], belief.means, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.scale_trils[:, step], belief.scale_trils, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.weights[:, step], belief.weights, rtol=1e-2, atol=1e-4)


def test_an_exact_network_gives_the_kalman_filter() -> None:
    observations = seen()
    beliefs = tracker().filter(first(), {"both": observations.numpy()})
    assert beliefs.batch_shape == (SERIES, STEPS)
    assert_close(beliefs, exact(first().expand(torch.Size([SERIES])), observations))


def test_missing_observations_leave_the_belief_to_the_dynamics() -> None:
    observations = seen()
    holes = torch.rand(SERIES, STEPS, generator=seeded(4)) < 0.4
    given = torch.where(holes[..., None], NAN, observations)
    beliefs = tracker().filter(first(), {"both": given})
    belief, expected = first().expand(torch.Size([SERIES])), []
    for step in range(STEPS):
        belief = belief.affine(A, OFFSET, Q) if step else belief
        after = belief.update(MATRICES["both"], NOISES["both"], observations[:, step])[0]
        hole = holes[:, step]
        belief = GaussianMixture(
            torch.where(hole[:, None], belief.log_weights, after.log_weights),
            torch.where(hole[:, None, None], belief.means, after.means),
            torch.where(hole[:, None, None, None], belief.scale_trils, after.scale_trils),
        )
        expected.append(belief)
    assert 5 < holes.sum() < 40
    assert_close(beliefs, expected)


def test_sources_of_which_each_series_lacks_others() -> None:
    position, both = seen(1), seen(2)
    position[0], both[1] = NAN, NAN
    joint = tracker().filter(first(), {"position": position, "both": both})
    for index, alone in enumerate(
        [{"both": both[0]}, {"position": position[1]}, {"position": position[2], "both": both[2]}]
    ):
        single = tracker().filter(first(), alone)
        assert single.batch_shape == (STEPS,)
        torch.testing.assert_close(joint.means[index], single.means, rtol=1e-4, atol=1e-4)


def test_several_rows_of_a_step() -> None:
    observations = torch.randn(SERIES, 1, 3, 1, generator=seeded(6))
    belief = first().expand(torch.Size([SERIES]))
    for row in observations[:, 0].unbind(1):
        belief = belief.update(MATRICES["position"], NOISES["position"], row)[0]
    assert_close(tracker().filter(first(), {"position": observations}), [belief])


def test_online_use_is_the_same() -> None:
    observations, model = seen(), tracker()
    whole, belief = model.filter(first(), {"both": observations[0]}), first()
    for step in range(STEPS):
        belief = model.predict(belief) if step else belief
        belief = model.update(belief, {"both": observations[0, step]})
        torch.testing.assert_close(whole.means[step], belief.means, rtol=1e-4, atol=1e-4)


def test_one_gaussian_is_split_and_weights_stay_above_the_floor() -> None:
    single = MultivariateNormal(torch.zeros(2), torch.eye(2))
    beliefs = tracker(n_components=4).filter(single, {"both": seen()})
    assert beliefs.n_components == 4
    torch.testing.assert_close(beliefs.weights[0, 0], torch.tensor([0.1, 0.2, 0.3, 0.4]))
    far = GaussianMixture.from_moments(
        torch.tensor([0.5, 0.5]), torch.tensor([[0.0, 0.0], [90.0, 90.0]]), torch.eye(2).expand(2, 2, 2)
    )
    kept = tracker(min_weight=1e-6).filter(far, {"both": torch.zeros(SERIES, STEPS, 2)})
    torch.testing.assert_close(kept.weights[..., 1], torch.full((SERIES, STEPS), 1e-6), rtol=1e-3, atol=0)


def test_scores_are_log_densities_of_the_states() -> None:
    model, states = tracker(), torch.randn(SERIES, STEPS, 2, generator=seeded(3))
    beliefs = model.filter(first(), {"both": seen()})
    scores = model.score(states.numpy())
    np.testing.assert_allclose(scores, beliefs.log_prob(states).numpy(), rtol=1e-6)
    assert scores.shape == (SERIES, STEPS)
    with pytest.raises(ValueError, match=r"about states \(4, 12, 2\)"):
        model.score(states[0])


def test_manners_of_estimators() -> None:
    model = clone(tracker(n_components=5))
    assert model.n_components == 5
    with pytest.raises(NotFittedError):
        model.score(np.zeros((1, 1, 2)))
    same = clone(model).filter(first(), {"both": seen()})
    assert_same(model.filter(first(), {"both": seen()}), same)


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        ({}, "name at least one source"),
        ({"radar": np.zeros((3, 1))}, "Unknown sources: radar"),
        ({"both": np.zeros(2)}, r"must be \(steps, 2\), \(series, steps, 2\)"),
        ({"both": np.full((3, 2), np.inf)}, "must be finite"),
        ({"both": np.array([[1.0, np.nan]])}, "all of its numbers must be NaN"),
        ({"both": np.zeros((0, 2))}, "nothing to filter"),
        ({"both": np.zeros((2, 5, 2)), "position": np.zeros((2, 6, 1))}, "same numbers of series and steps"),
    ],
)
def test_bad_observations_are_refused(observations: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tracker().filter(first(), observations)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition_matrix": np.eye(3)}, r"transition_matrix must be \(2, 2\)"),
        ({"min_weight": 0.5}, "min_weight must be from 0 to less than 1 / 3"),
        ({"batch_size": 0}, "batch_size"),
        ({"offset": [1.0]}, r"offset must be \(2,\)"),
        ({"process_noise": [[1.0, 0.5], [0.0, 1.0]]}, "covariance matrix"),
        ({"process_noise": [[1.0, 0.0], [0.0, -1.0]]}, "covariance matrix"),
        ({"transition_matrix": np.full((2, 2), np.nan)}, "finite"),
        ({"process_noise": None}, r"process_noise must be \(2, 2\)"),
    ],
)
def test_bad_dynamics_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tracker().set_params(**change).filter(first(), {"both": seen()})


def test_observations_far_from_those_of_the_training_are_warned_of() -> None:
    observations = seen(1).numpy()
    observations[0, 0], observations[1, -1] = NAN, 50.0
    model = tracker().set_params(checkpoint=linear_gaussian_with_check())
    with pytest.warns(UserWarning, match=rf"1 of {SERIES * STEPS - 1} updates: .*largest number observed"):
        model.filter(first(), {"position": observations})
    assert model.unfamiliarity_.shape == (SERIES, STEPS)
    assert np.argwhere(np.isnan(model.unfamiliarity_)).tolist() == [[0, 0]]
    assert np.argwhere(model.unfamiliarity_ > 1).tolist() == [[1, STEPS - 1]]


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="3 laws and the observations 4 series"):
        tracker().filter(first().expand(torch.Size([3])), {"both": seen()})
    network = LinearGaussianNetwork()
    network.prior_kind = "parameters"
    with pytest.raises(CheckpointError, match="mixtures of Gaussians over the state itself"):
        GaussianMixtureFilter(Checkpoint(network, {}), A, Q, device="cpu").filter(first(), {"both": seen()})


def test_the_picture_of_a_track() -> None:
    from matplotlib import pyplot

    model, states = tracker(), torch.zeros(SERIES, STEPS, 2)
    model.filter(first(), {"both": seen()})
    figure = model.plot_track(series=2, states=states[2], names=["place", "speed"])
    assert [axis.get_ylabel() for axis in figure.axes] == ["place", "speed"]
    mean = figure.axes[0].get_lines()[0].get_ydata()
    np.testing.assert_allclose(mean, model.beliefs_.mean[2, :, 0], rtol=1e-6)
    assert len(model.plot_track([1]).axes) == 1
    pyplot.close("all")
