"""Maximum-likelihood fits of Markov jump processes: what a network that saw the same paths is measured against.

Letters: S states, P paths, L observations, E rates that are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from priorfit.evaluation.jump_likelihood import PanelLikelihood
from priorfit.evaluation.scoring import Array

SLOWEST, FASTEST = 1e-6, 10.0  # bounds of rates: jumps in all of the observed time, and in the smallest gap
FIRST_NOISE, NOISE_LOGITS = 0.02, (-12.0, 0.0)  # where noise that is estimated starts, and its bounds
OPTIONS: Any = {"maxiter": 1000, "maxfun": 3000, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-3}
STEP = 1e-4  # of the logarithms of rates, for second derivatives


@dataclass(frozen=True)
class JumpFit:
    """What maximises the likelihood.

    Attributes:
        rates: (S, S), zero diagonal.
        initial: law at the first observation, (S,).
        noise: probability of a wrong label.
        log_likelihood: at the maximum.
        standard_errors: of the logarithms of the rates, (S, S), from the observed information; NaN on the diagonal, on
            absent links, and where a rate is at its bounds; large where it is next to 0.
        success: whether the optimiser says that it converged.
    """

    rates: Array
    initial: Array
    noise: float
    log_likelihood: float
    standard_errors: Array
    success: bool


class _Objective:
    """Minus the log likelihood of a vector: log rates, then logits of the initial law, then of the noise."""

    def __init__(self, panel: PanelLikelihood, links: Tensor, noise: float | None) -> None:
        self.panel, self.links, self.noise = panel, links, noise
        self.n_rates, self.n_states = int(links.sum()), panel.n_states
        self.clean_initial = (panel.first / panel.first.sum()).clamp(min=1e-12)

    def unpack(self, vector: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """Rates (1, S, S), initial law (1, S) and noise."""
        rates = torch.zeros(self.n_states, self.n_states, dtype=torch.float64)
        rates = rates.masked_scatter(self.links, vector[: self.n_rates].exp())
        if self.noise == 0:  # the initial law's own maximum
            return rates[None], self.clean_initial[None], 0.0
        initial = vector[self.n_rates : self.n_rates + self.n_states].softmax(0)
        noise = vector[-1].sigmoid() if self.noise is None else self.noise
        return rates[None], initial[None], noise

    def __call__(self, vector: Array) -> tuple[float, Array]:
        """Value and gradient."""
        free = torch.tensor(vector, requires_grad=True)
        value = -self.panel(*self.unpack(free)).sum()
        (gradient,) = torch.autograd.grad(value, free)
        return float(value.detach()), gradient.numpy()


@torch.inference_mode(False)
def fit(
    times: Tensor, states: Tensor, n_states: int, *, noise: float | None = 0.0, links: Tensor | None = None
) -> JumpFit:
    """The maximum of the likelihood over rates, initial law and, where it is not known, label noise.

    Args:
        times: (P, L).
        states: (P, L), -1 past the end of a path.
        n_states: S.
        noise: probability of a wrong label; 0 takes every label for true, None estimates it.
        links: which rates may be above 0, (S, S), bool; None: all.
    """
    panel = PanelLikelihood(times.clone(), states.clone(), n_states)
    off = ~torch.eye(n_states, dtype=torch.bool)
    links = off if links is None else links & off
    start, bounds = _start(panel, links, noise)
    objective = _Objective(panel, links, noise)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=OPTIONS)
    rates, initial, level = objective.unpack(torch.tensor(found.x))
    errors = np.full((n_states, n_states), np.nan)
    errors[links.numpy()] = _standard_errors(objective, found.x, bounds)
    return JumpFit(rates[0].numpy(), initial[0].numpy(), float(level), -float(found.fun), errors, bool(found.success))


def _start(panel: PanelLikelihood, links: Tensor, noise: float | None) -> tuple[Array, list[tuple[float, float]]]:
    """Rates as if nothing happened between observations, and bounds."""
    jumps = panel.counts.sum(0)
    dwell = (panel.counts.sum(2) * panel.gaps[:, None]).sum(0)
    total, smallest = float(dwell.sum()), float(panel.gaps[panel.gaps > 0].min())
    rates = (jumps + 0.5) / (dwell + 0.5 * total / (jumps.sum() + 1))[:, None]
    low, high = np.log(SLOWEST / total), np.log(FASTEST / smallest)
    bounds = [(low, high)] * int(links.sum())
    parts = [rates[links].log().clamp(low, high).numpy()]
    if noise != 0:
        parts.append(((panel.first + 0.5) / (panel.first + 0.5).sum()).log().numpy())
        bounds += [(-20.0, 5.0)] * panel.n_states
    if noise is None:
        parts.append(np.array([np.log(FIRST_NOISE / (1 - FIRST_NOISE))]))
        bounds.append(NOISE_LOGITS)
    return np.concatenate(parts), bounds


def _standard_errors(objective: _Objective, found: Array, bounds: list[tuple[float, float]]) -> Array:
    """Of the log rates, (E,), with the initial law held fixed: it has no part in them to first order."""
    low, high = np.array(bounds).T
    free = (found > low + STEP) & (found < high - STEP)
    free[objective.n_rates : objective.n_rates + (objective.n_states if objective.noise != 0 else 0)] = False
    index = np.flatnonzero(free)
    steps = STEP * np.eye(len(found))[index]
    slopes = [(objective(found + step)[1] - objective(found - step)[1])[index] / (2 * STEP) for step in steps]
    errors = np.full(len(found), np.nan)
    if len(index):
        information = np.array(slopes)
        variances = np.diag(np.linalg.pinv((information + information.T) / 2, hermitian=True))
        errors[index] = np.sqrt(np.where(variances > 0, variances, np.nan))
    return errors[: objective.n_rates]
