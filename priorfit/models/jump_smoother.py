"""The forward-backward algorithm for panels of a Markov jump process whose labels may be wrong.

The chain at the times of observation is a hidden Markov model: transition matrices exp(F Δ), and labels that are wrong
with probability ε, then uniform over the other states (Rabiner 1989, "A tutorial on hidden Markov models").

Letters: B processes, S states, P paths, L observations, M nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from priorfit.models.jump_panel import Panel

CELLS = 20_000_000  # numbers in the largest tensor; more paths are taken in turn
TINY = 1e-30


class Smoothed(NamedTuple):
    """Sums over paths of what is believed of the true states, given all labels."""

    weights: Tensor  # (B, M, S, S): derivative of the log likelihood by the transition probabilities at each node
    first: Tensor  # (B, S): how many paths are in each state when first observed
    wrong: Tensor  # (B,): how many labels are wrong
    log_likelihood: Tensor  # (B,)

    def __add__(self, other: object) -> Smoothed:  # type: ignore[override]
        assert isinstance(other, Smoothed)
        return Smoothed(*(mine + its for mine, its in zip(tuple(self), tuple(other), strict=True)))


def smooth(panel: Panel, transitions: Tensor, initial: Tensor, noise: Tensor) -> Smoothed:
    """Smooths all paths, so many at a time as fit into memory.

    Args:
        panel: B processes.
        transitions: exp(F Δ) at the panel's nodes, (B, M, S, S), float32.
        initial: law of the state when first observed, (B, S).
        noise: ε, (B,), above 0.
    """
    n_processes, n_paths, length = panel.states.shape
    n_states = transitions.shape[-1]
    share = n_processes * length * n_states * (1 if is_regular(panel) else n_states)
    chunk = max(1, CELLS // share)
    parts = [panel.paths(start, start + chunk) for start in range(0, n_paths, chunk)]
    total = _smooth(parts[0], transitions, initial, noise)
    for part in parts[1:]:
        total = total + _smooth(part, transitions, initial, noise)
    return total


def _smooth(panel: Panel, transitions: Tensor, initial: Tensor, noise: Tensor) -> Smoothed:
    """Forward, backward, and the sums."""
    mover = RegularSteps(panel, transitions) if is_regular(panel) else Steps(panel, transitions)
    labels = emissions(panel, noise, initial.shape[-1])  # (L, B, P, S)
    pairs = panel.pairs.permute(2, 0, 1)[..., None]  # (L - 1, B, P, 1)
    alphas, norms = _forward(mover, labels, pairs, initial)
    beta, afters = torch.ones_like(alphas[-1]), []
    right = _right(panel, alphas[-1], beta)
    for t in reversed(range(len(pairs))):
        after = labels[t + 1] * beta / norms[t + 1]
        afters.append(after)
        beta = torch.where(pairs[t], mover.back(after, t), beta)
        right = right + _right(panel, alphas[t], beta, t)
    after = torch.stack(afters[::-1]) if afters else labels[:0]
    seen = panel.seen.sum((1, 2)).to(right)
    first = (alphas[0] * beta * panel.seen[:, :, 0, None]).sum(1)
    weights = mover.sums(alphas[:-1] * pairs, after)
    return Smoothed(weights, first, (seen - right).clamp(min=0), norms.log().sum((0, 2, 3)))


def _forward(mover: Steps, labels: Tensor, pairs: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
    """Filtered state laws (L, B, P, S) and the probabilities of labels given those before (L, B, P, 1)."""
    joint = initial[:, None] * labels[0]
    norms = [joint.sum(-1, keepdim=True).clamp(min=TINY)]
    alphas = [joint / norms[0]]
    for t in range(len(pairs)):
        joint = torch.where(pairs[t], mover.ahead(alphas[-1], t) * labels[t + 1], alphas[-1])
        norms.append(joint.sum(-1, keepdim=True).clamp(min=TINY))
        alphas.append(joint / norms[-1])
    return torch.stack(alphas), torch.stack(norms)


def _right(panel: Panel, alpha: Tensor, beta: Tensor, t: int = -1) -> Tensor:
    """How many labels at time t are right, (B,)."""
    at = (alpha * beta).gather(-1, panel.states[..., t, None])[..., 0]
    return (at * panel.seen[..., t]).sum(1)


def emissions(panel: Panel, noise: Tensor, n_states: int) -> Tensor:
    """Probability of each label given each true state, (L, B, P, S); 1 where nothing is observed."""
    wrong = (noise / (n_states - 1))[:, None, None]  # (B, 1, 1)
    shown = functional.one_hot(panel.states.permute(2, 0, 1), n_states)  # (L, B, P, S)
    return torch.where(panel.seen.permute(2, 0, 1)[..., None], wrong + (1 - n_states * wrong) * shown, 1.0).float()


def is_regular(panel: Panel) -> bool:
    """Whether every process has one gap of its own."""
    one = panel.index.amax((1, 2), keepdim=True) if panel.index.numel() else panel.index
    same = (panel.index == one) & (panel.fraction == 0)
    return bool((same | ~panel.pairs).all())


class Steps:
    """Moves state laws over gaps of any length."""

    def __init__(self, panel: Panel, transitions: Tensor) -> None:
        n_nodes = transitions.shape[1]
        rows = torch.arange(len(transitions), device=transitions.device)[:, None, None] * n_nodes
        self.index = (rows + panel.index).permute(2, 0, 1)  # (L - 1, B, P), among B × M
        self.fraction = panel.fraction.permute(2, 0, 1)[..., None, None]
        self.between = bool((panel.fraction > 0).any())
        self.shape, self.flat = transitions.shape, transitions.flatten(0, 1)

    def matrices(self, t: int) -> Tensor:
        """Transition matrices over the gaps after time t, (B, P, S, S)."""
        low = self.flat[self.index[t]]
        return low.lerp(self.flat[self.index[t] + 1], self.fraction[t]) if self.between else low

    def ahead(self, law: Tensor, t: int) -> Tensor:
        """Laws (B, P, S) after the gap."""
        return (law[..., None] * self.matrices(t)).sum(-2)

    def back(self, after: Tensor, t: int) -> Tensor:
        """Expectations (B, P, S) before the gap of what is given for after it."""
        return (self.matrices(t) * after[..., None, :]).sum(-1)

    def sums(self, before: Tensor, after: Tensor) -> Tensor:
        """Outer products of (L - 1, B, P, S) each, summed by node, (B, M, S, S)."""
        outer = before[..., None] * after[..., None, :]  # (L - 1, B, P, S, S)
        total = torch.zeros_like(self.flat)
        for share, index in self._shares():
            total.index_add_(0, index.flatten(), (share * outer).flatten(0, 2))
        return total.view(self.shape)

    def _shares(self) -> list[tuple[Tensor | float, Tensor]]:
        """Which part of each gap belongs to which node."""
        if not self.between:
            return [(1.0, self.index)]
        return [(1 - self.fraction, self.index), (self.fraction, self.index + 1)]


class RegularSteps(Steps):
    """The same where every process has one gap: matrix products over all paths."""

    def __init__(self, panel: Panel, transitions: Tensor) -> None:
        self.shape = transitions.shape
        node = panel.index.amax((1, 2)) if panel.index.numel() else transitions.new_zeros(len(transitions)).long()
        self.node = node
        self.matrix = transitions[torch.arange(len(transitions), device=node.device), node]  # (B, S, S)

    def ahead(self, law: Tensor, t: int) -> Tensor:
        """Laws (B, P, S) after the gap."""
        return law @ self.matrix

    def back(self, after: Tensor, t: int) -> Tensor:
        """Expectations (B, P, S) before the gap of what is given for after it."""
        return after @ self.matrix.mT

    def sums(self, before: Tensor, after: Tensor) -> Tensor:
        """Outer products of (L - 1, B, P, S) each, summed by node, (B, M, S, S)."""
        total = before.new_zeros(self.shape)
        at = torch.arange(len(total), device=total.device), self.node
        total[at] = torch.einsum("tbpi,tbpj->bij", before, after)
        return total
