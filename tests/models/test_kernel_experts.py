"""Gaussian processes as experts, against scikit-learn's and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern
from torch import Tensor

from priorfit.models.kernel_experts import (
    FIXED,
    LINEAR,
    ROUGH,
    ROUGHNESS,
    SQUARED,
    KernelExperts,
    _evidence_gradient,
)
from tests.cases import assert_same, seeded

N, M, F = 25, 6, 3


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Points (2, 1, N, F, 1), queries (2, 1, M, F, 1), targets (1, N, 2)."""
    rows = torch.randn(2, 1, N + M, F, 1, generator=seeded())
    x = rows[0, :, :N, :, 0]
    targets = torch.stack([x[..., 0].sin() + 0.1 * x[..., 1], x.sum(-1)], -1)
    return rows[:, :, :N], rows[:, :, N:], targets - targets.mean(1, keepdim=True)


def reference(kind: int, scale: float, noise: float) -> GaussianProcessRegressor:
    """The same Gaussian process in scikit-learn."""
    size = scale * F**0.5
    kernel = {
        LINEAR: ConstantKernel(1 / size**2) * DotProduct(sigma_0=0, sigma_0_bounds="fixed") + ConstantKernel(0.1),
        SQUARED: RBF(size),
        ROUGH: Matern(size, nu=0.5),
    }[kind]
    return GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)


@pytest.mark.parametrize("index", range(len(FIXED)))
def test_fixed_experts_are_gaussian_processes(data: tuple[Tensor, ...], index: int) -> None:
    points, queries, targets = data
    experts = KernelExperts()
    fitted, left_out = experts.fit(points, targets)
    predicted = experts.predict(fitted, queries)
    view, kind, scale, noise = FIXED[index]
    x, x_query, y = points[view, 0, ..., 0].numpy(), queries[view, 0, ..., 0].numpy(), targets[0].numpy()
    process = reference(kind, scale, noise).fit(x, y)
    mean, std = process.predict(x_query, return_std=True)
    np.testing.assert_allclose(predicted.mean[0, :, index], mean, atol=2e-3)
    variance = np.mean([y[:, k] @ np.linalg.solve(process.kernel_(x) + noise * np.eye(N), y[:, k]) / N for k in (0, 1)])
    total = 2 * variance * (std[:, 0] ** 2 + noise)  # the signal variance is summed over targets
    np.testing.assert_allclose(predicted.std[0, :, index] ** 2, total, rtol=0.02)
    for row in (0, 7):
        others = np.arange(N) != row
        alone = reference(kind, scale, noise).fit(x[others], y[others]).predict(x[row : row + 1])
        np.testing.assert_allclose(left_out.mean[0, row, index], alone[0], atol=2e-3)


def test_adaptive_experts_use_the_length_scales_that_were_found(data: tuple[Tensor, ...]) -> None:
    points, queries, targets = data
    experts = KernelExperts()
    fitted, _ = experts.fit(points, targets)
    predicted = experts.predict(fitted, queries)
    for view in range(2):
        scales = (-fitted.log_weights[view, 0] / 2).exp().numpy()
        x, x_query = points[view, 0, ..., 0].double().numpy(), queries[view, 0, ..., 0].double().numpy()
        noise = fitted.log_noise[view, 0].exp().item()
        smooth = GaussianProcessRegressor(RBF(scales), alpha=noise, optimizer=None).fit(x, targets[0].numpy())
        np.testing.assert_allclose(predicted.mean[0, :, len(FIXED) + view], smooth.predict(x_query), atol=1e-4)
        apart = [ROUGHNESS * (np.abs(a[:, None] - x) / scales).sum(-1) for a in (x, x_query)]
        weights = np.linalg.solve(np.exp(-apart[0]) + noise * np.eye(N), targets[0].double().numpy())
        rough = np.exp(-apart[1]) @ weights
        np.testing.assert_allclose(predicted.mean[0, :, len(FIXED) + 2 + view], rough, atol=1e-4)


def test_gradient_of_the_evidence_is_that_of_finite_differences(data: tuple[Tensor, ...]) -> None:
    points, _, targets = (part.double() for part in data)
    log_weights = torch.randn(2, 1, F, generator=seeded(1), dtype=torch.float64)
    log_noise = torch.tensor([[-1.0], [-2.0]], dtype=torch.float64)

    def evidence(log_weights: Tensor, log_noise: Tensor) -> Tensor:
        scaled = (points * (log_weights / 2).exp()[:, :, None, :, None]).flatten(-2)
        kernel = (-torch.cdist(scaled, scaled).square() / 2).exp() + log_noise.exp()[..., None, None] * torch.eye(N)
        scale = (targets * torch.linalg.solve(kernel, targets.expand(2, -1, -1, -1))).sum(-2) / N
        return -N / 2 * scale.log().mean(-1) - torch.linalg.slogdet(kernel).logabsdet / 2

    parameters = (log_weights.requires_grad_(), log_noise.requires_grad_())
    expected = torch.autograd.grad(evidence(*parameters).sum(), parameters)
    found = _evidence_gradient(points, targets, *(part.detach() for part in parameters))
    assert_same(found, torch.cat([expected[0], expected[1][..., None]], -1), rtol=1e-6, atol=1e-6)


def test_features_that_matter_get_short_length_scales() -> None:
    x = torch.randn(1, 80, 4, generator=seeded())
    y = (2 * x[..., 2]).sin()[..., None]
    points = x[None, ..., None].expand(2, -1, -1, -1, -1)
    fitted, left_out = KernelExperts().fit(points, y - y.mean(1, keepdim=True))
    others = fitted.log_weights[:, 0, [0, 1, 3]].amax(-1)
    assert (fitted.log_weights[:, 0, 2] > others + 3).all()
    errors = (left_out.mean[..., 0] - (y - y.mean(1, keepdim=True))).square().mean((0, 1))
    assert errors[len(FIXED)] < errors[: len(FIXED)].min() / 2


@pytest.mark.parametrize("n", [0, 1, 2])
def test_small_contexts_give_finite_predictions(n: int) -> None:
    points = torch.randn(2, 3, n + 4, F, 1, generator=seeded())
    targets = torch.randn(3, n, 1, generator=seeded(1))
    experts = KernelExperts()
    fitted, left_out = experts.fit(points[:, :, :n], targets)
    assert left_out.mean.shape == (3, n, experts.n_experts, 1)
    predicted = experts.predict(fitted, points[:, :, n:])
    assert all(part.isfinite().all() for part in (*left_out, *predicted))
    if not n:
        assert (predicted.mean == 0).all()
        of_one = [index for index, (_, kind, *_) in enumerate(FIXED) if kind != LINEAR]
        noise = torch.tensor([FIXED[index][-1] for index in of_one])
        assert_same(predicted.std[..., of_one], (1 + noise).sqrt().expand(3, 4, -1))  # a signal of variance 1


def test_sorted_rows_do_not_mislead_the_search() -> None:
    x = torch.randn(1, 600, 3, generator=seeded())
    y = (x[..., 1] > 0).float()
    found = []
    for order in (torch.arange(600), y[0].argsort(stable=True)):
        points = x[:, order][None, ..., None].expand(2, -1, -1, -1, -1)
        fitted, _ = KernelExperts().fit(points, (y - y.mean())[:, order, None])
        found.append(fitted.log_weights[:, 0])
    assert (found[1][:, 1] > found[1][:, [0, 2]].amax(-1) + 2).all()
    assert_same(found[0], found[1], rtol=0, atol=1.5)
