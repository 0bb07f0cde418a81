"""Rates of a Markov jump process from panels: expectation-maximisation over labels, Fisher scoring over rates.

With clean labels the log likelihood of a panel is Σ_Δ Σ_ab C_ab(Δ) log exp(F Δ)_ab, C counting the transitions over
gaps of length Δ (Kalbfleisch & Lawless 1985, "The analysis of panel data under a Markov assumption"). With labels that
may be wrong, C are expected counts by forward and backward passes, and so every step of Fisher scoring on
expected counts raises the hidden-Markov likelihood. A weak Gamma prior keeps rates above 0.

Letters: B processes, S states, M nodes, Q quadrature nodes, E = S (S - 1) rates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from priorfit.models.jump_panel import Panel
from priorfit.models.jump_smoother import Smoothed, smooth

SHAPE = 0.3  # of the Gamma prior: it weighs as much as this number of jumps
LONGEST = 2.0  # step on the log rates
SMALLEST, LARGEST = 1e-6, 1e4  # rates, in jumps per unit
NOISE = (0.5, 25.0)  # labels that the noise's prior counts as wrong, and in all
START = 0.2  # of labels are taken to be wrong at first, and of changes to be real: the other way round gets stuck
FURTHEST = 16.0  # length of a leap, in rounds
QUADRATURE = 4  # Gauss-Legendre nodes in each gap, for the information only


class Fit(NamedTuple):
    """Where the scoring has arrived."""

    rates: Tensor  # (B, S, S), float64, zero diagonal, jumps per unit
    noise: Tensor  # (B,), probability that a label is wrong
    initial: Tensor  # (B, S), law of the state when first observed


class Evidence(NamedTuple):
    """What a panel says of rates F at a fit, jump counts and times being expectations given the labels."""

    jumps: Tensor  # (B, S, S): jumps from one state to another, zero diagonal
    dwell: Tensor  # (B, S): time spent in each state, in units
    information: Tensor  # (B, E, E): expected information on log rates, row by row without the diagonal


def start(panel: Panel, n_states: int) -> Fit:
    """A share of the changes of the observed state per observed time; the others are taken for wrong labels."""
    kind = panel.states[..., :-1] * n_states + panel.states[..., 1:]  # (B, P, L - 1)
    counts = _bincount(kind, panel.pairs.double(), n_states**2).unflatten(1, (n_states, n_states))
    dwell = _bincount(panel.states[..., :-1], torch.where(panel.pairs, panel.gaps, 0.0).double(), n_states)
    eye = torch.eye(n_states, dtype=torch.bool, device=counts.device)
    rates = START * (counts + SHAPE) / (dwell + SHAPE * (n_states - 1))[..., None]
    first = _bincount(panel.states[..., 0], panel.seen[..., 0].double(), n_states)
    return Fit(rates.masked_fill(eye, 0.0), counts.new_full((len(counts),), START), _law(first))


def _bincount(kind: Tensor, weight: Tensor, size: int) -> Tensor:
    """Sums of weights by kind in each process, (B, size), float64."""
    total = weight.new_zeros(len(kind), size)
    return total.scatter_add_(1, kind.flatten(1), weight.flatten(1))


def _law(counts: Tensor) -> Tensor:
    """Probabilities from counts (B, S), each with half a count more."""
    return (counts + 0.5) / (counts + 0.5).sum(-1, keepdim=True)


def improve(panel: Panel, fit: Fit, rounds: int, prior: float = 1.0) -> Fit:
    """Some rounds of expectation-maximisation; after every second, and unless it is the last, a leap ahead.

    Args:
        panel: B processes.
        fit: where to start.
        rounds: forward and backward passes over all paths.
        prior: weight of the Gamma prior; 0 seeks the maximum of the likelihood.
    """
    trail = [fit]
    for left in reversed(range(rounds)):
        trail.append(_round(panel, trail[-1], prior))
        if len(trail) == 3 and left:
            trail = [_leap(panel, *trail)]
    return trail[-1]


def _round(panel: Panel, fit: Fit, prior: float) -> Fit:
    """One pass over all paths, and two steps of Fisher scoring on the counts that it expects."""
    transitions = transition_matrices(fit.rates, panel.nodes)
    smoothed = smooth(panel, transitions.float(), fit.initial.float(), fit.noise.float())
    counts, nodes = used(smoothed.weights.double() * transitions, panel.nodes)
    rates = scoring_step(scoring_step(fit.rates, counts, nodes, prior), counts, nodes, prior)
    return Fit(rates, _noise(panel, smoothed), _law(smoothed.first.double()))


def _leap(panel: Panel, first: Fit, second: Fit, third: Fit) -> Fit:
    """Where three fits in a row are heading, were they to go on along the same line.

    The more labels may be wrong, the slower the rounds: noise and fast rates explain the same labels. Source: Varadhan
    & Roland 2008, "Simple and globally convergent methods for accelerating the convergence of any EM algorithm" (SqS3).
    """
    before, between, after = (_logs(fit) for fit in (first, second, third))  # (B, S S + 1)
    labels, time = panel.seen.sum((1, 2)), panel.gaps.sum((1, 2)).clamp(min=1e-9)
    wrong = third.noise * labels / time * third.rates.shape[-1]
    weight = torch.cat([third.rates.flatten(1), wrong[:, None]], 1)  # each counts by what is expected of it
    step, bend = between - before, after - 2 * between + before
    sizes = [(weight * change.square()).sum(1, keepdim=True) for change in (step, bend)]
    length = (sizes[0] / sizes[1].clamp(min=1e-12)).sqrt().clamp(1.0, FURTHEST)
    moved = before + 2 * length * step + length.square() * bend
    moved = after + (moved - after).clamp(-LONGEST, LONGEST)
    rates = moved[:, :-1].exp().clamp(SMALLEST, LARGEST).view(third.rates.shape)
    eye = torch.eye(rates.shape[-1], dtype=torch.bool, device=rates.device)
    return Fit(rates.masked_fill(eye, 0.0), moved[:, -1].sigmoid().clamp(1e-5, 0.5), third.initial)


def _logs(fit: Fit) -> Tensor:
    """Log rates (0 on the diagonal) and log odds of the noise, (B, S S + 1)."""
    eye = torch.eye(fit.rates.shape[-1], dtype=torch.bool, device=fit.rates.device)
    return torch.cat([fit.rates.masked_fill(eye, 1.0).log().flatten(1), fit.noise.logit()[:, None]], 1)


def used(counts: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (B, M, S, S) and nodes (B, M), without nodes at which no process has any: a regular grid keeps one."""
    some = (counts > 0).any(-1).any(-1).any(0)
    return counts[:, some], nodes[:, some]


