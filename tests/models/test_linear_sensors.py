"""Linear sensors that start from the regression of rows on latents.

Letters: d latent dimensions, V values.
"""

from __future__ import annotations

import torch

from priorfit.models.linear_sensors import LinearSensors
from tests.cases import assert_same, seeded

OWNER = torch.tensor([0, 0, 1])


def test_regression_finds_matrix_noise_and_offset_of_each_source() -> None:
    """M = W H with Wᵀ W the inverse of the noise's covariance, and W c + b = 0 for the constant c."""
    generator = seeded()
    latents = 2 + torch.randn(40_000, 2, generator=generator)
    matrix, constant = torch.tensor([[1.0, 2.0], [0.0, -1.0], [0.5, 0.5]]), torch.tensor([3.0, 0.0, -2.0])
    mix = torch.tensor([[0.5, 0.0], [0.3, 0.4]])
    noise = torch.randn(40_000, 3, generator=generator)
    noise = torch.cat([noise[:, :2] @ mix.mT, 0.2 * noise[:, 2:]], -1)
    indicators = torch.nn.functional.one_hot(torch.arange(40_000) % 2, 2).float()
    values = (latents @ matrix.mT + constant + noise) * indicators[:, OWNER]
    sensors = LinearSensors(OWNER, 2)
    sensors.fit(values, indicators, latents)
    found = {name: parameter.detach() for name, parameter in sensors.named_parameters()}
    expected = torch.block_diag(torch.linalg.inv(mix @ mix.mT), torch.tensor([[25.0]]))
    precision = found["whitening"].mT @ found["whitening"]
    assert_same(precision, expected, rtol=0.03, atol=0.05)
    assert_same(found["matrix"], found["whitening"] @ matrix, rtol=0.03, atol=0.05)
    assert_same(found["offset"], -found["whitening"] @ constant, rtol=0.03, atol=0.05)


def test_values_that_tell_nothing_or_too_few_of_them_leave_the_latents_alone() -> None:
    generator = seeded()
    indicators = torch.zeros(1000, 2)
    indicators[:, 0], indicators[:2] = 1, torch.tensor([0.0, 1.0])
    values = torch.ones(1000, 3)  # constants
    sensors = LinearSensors(OWNER, 2)
    sensors.fit(values * indicators[:, OWNER], indicators, torch.randn(1000, 2, generator=generator))
    assert_same(sensors.matrix.detach(), torch.zeros(3, 2), rtol=0, atol=1e-4)
    assert all(parameter.isfinite().all() for parameter in sensors.parameters())
