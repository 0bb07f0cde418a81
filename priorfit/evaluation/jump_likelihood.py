"""The likelihood of one Markov jump process given panels of its states, with labels that may be wrong.

In float64 and differentiable, by matrix exponentials at every gap that occurs: slow, and what faster ways are measured
against. Letters: W parameter values, S states, P paths, L observations, G different gaps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SAME = 1e-6  # difference of gaps that count as one, in the largest gap: times are float32
TINY = 1e-300  # a probability of 0 counts as this, so that gradients are finite


class PanelLikelihood:
    """log p(states | times, rates, initial law, noise).

    The chain at the times of observation moves by exp(F Δ) (Kalbfleisch & Lawless 1985, "The analysis of panel data
    under a Markov assumption"). Labels are wrong with probability ε, then any other state alike; they are summed out by
    the forward algorithm (Rabiner 1989, "A tutorial on hidden Markov models").

    Args:
        times: (P, L), increasing where something is observed.
        states: (P, L), int64, -1 past the end of a path.
        n_states: S.
        from_zero: whether initial laws are about time 0, and not about the first observation of each path.

    Attributes:
        gaps: different gaps, (G,).
        counts: transitions from state to state over each of them, (G, S, S).
        first: how many paths begin in each state, (S,).

    Raises:
        ValueError: states or times that do not fit the above.
    """

    def __init__(self, times: Tensor, states: Tensor, n_states: int, *, from_zero: bool = False) -> None:
        if states.shape != times.shape or states.ndim != 2 or int(states.max()) >= n_states:
            raise ValueError(f"Needs times and states (P, L), and states below {n_states}.")
        self.n_states, self.states, self.seen = n_states, states.clamp(min=0), states >= 0
        pairs = self.seen[:, :-1] & self.seen[:, 1:]
        gaps = torch.where(pairs, times.double().diff(dim=1), 0.0)  # (P, L - 1)
        if bool((gaps[pairs] <= 0).any()):
            raise ValueError("Times must increase along every path.")
        start = times[:, :1].double() if from_zero else torch.zeros_like(times[:, :1], dtype=torch.float64)
        self.gaps, self.kind = distinct(torch.cat([start, gaps], 1))  # (G,), (P, L): the gap before each observation
        self.regular = [bool((column == column[0]).all()) for column in self.kind.T]
        self.pairs, self.moved_first = pairs, bool((start > 0).any())
        index = (self.kind[:, 1:] * n_states + self.states[:, :-1]) * n_states + self.states[:, 1:]
        shape = (len(self.gaps), n_states, n_states)
        counts = torch.bincount(index[pairs], minlength=shape[0] * n_states**2)
        self.counts = counts.double().view(shape)
        self.first = torch.bincount(states[:, 0][self.seen[:, 0]], minlength=n_states).double()

    def __call__(self, rates: Tensor, initial: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """Log likelihood, (W,), float64.

        Args:
            rates: (W, S, S), float64, diagonals are not looked at.
            initial: (W, S).
            noise: ε, a number or ().
        """
        moves = transition_matrices(rates, self.gaps)  # (W, G, S, S)
        if isinstance(noise, Tensor) or noise > 0:
            return self._forward(moves, initial, torch.as_tensor(noise, dtype=torch.float64))
        transitions = (self.counts * moves.clamp(min=TINY).log()).sum((1, 2, 3))
        if not self.moved_first:
            return transitions + (self.first * initial.clamp(min=TINY).log()).sum(-1)
        start = torch.einsum("wi,wpij->wpj", initial, moves[:, self.kind[:, 0]])
        chance = start.gather(2, self.states[:, 0].expand(len(rates), -1)[..., None])[..., 0]
        return transitions + (chance.clamp(min=TINY).log() * self.seen[:, 0]).sum(1)

    def _forward(self, moves: Tensor, initial: Tensor, noise: Tensor) -> Tensor:
        """The same with labels that are wrong with probability `noise`, ()."""
        wrong = noise / (self.n_states - 1)
        right = functional.one_hot(self.states.T, self.n_states)  # (L, P, S)
        labels = torch.where(self.seen.T[..., None], wrong + (1 - self.n_states * wrong) * right, 1.0)
        law, chances = initial[:, None].expand(-1, len(self.states), -1), []  # (W, P, S)
        for t, label in enumerate(labels):
            joint = (self._moved(law, moves, t) if t or self.moved_first else law) * label
            chances.append(joint.sum(-1, keepdim=True).clamp(min=TINY))
            law = joint / chances[-1]
        return torch.stack(chances).log().sum((0, 2, 3))

    def _moved(self, law: Tensor, moves: Tensor, t: int) -> Tensor:
        """State laws (W, P, S) after the gap before observation t."""
        if self.regular[t]:
            return law @ moves[:, self.kind[0, t]]
        return (law[..., None, :] @ moves[:, self.kind[:, t]])[..., 0, :]


def transition_matrices(rates: Tensor, gaps: Tensor) -> Tensor:
    """exp(F Δ) of rates (W, S, S) with any diagonal at gaps (G,), (W, G, S, S)."""
    rates = rates - rates.diagonal(dim1=-2, dim2=-1).diag_embed()
    generator = rates - rates.sum(-1).diag_embed()
    return torch.linalg.matrix_exp(generator[:, None] * gaps[:, None, None])


def distinct(gaps: Tensor) -> tuple[Tensor, Tensor]:
    """Different values among gaps >= 0, (G,), and which of them each is, in the shape of `gaps`.

    Values in a row without a jump above `SAME` are one, but where so many lie side by side that the row is long: it is
    cut into pieces of that length.
    """
    length = SAME * gaps.max().clamp(min=TINY)
    ordered, order = gaps.flatten().sort()
    jumps = ordered.diff(prepend=ordered[:1]) > length
    starts = torch.where(jumps, ordered, ordered[0]).cummax(0).values  # of the rows
    piece = ((ordered - starts) / length).floor()
    new = jumps | (piece.diff(prepend=piece[:1]) != 0)
    kind = torch.empty_like(order)
    kind[order] = new.cumsum(0)
    number = int(kind.max()) + 1
    sums = torch.zeros(number, dtype=gaps.dtype).index_add_(0, kind, gaps.flatten())
    return sums / torch.bincount(kind, minlength=number), kind.view(gaps.shape)