def _noise(panel: Panel, smoothed: Smoothed) -> Tensor:
    """The share of labels that are wrong, under a weak prior, (B,)."""
    labels = panel.seen.sum((1, 2)).double()
    return ((smoothed.wrong.double() + NOISE[0]) / (labels + NOISE[1])).clamp(1e-5, 0.5)


def scoring_step(rates: Tensor, counts: Tensor, nodes: Tensor, prior: float) -> Tensor:
    """One step of Fisher scoring on the log rates (B, S, S), from transition counts (B, M, S, S) over gaps (B, M)."""
    evidence = expected_evidence(rates, counts, nodes)
    n_states = rates.shape[-1]
    off = _off(rates)
    flat = rates[:, off]  # (B, E)
    expected = (rates * evidence.dwell[..., None])[:, off]
    weight = prior * SHAPE
    slope = evidence.jumps[:, off] - expected + weight * (1 - (n_states - 1) * flat)
    curvature = evidence.information + torch.diag_embed(weight * (n_states - 1) * flat + max(weight, 1e-3 * SHAPE))
    step = torch.linalg.solve(curvature, slope[..., None])[..., 0]
    moved = flat * step.clamp(-LONGEST, LONGEST).exp()
    result = torch.zeros_like(rates)
    result[:, off] = moved.clamp(SMALLEST, LARGEST)
    return result


