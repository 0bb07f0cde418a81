"""Weights for experts, from how well they predict context rows that they have not seen.

Source: Wolpert 1992, "Stacked generalization", with leave-one-out predictions.
Letters: B tasks, n context rows, S experts, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

STRENGTH = 0.3  # of the pull towards equal weights, which falls as 1 / √n
NEWTON_STEPS = 6
STEP_SIZES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.0)  # the best of these is taken: full steps may overshoot


def stack_classes(log_probs: Tensor, classes: Tensor) -> Tensor:
    """Weights of a product of experts, p(k) ∝ Π_s p_s(k)^w_s, with the least penalised log loss, (B, S).

    Args:
        log_probs: of each context row without itself, (B, n, S, K); equal in all experts where a class does not exist.
        classes: of the context rows, (B, n), int64.
    """
    batch, n, n_experts, _ = log_probs.shape
    start = torch.full((batch, n_experts), 1 / n_experts, device=log_probs.device)
    strength, weights = STRENGTH * max(1, n) ** 0.5, start
    ridge = strength * torch.eye(n_experts, device=log_probs.device)
    truth = log_probs.gather(3, classes[:, :, None, None].expand(-1, -1, n_experts, 1))[..., 0]  # (B, n, S)
    for _ in range(NEWTON_STEPS if n else 0):
        probs = torch.einsum("bs,bnsk->bnk", weights, log_probs).softmax(-1)
        expected = torch.einsum("bnk,bnsk->bns", probs, log_probs)
        spread = log_probs - expected[..., None]
        hessian = torch.einsum("bnsk,bntk->bst", spread * probs[:, :, None], spread) + ridge
        gradient = (expected - truth).sum(1) + strength * (weights - start)
        step = torch.linalg.solve(hessian, gradient)
        tries = weights - torch.tensor(STEP_SIZES, device=step.device)[:, None, None] * step  # (T, B, S)
        losses = torch.stack([_loss(log_probs, classes, tried) for tried in tries])
        losses = losses + strength / 2 * (tries - start).square().sum(-1)
        weights = tries.gather(0, losses.argmin(0)[None, :, None].expand(1, -1, n_experts))[0]
    return weights


def _loss(log_probs: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Summed log loss of the product with these weights (B, S), (B,)."""
    mixed = torch.einsum("bs,bnsk->bnk", weights, log_probs).log_softmax(-1)
    return -mixed.gather(2, classes[..., None]).sum((1, 2))


def stack_numbers(means: Tensor, targets: Tensor) -> Tensor:
    """Weights of a sum of experts with the least penalised squared error, (B, S).

    Args:
        means: predictions of each context row without itself, (B, n, S).
        targets: of variance 1, (B, n).
    """
    batch, n, n_experts = means.shape
    start = torch.full((batch, n_experts), 1 / n_experts, device=means.device)
    residual = targets - means.mean(-1)
    ridge = STRENGTH * max(1, n) ** 0.5 * torch.eye(n_experts, device=means.device)
    moved = torch.linalg.solve(means.mT @ means + ridge, torch.einsum("bns,bn->bs", means, residual))
    return start + moved
