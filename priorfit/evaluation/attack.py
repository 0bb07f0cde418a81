r"""Small changes of measured values that move a network's answer most.

Source: Glöckler, Deistler and Macke 2023, "Adversarial robustness of amortized Bayesian inference", section 3;
projected gradient ascent: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks".
Letters: B tasks, n observed items, L draws, V values per task that a distribution is about; x measured values, d their
change in units of `MeasuredUnits`, of Euclidean length |d| over all values of a task; q the network's distribution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution

from priorfit.models import Network

DRAWS, STEPS = 32, 40  # of the ascent


def divergence(before: Distribution, after: Distribution, draws: Tensor) -> Tensor:
    """KL(before || after) by draws (L, B, …) from `before`: mean over draws and the V values of each task, (B,)."""
    lost = before.log_prob(draws) - after.log_prob(draws)  # (L, B, …)
    return lost.double().mean(0).flatten(1).mean(1) if lost.ndim > 2 else lost.double().mean(0)


def changed(observed: Any, change: Tensor, units: Tensor) -> Any:
    """The same observations with measured values x + d, d = `change` (B, n, …) in the given units (B, n, …)."""
    name = observed.measured
    return observed._replace(**{name: getattr(observed, name) + units * change})


def random_change(units: Tensor, size: float, generator: Generator) -> Tensor:
    """A change d with |d| = size for each task, uniform on that sphere of measured values; units (B, n, …)."""
    noise = torch.randn(units.shape, generator=generator, device=units.device)
    return of_length(torch.where(units > 0, noise, 0.0), size)


def worst_change(
    network: Network, observed: Any, units: Tensor, size: float, generator: Generator, n_steps: int = STEPS
) -> Tensor:
    """The change d with |d| <= size that moves the answer of each task most, as far as gradient ascent finds it.

    Ascends KL(q(.|x) || q(.|x + d)) from a random point, as the gradient at d = 0 vanishes, by steps along the
    normalised gradient that shrink from `size` to nothing, projected to the ball; the best point on the way counts.
    Draws are from q(.|x), which does not move, so that the distribution needs no reparametrised ones. Their mean score
    is zero but for their number, and its part of the divergence, which small changes would follow, is taken away.

    Args:
        network: whose answers are attacked; must treat tasks one by one.
        observed: B tasks.
        units: of the measured values, (B, n, …), 0 for numbers that must not be changed.
        size: the largest |d|.
        generator: of the random start; draws are from torch's global generator.
        n_steps: of the ascent.

    Returns:
        d, (B, n, …).

    Raises:
        ValueError: a network that does not give its gradients.
    """
    if not network.differentiable:
        raise ValueError(f"Networks '{network.registered_name}' compute parts of their answers without gradients.")
    with torch.no_grad():
        before = network(*observed)
        draws = before.sample((DRAWS,))
    nothing = torch.zeros_like(units).requires_grad_()
    same = divergence(before, network(*changed(observed, nothing, units)), draws)
    (score,) = torch.autograd.grad(same.sum(), nothing, materialize_grads=True)
    here = random_change(units, size, generator)
    best, most = here, torch.full((len(here),), -torch.inf, dtype=torch.float64, device=here.device)
    for step in range(n_steps + 1):
        here = here.detach().requires_grad_()
        moved = divergence(before, network(*changed(observed, here, units)), draws)
        moved = moved - (score * here).flatten(1).sum(1)
        better = moved > most
        best, most = torch.where(_like(better, here), here, best), torch.where(better, moved, most)
        (gradient,) = torch.autograd.grad(moved.sum(), here, materialize_grads=True)
        here = projected(here + of_length(gradient, size * (1 - step / n_steps)), size)
    return best.detach()


def of_length(change: Tensor, length: float) -> Tensor:
    """Changes (B, …) scaled to that length; those that are zero stay so."""
    norm = change.flatten(1).norm(dim=1)
    smallest = max(1.0, length) * torch.finfo(norm.dtype).tiny  # what `length` can be divided by
    return change * _like(length / norm.clamp(min=smallest), change)


def projected(change: Tensor, size: float) -> Tensor:
    """Changes (B, …) with those that are longer than `size` shortened to it."""
    norm = change.flatten(1).norm(dim=1)
    return change * _like((size / norm.clamp(min=size)), change)


def _like(values: Tensor, shape: Tensor) -> Tensor:
    """Values (B,) with dimensions of one appended, to broadcast against `shape` (B, …)."""
    return values.reshape(-1, *[1] * (shape.ndim - 1))