def expected_evidence(rates: Tensor, counts: Tensor, nodes: Tensor) -> Evidence:
    """Jumps, dwell times and information at rates (B, S, S), given transition counts (B, M, S, S) over gaps (B, M)."""
    generator = with_diagonal(rates)
    transitions = transition_matrices(rates, nodes).clamp(min=1e-12)
    integral = time_integral(generator, counts / transitions, nodes)
    jumps = rates * integral
    information = fisher_information(rates, counts.sum(-1), transitions, nodes)
    return Evidence(jumps, integral.diagonal(dim1=-2, dim2=-1), information)


def time_integral(generator: Tensor, weights: Tensor, nodes: Tensor) -> Tensor:
    """Σ_Δ ∫_0^Δ exp(Fᵀs) W(Δ) exp(Fᵀ(Δ - s)) ds, (B, S, S): W's change by F, as a block of one matrix exponential.

    Source: Van Loan 1978, "Computing integrals involving the matrix exponential".
    """
    n_states = generator.shape[-1]
    transposed = generator.mT[:, None].expand_as(weights)
    top = torch.cat([transposed, weights], -1)
    bottom = torch.cat([torch.zeros_like(weights), transposed], -1)
    whole = torch.linalg.matrix_exp(torch.cat([top, bottom], -2) * nodes[..., None, None])
    return whole[..., :n_states, n_states:].sum(1)


def fisher_information(rates: Tensor, starts: Tensor, transitions: Tensor, nodes: Tensor) -> Tensor:
    """Expected information on the log rates, (B, E, E).

    Σ_Δ Σ_a n_a(Δ) Σ_b D_ab,e D_ab,f / P_ab, with D the derivatives of P(Δ) = exp(F Δ) by the log rates,
    ∂P_ab/∂F_ij = ∫ P_ai(s) (P_jb(Δ - s) - P_ib(Δ - s)) ds, by Gauss-Legendre quadrature.

    Args:
        rates: (B, S, S).
        starts: n, transitions out of each state, (B, M, S).
        transitions: P, (B, M, S, S).
        nodes: Δ, (B, M).
    """
    points, weights = (torch.as_tensor(part).to(rates) for part in np.polynomial.legendre.leggauss(QUADRATURE))
    at = nodes[..., None] * (points + 1) / 2  # (B, M, Q), symmetric: the rest of the gap is at the flipped node
    moved = transition_matrices(rates.float(), at.flatten(1).float()).unflatten(1, at.shape[1:])  # (B, M, Q, S, S)
    weighted = moved * (nodes[..., None] * weights / 2)[..., None, None].float()
    both = torch.einsum("bmqai,bmqjc->bmijac", weighted, moved.flip(2))  # (B, M, S, S, S, S)
    change = both - both.diagonal(dim1=2, dim2=3).permute(0, 1, 4, 2, 3)[:, :, :, None]
    off = _off(rates)
    change = change[:, :, off] * rates[:, off][:, None, :, None, None].float()  # (B, M, E, S, S)
    weight = (starts[..., None] / transitions)[:, :, None].float()
    root = (change * weight.sqrt()).transpose(1, 2).flatten(2)  # (B, E, M S S), float32: it need not be more precise
    return (root @ root.mT).double()


def transition_matrices(rates: Tensor, nodes: Tensor) -> Tensor:
    """exp(F Δ) for rates (B, S, S) and gaps (B, M), (B, M, S, S)."""
    moved = torch.linalg.matrix_exp(with_diagonal(rates)[:, None] * nodes[..., None, None])
    return moved.clamp(min=0.0)


def with_diagonal(rates: Tensor) -> Tensor:
    """The generator: rates (B, S, S) with a diagonal that makes every row sum to zero."""
    return rates - torch.diag_embed(rates.sum(-1))


def _off(rates: Tensor) -> Tensor:
    """True off the diagonal, (S, S)."""
    return ~torch.eye(rates.shape[-1], dtype=torch.bool, device=rates.device)
