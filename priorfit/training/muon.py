"""Muon for the matrices of repeated blocks, AdamW for everything else.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the step size that makes
its updates as large as AdamW's: Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW

QUINTIC = (3.4445, -4.7750, 2.0315)  # drives singular values to about 1 in five iterations


class Muon(AdamW):
    """Steps block matrices along the orthogonalised momentum of their gradients, all other parameters by AdamW.

    Matrices of one shape are orthogonalised together, in bfloat16: on two CPU cores a loop over them took a
    quarter of a training step.

    Args:
        named_parameters: as `nn.Module.named_parameters` gives them.
        lr: learning rate of AdamW's parameters.
        matrix_lr: learning rate of the matrices; an update's root mean square is 0.2 times it.
        momentum: of the matrices' gradients, Nesterov's form.
        betas: AdamW's averages.
        weight_decay: decoupled, for all parameters.
        blocks: name of the submodule whose matrices are stepped by Muon.

    Raises:
        ValueError: no matrix is inside `blocks`.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        lr: float = 1e-3,
        matrix_lr: float = 3e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.0,
        blocks: str = "blocks",
    ) -> None:
        matrices, others = [], []
        for name, parameter in named_parameters:
            inside = parameter.ndim == 2 and blocks in name.split(".")
            (matrices if inside else others).append(parameter)
        if not matrices:
            raise ValueError(f"Muon found no matrix inside '{blocks}': use AdamW, or name the repeated blocks.")
        groups = [
            {"params": others, "momentum": None},
            {"params": matrices, "lr": matrix_lr, "momentum": momentum},
        ]
        super().__init__(groups, lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One step; clears the matrices' gradients, so that AdamW passes over them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["momentum"] is not None:
                self._step_matrices(group)
        super().step()
        return loss

    def _step_matrices(self, group: dict) -> None:
        """Updates the matrices of one group, shape by shape."""
        matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
        for shape, same in itertools.groupby(sorted(matrices, key=_shape), key=_shape):
            batch = list(same)
            updates = orthogonalize(torch.stack([self._momentum(matrix, group["momentum"]) for matrix in batch]))
            size = -group["lr"] * 0.2 * max(shape) ** 0.5
            for matrix, update in zip(batch, updates, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.to(matrix.dtype), alpha=size)
                matrix.grad = None

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        """Nesterov momentum of a matrix's gradient."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum" not in state:
            state["step"] = torch.zeros(())  # AdamW expects one in every state that it loads
            state["momentum"] = torch.zeros_like(matrix)
        state["step"] += 1
        average = state["momentum"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(average, momentum)


def _shape(matrix: Tensor) -> tuple[int, ...]:
    return tuple(matrix.shape)


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: U Vᵀ for U S Vᵀ, by a quintic Newton-Schulz iteration.

    Args:
        matrices: (batch, rows, columns).
        iterations: of the quintic; five bring singular values into about [0.7, 1.2].

    Returns:
        bfloat16, the same shape.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
