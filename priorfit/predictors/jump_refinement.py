"""From a network's answer to the maximum of the likelihood, and how sure that is.

Letters: S states, E = S (S - 1) rates, in the order of the rows, B = 2 (E + 1) points around the maximum.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from priorfit.distributions import RateLaw
from priorfit.models.jump_panel import Panel, build_panel
from priorfit.models.jump_scoring import (
    NOISE,
    SHAPE,
    SMALLEST,
    Fit,
    improve,
    time_integral,
    transition_matrices,
    used,
    with_diagonal,
)
from priorfit.models.jump_smoother import smooth
from priorfit.predictors.jump_posterior import RatePosterior, off_diagonal
from priorfit.predictors.jump_quantities import generator_matrix
from priorfit.predictors.limits import warn_user

N_NODES = 128  # gaps at which transition probabilities are computed, where they are not multiples of one
ROUNDS, CLOSE = 50, 1e-2  # of smoothing and scoring at most; close when no log rate moves further than that
NEWTON, CHORDS = 10, 8  # times the curvature is computed at most, and steps that it serves
SETTLED, NEAR = 0.02, 0.3  # standard deviations: of a last step, and from where the curvature is still the same
LONGEST = 1.0  # step
FIRST_NOISE = 0.02
PRIOR = 0.1  # weight of the prior on rates: fast rates of states that are hardly visited are not to be slowed down
STEP = 0.03  # between points where slopes are compared, on log rates
WIDEST = 3.0  # standard deviation of a log rate: one that the paths say nothing of


def refined(times: Tensor, states: Tensor, found: RatePosterior) -> RatePosterior:
    """The most probable rates under a weak prior, and a normal law of their logarithms around them.

    Which jumps are impossible a likelihood hardly tells, so that remains what the network said.

    Smoothing and Fisher scoring go on from the network's rates (see `priorfit.models.jump_scoring`), with a share of
    wrong labels that is estimated too. The covariance is the inverse of the observed information, that is, minus the
    change of the slope of the log likelihood around its maximum (Laplace's approximation).

    Args:
        times: (1, P, L), in units that make rates moderate.
        states: (1, P, L).
        found: where to start, in the same units.
    """
    panel = build_panel(times, states, N_NODES)
    n_states, n_paths = len(found.rates), int(panel.seen[0, :, 0].sum())
    fit = _scored(panel, found.per(1 / float(panel.unit)))
    point, covariance = _climb(panel, fit)
    off = torch.from_numpy(off_diagonal(n_states))
    scales = torch.ones(n_states, n_states, 1, dtype=torch.float64)
    scales[off, 0] = covariance.diagonal()[:-1].sqrt()
    locs, rates = torch.zeros_like(scales), np.zeros((n_states, n_states))
    locs[off, 0], rates[off.numpy()] = point[:-1], point[:-1].exp().numpy()
    law = RateLaw(
        absent_logits=found.law.absent_logits,
        log_weights=torch.zeros_like(locs),
        locs=locs,
        scales=scales,
        concentration=fit.initial[0] * (n_paths + n_states / 2),  # as it was made: half a path more in each state
    )
    noise = float(point[-1].sigmoid())
    best = RatePosterior(law, generator_matrix(rates), found.edge_probability, covariance[:-1, :-1].numpy(), noise)
    return best.per(float(panel.unit))


def _scored(panel: Panel, found: RatePosterior) -> Fit:
    """Some rounds from the rates found: sure to rise, but slow where rates and noise explain the same changes."""
    rates, initial = torch.from_numpy(found.rates).clamp(min=0), torch.from_numpy(found.initial)
    fit = Fit(rates[None], torch.tensor([FIRST_NOISE], dtype=torch.float64), initial[None])
    for _ in range(ROUNDS):
        better = improve(panel, fit, 1, PRIOR)
        off = better.rates > 0
        moved = (better.rates[off] / fit.rates[off].clamp(min=SMALLEST)).log().abs().amax()
        fit = better
        if moved < CLOSE:
            break
    return fit


def _climb(panel: Panel, fit: Fit) -> tuple[Tensor, Tensor]:
    """Newton's method to the top: log rates and logit of the noise (E + 1,), and their covariance."""
    off = torch.from_numpy(off_diagonal(fit.rates.shape[-1]))
    point = torch.cat([fit.rates[0, off].log(), fit.noise.logit()])
    for _ in range(NEWTON):
        covariance = _covariance(panel, fit.initial, point)
        deviations, start = covariance.diagonal().sqrt(), point
        for _ in range(CHORDS):
            step = covariance @ _slopes(panel, fit.initial, point[None])[0]
            point = point + step.clamp(-LONGEST, LONGEST)
            if (step.abs() < SETTLED * deviations).all():
                break
        if ((point - start).abs() < NEAR * deviations).all():
            return point, covariance
    warn_user("refine=True: the likelihood is still rising where the search ended; the rates are not yet the best.")
    return point, covariance


def _covariance(panel: Panel, initial: Tensor, point: Tensor) -> Tensor:
    """Inverse of the observed information at log rates and the logit of the noise, (E + 1, E + 1)."""
    moves = STEP * torch.eye(len(point), dtype=point.dtype)
    ahead, behind = _slopes(panel, initial, torch.cat([point + moves, point - moves])).chunk(2)
    information = (behind - ahead) / (2 * STEP)
    values, vectors = torch.linalg.eigh((information + information.mT) / 2)
    return (vectors / values.clamp(min=1 / WIDEST**2)) @ vectors.mT


def _slopes(panel: Panel, initial: Tensor, points: Tensor) -> Tensor:
    """Slopes of the log likelihood and its prior at log rates and the logit of the noise, (B, E + 1) each."""
    n_states, n_points = initial.shape[-1], len(points)
    rates = torch.zeros(n_points, n_states, n_states, dtype=points.dtype)
    off = torch.from_numpy(off_diagonal(n_states))
    rates[:, off], noise = points[:, :-1].exp(), points[:, -1].sigmoid()
    copies = Panel(*(part.expand(n_points, *part.shape[1:]) for part in panel))
    transitions = transition_matrices(rates, copies.nodes)
    smoothed = smooth(copies, transitions.float(), initial.expand(n_points, -1).float(), noise.float())
    integral = time_integral(with_diagonal(rates), *used(smoothed.weights.double(), copies.nodes))
    shape = PRIOR * SHAPE
    own = rates * (integral - integral.diagonal(dim1=-2, dim2=-1)[..., None] - shape * (n_states - 1))
    wrong = smoothed.wrong + NOISE[0] - (panel.seen.sum() + NOISE[1]) * noise
    return torch.cat([own[:, off] + shape, wrong[:, None]], 1)
