"""Experts on experts."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from priorfit.models import TablePFN
from priorfit.models.second_opinions import NOISES, SCALE, fit_second, predict_second
from tests.cases import seeded

N, M, S, K = 20, 5, 3, 2


def test_second_opinions_are_gaussian_processes_on_opinions() -> None:
    opinions = torch.randn(1, N + M, S, K, generator=seeded())
    targets = torch.randn(1, N, K, generator=seeded(1))
    weights = torch.tensor([[0.5, 0.3, 0.1]])
    second, left_out = fit_second(opinions[:, :N], weights, targets)
    found = predict_second(second, opinions[:, N:])
    stacked = torch.einsum("bs,bnsk->bnk", weights, opinions)
    inputs = (stacked[0].numpy(), opinions[0].flatten(1).numpy() / S**0.5)
    for index, x in enumerate(inputs):
        process = GaussianProcessRegressor(RBF(SCALE), alpha=NOISES[index], optimizer=None)
        expected = process.fit(x[:N], targets[0].numpy()).predict(x[N:])
        np.testing.assert_allclose(found.mean[0, :, index], expected, atol=1e-4)
        without = process.fit(x[1:N], targets[0, 1:].numpy()).predict(x[:1])
        np.testing.assert_allclose(left_out.mean[0, :1, index], without, atol=1e-4)


def test_a_class_between_two_others_is_found() -> None:
    """Its indicator is a ridge across the table, which kernels on four features hardly see."""
    x = torch.randint(1, 6, (1, 400, 4), generator=seeded()).float()
    moment = x[..., 0] * x[..., 1] - x[..., 2] * x[..., 3]
    y = moment.sign() + 1  # the balance of two weights on their arms
    columns = torch.zeros(1, 4, dtype=torch.bool), torch.tensor([3])
    with torch.no_grad():
        network = TablePFN(max_classes=3, n_cell_layers=1, n_row_layers=1).eval()
        probs = network(x[:, :300], y[:, :300], x[:, 300:], *columns).probs[0]
    middle = y[0, 300:] == 1
    assert probs[middle, 1].mean() > 4 * probs[~middle, 1].mean()
    assert (probs.argmax(-1) == y[0, 300:]).float().mean() > 0.92


def test_opinions_that_hardly_differ_are_not_overread() -> None:
    """Left out, a constant predictor tells the label of the row it left out; its differences must not be magnified."""
    y = torch.randint(2, (1, N), generator=seeded())
    indicators = torch.nn.functional.one_hot(y, 2).float()
    without = (indicators.sum(1, keepdim=True) - indicators) / (N - 1)
    opinions = without.log()[:, :, None].expand(-1, -1, S, -1)
    _, left_out = fit_second(opinions, torch.full((1, S), 1 / S), indicators - indicators.mean(1, keepdim=True))
    assert left_out.mean.abs().max() < 0.2
