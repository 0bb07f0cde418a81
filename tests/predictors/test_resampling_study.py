"""The study of predictive resampling: its closed forms agree with one another, and it finds what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from priorfit.priors import GaussianProcess
from scripts import study_resampling as study
from scripts.exact_networks import ExactNetwork, GaussianPrior, LinearModel, covariance_of, linear_law
from scripts.resampling_figure import draw_figure
from tests.predictors.normal_network import NormalNetwork

LINEAR = LinearModel({"points": 30, "features": 2})
PROCESS = GaussianProcess({"points": 30}, lengthscale=0.3, noise=0.05)


@pytest.mark.parametrize("prior", [LINEAR, PROCESS])
def test_the_exact_networks_of_the_study_agree_with_the_joint_law(prior: GaussianPrior) -> None:
    random = np.random.default_rng(0)
    X = random.uniform(size=(7, 1 if prior is PROCESS else 2))
    y = random.normal(size=7)
    center, covariance = linear_law(covariance_of(prior, X)[0], y[:4], np.eye(7)[4:])
    x, targets = torch.from_numpy(X)[None], torch.from_numpy(y)[None]
    exact = ExactNetwork(prior)(x[:, :4], targets[:, :4], x[:, 4:])
    np.testing.assert_allclose(exact.mean[0], center, rtol=1e-6)
    np.testing.assert_allclose(exact.variance[0], covariance.diagonal(), rtol=1e-6)


def test_the_study_of_exact_predictions_finds_nothing() -> None:
    """Its tables and figure, with an exact network in the place of a trained one; a biased one is found out."""
    parameters = [study.value_at(LINEAR, np.ones((1, 2)))]
    models = [
        study.Model(name, LINEAR, network, lambda *shape: shape[2].normal(size=(*shape[:2], 2)), parameters)
        for name, network in (("right", ExactNetwork(LINEAR)), ("wrong", NormalNetwork(bias=0.2)))
    ]
    results = study.study(models, (5, 10, 100), 1, seed=0)
    right, wrong = (results[name, 1, study.TRAINED]["f(1, 1)"] for name in ("right", "wrong"))
    np.testing.assert_array_equal(right.draws, results["right", 1, study.EXACT]["f(1, 1)"].draws)
    assert right.distance[1] > 0.01 > wrong.distance[1]
    assert right.same_rows[1] < right.posterior[1]
    assert right.defect.p_value > 0.01 > wrong.defect.p_value
    text = study.report(results, (5, 10, 100))
    assert text.count("| right |") == text.count("| wrong |") == 4
    assert len(draw_figure(results).axes) == 6
