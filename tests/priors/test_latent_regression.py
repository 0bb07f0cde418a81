"""Latent numbers as targets of a regression."""

from __future__ import annotations

import pytest
import torch

from priorfit.priors import InverseGammaVariance, LatentRegression
from tests.cases import seeded


def test_features_are_the_prior_and_the_observations_and_the_target_is_the_latent() -> None:
    inner = InverseGammaVariance(rows=[1, 3], empty=0.5)
    prior = LatentRegression({"prior": "inverse_gamma_variance", "rows": [1, 3], "empty": 0.5}, "log")
    task = prior.sample(6, generator=seeded())
    expected = inner.with_context(3, 1).sample(6, generator=seeded())
    tokens, rows = expected.observed
    torch.testing.assert_close(task.observed.x_query[:, 0], torch.cat([tokens[:, 0], rows.flatten(1)], 1))
    torch.testing.assert_close(task.hidden, expected.hidden.log())
    assert prior.n_features == task.observed.x_query.shape[-1] == 2 + 3 * 2
    assert task.observed.x_context.shape == (6, 0, 8)


@pytest.mark.parametrize(
    ("latents", "bijection", "message"),
    [
        ({"prior": "linear_gaussian", "dimension": 2}, "identity", "of one number"),
        ({"prior": "gaussian_process", "sizes": {"points": 5}}, "identity", "is none"),
        ({"prior": "inverse_gamma"}, "identity", "did you mean 'inverse_gamma_variance'"),
        ({"prior": "inverse_gamma_variance"}, "square", "Unknown bijection"),
    ],
)
def test_refuses_what_is_no_latent_number(latents: dict, bijection: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentRegression(latents, bijection)
