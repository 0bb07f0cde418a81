"""Hamiltonian Monte Carlo for many posteriors at once.

Source: Neal 2011, "MCMC using Hamiltonian dynamics"; step sizes by dual averaging as in Hoffman and Gelman 2014, "The
No-U-Turn Sampler", section 3.2. Letters: S draws, C chains, B tasks, P parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

LogDensity = Callable[[Tensor], Tensor]  # of parameters (C, B, P), up to a constant: (C, B)
GAMMA, T0, KAPPA = 0.05, 10.0, 0.75  # of dual averaging
FIRST_STEP = 0.1


@dataclass(frozen=True)
class Chain:
    """How chains are run.

    Attributes:
        chains: C, from different starts.
        warmup: iterations that find the step sizes, and are dropped.
        draws: S, iterations after that, all of which are kept.
        leapfrogs: an iteration takes 1 … so many steps, drawn anew, so that no period of a trajectory is met.
        acceptance: share of accepted proposals that step sizes aim at.

    Raises:
        ValueError: a setting outside its range.
    """

    chains: int = 4
    warmup: int = 500
    draws: int = 500
    leapfrogs: int = 20
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        if self.chains < 2 or self.warmup < 1 or self.draws < 4 or self.leapfrogs < 1:
            raise ValueError("Needs chains >= 2 (to compare them), warmup >= 1, draws >= 4 and leapfrogs >= 1.")
        if not 0 < self.acceptance < 1:
            raise ValueError(f"acceptance must lie between 0 and 1, not {self.acceptance!r}.")


class Point(NamedTuple):
    """Where the chains are."""

    theta: Tensor  # (C, B, P)
    density: Tensor  # (C, B)
    gradient: Tensor  # (C, B, P)


class Steps:
    """Step sizes that find their acceptance, one for each chain and task."""

    def __init__(self, like: Tensor, acceptance: float) -> None:
        self.target, self.count = acceptance, 0
        self.error = torch.zeros_like(like)  # running mean, (C, B)
        self.now = torch.full_like(like, math.log(FIRST_STEP))
        self.averaged, self.centre = torch.zeros_like(like), self.now + math.log(10)

    def learn(self, accepted: Tensor) -> None:
        """Takes in the acceptance probabilities (C, B) of one iteration."""
        self.count += 1
        weight = 1 / (self.count + T0)
        self.error = (1 - weight) * self.error + weight * (self.target - accepted)
        self.now = self.centre - math.sqrt(self.count) / GAMMA * self.error
        self.averaged = torch.lerp(self.averaged, self.now, self.count**-KAPPA)


def evaluate(log_density: LogDensity, theta: Tensor) -> Point:
    """Log density and gradient at theta."""
    with torch.enable_grad():
        theta = theta.detach().requires_grad_()
        density = log_density(theta)
        (gradient,) = torch.autograd.grad(density.sum(), theta)
    return Point(theta.detach(), density.detach(), gradient)


def iterate(
    log_density: LogDensity, point: Point, step: Tensor, leapfrogs: int, generator: Generator
) -> tuple[Point, Tensor]:
    """One iteration with step sizes (C, B): the next point, and the acceptance probabilities (C, B).

    Trajectories that leave the finite numbers are rejected.
    """
    momentum = torch.randn(point.theta.shape, generator=generator, dtype=point.theta.dtype)
    before = point.density - momentum.square().sum(-1) / 2
    new, size = point, step[..., None]
    momentum = momentum + size / 2 * new.gradient
    for index in range(leapfrogs):
        new = evaluate(log_density, new.theta + size * momentum)
        momentum = momentum + (size if index < leapfrogs - 1 else size / 2) * new.gradient
    after = new.density - momentum.square().sum(-1) / 2
    chance = (after - before).nan_to_num(nan=-math.inf).clamp(max=0).exp()
    accepted = torch.rand(chance.shape, generator=generator, dtype=chance.dtype) < chance
    return Point(*(_chosen(accepted, fresh, old) for fresh, old in zip(new, point, strict=True))), chance


def sample(
    log_density: LogDensity,
    start: Tensor,
    chain: Chain,
    generator: Generator,
    keep: Callable[[Tensor], Tensor] = lambda theta: theta,
) -> tuple[Tensor, Tensor]:
    """Runs the chains.

    Args:
        log_density: smooth almost everywhere; parameters should have variances near 1 before any data are seen.
        start: (C, B, P), float64.
        chain: how to run them.
        generator: draws all random numbers, on the CPU.
        keep: what to keep of parameters (C, B, P).

    Returns:
        What was kept, (S, C, B, …), and each task's share of accepted proposals after the warm-up, (B,).
    """
    point = evaluate(log_density, start)
    steps, kept, accepted = Steps(point.density, chain.acceptance), [], torch.zeros_like(point.density)
    for index in range(chain.warmup + chain.draws):
        warm = index >= chain.warmup
        size = (steps.averaged.mean(0, keepdim=True).expand_as(steps.averaged) if warm else steps.now).exp()
        leapfrogs = int(torch.randint(1, chain.leapfrogs + 1, (), generator=generator))
        point, chance = iterate(log_density, point, size, leapfrogs, generator)
        if warm:
            kept.append(keep(point.theta))
            accepted += chance / chain.draws
        else:
            steps.learn(chance)
    return torch.stack(kept), accepted.mean(0)


def _chosen(accepted: Tensor, fresh: Tensor, old: Tensor) -> Tensor:
    """Fresh values (C, B, …) where accepted, (C, B)."""
    return torch.where(accepted.view(*accepted.shape, *[1] * (old.ndim - accepted.ndim)), fresh, old)
