"""Weights for experts, against general optimisers."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import Ridge

from priorfit.models.stacking import STRENGTH, stack_classes, stack_numbers
from tests.cases import seeded

N, S, K = 40, 3, 4


def test_weights_for_classes_minimise_the_penalised_log_loss() -> None:
    logs = 3 * torch.randn(2, N, S, K, generator=seeded())
    classes = torch.randint(K, (2, N), generator=seeded(1))
    logs[..., 0, :] += 4 * torch.nn.functional.one_hot(classes, K)  # the first expert knows something
    found = stack_classes(logs.log_softmax(-1), classes)
    for task in range(2):
        x, y = logs[task].log_softmax(-1).double().numpy(), classes[task].numpy()

        def loss(w: np.ndarray, x: np.ndarray = x, y: np.ndarray = y) -> float:
            mixed = log_softmax(np.einsum("s,nsk->nk", w, x), -1)
            return -mixed[np.arange(N), y].sum() + STRENGTH * N**0.5 / 2 * np.square(w - 1 / S).sum()

        best = minimize(loss, np.full(S, 1 / S))
        np.testing.assert_allclose(found[task], best.x, atol=2e-3)
        assert found[task].argmax() == 0


def test_steps_that_overshoot_are_shortened() -> None:
    """Experts that are certain, and now and then wrong, make a full Newton step diverge."""
    classes = torch.randint(2, (1, N), generator=seeded())
    sure = 10.0 * torch.nn.functional.one_hot(classes, 2)[:, :, None].expand(-1, -1, S, -1).clone()
    sure[:, :5] = -sure[:, :5]
    found = stack_classes(sure.log_softmax(-1), classes)
    logs = torch.einsum("bs,bnsk->bnk", found, sure.log_softmax(-1)).log_softmax(-1)
    assert found.abs().max() < 10
    assert -logs.gather(2, classes[..., None]).mean() < 0.6


def test_weights_for_numbers_are_ridge_regression_towards_equal_weights() -> None:
    means = torch.randn(1, N, S, generator=seeded())
    y = means @ torch.tensor([0.7, 0.1, 0.0]) + 0.3 * torch.randn(1, N, generator=seeded(1))
    ridge = Ridge(alpha=STRENGTH * N**0.5, fit_intercept=False).fit(means[0], (y - means.mean(-1))[0])
    np.testing.assert_allclose(stack_numbers(means, y)[0], ridge.coef_ + 1 / S, atol=1e-5)


def test_without_rows_all_experts_weigh_the_same() -> None:
    assert (stack_classes(torch.zeros(2, 0, S, K), torch.zeros(2, 0, dtype=torch.int64)) == 1 / S).all()
    assert (stack_numbers(torch.zeros(2, 0, S), torch.zeros(2, 0)) == 1 / S).all()
