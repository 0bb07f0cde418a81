"""How well a fitted Markov jump process agrees with the paths that it was fitted to, in a few numbers.

Letters: B processes, S states, P paths, L observations, M nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from priorfit.models.jump_panel import Panel
from priorfit.models.jump_scoring import Fit

JUMP_SUMMARIES = (
    "share of states that seem wrong",
    "likelihood of the best rates against what they expect",
    "changes of state that the best rates do not explain",
    "share of observations that change the state",
    "time in the state that is visited least",
    "returns to the state before",
    "stays after a change",
    "change of pace along the paths",
)
RARE = 0.5  # is added to expected counts


def summarized(panel: Panel, fit: Fit, transitions: Tensor, counts: Tensor, dwell: Tensor) -> Tensor:
    """The numbers named in `JUMP_SUMMARIES`, (B, 8), float32.

    Args:
        panel: the paths.
        fit: the best rates.
        transitions: their transition probabilities at the panel's nodes, (B, M, S, S).
        counts: expected transitions over the gaps there, of the same shape.
        dwell: expected time in each state, (B, S).
    """
    pairs = panel.pairs.sum((1, 2)).double()
    changes = ((panel.states.diff(dim=-1) != 0) & panel.pairs).sum((1, 2))
    least = dwell.amin(-1) / dwell.sum(-1).clamp(min=1e-9)
    parts = [
        fit.noise.logit(),
        *_agreement(transitions, counts),
        ((changes + RARE) / (pairs + 2 * RARE)).logit(),
        least.clamp(min=1e-4).log(),
        *_memory(panel, fit.rates.shape[-1]),
        _pace(panel),
    ]
    return torch.stack([part.double() for part in parts], 1).float()


def _agreement(transitions: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Log likelihood minus its expectation, in standard deviations, and the log of Pearson's chi-square per cell."""
    starts, logs = counts.sum(-1, keepdim=True), transitions.clamp(min=1e-12).log()
    mean = (transitions * logs).sum(-1, keepdim=True)
    variance = (starts * transitions * (logs - mean).square()).sum((1, 2, 3))
    excess = ((counts - starts * transitions) * logs).sum((1, 2, 3)) / (variance + 1).sqrt()
    expected = starts * transitions
    cells = (starts > 0).sum((1, 2, 3)) * counts.shape[-1]
    chi_square = ((counts - expected).square() / (expected + RARE)).sum((1, 2, 3)) / cells.clamp(min=1)
    return excess, (chi_square + 1e-3).log()


def _memory(panel: Panel, n_states: int) -> tuple[Tensor, Tensor]:
    """Log ratios of how often a step back, or none, follows a change, to what single steps tell."""
    states, triples = panel.states, panel.pairs[..., 1:] & panel.pairs[..., :-1]
    before, now, next_ = states[..., :-2], states[..., 1:-1], states[..., 2:]
    kind = (states[..., :-1] * n_states + states[..., 1:]).flatten(1)
    counts = states.new_zeros(len(states), n_states**2, dtype=torch.float64)
    counts.scatter_add_(1, kind, panel.pairs.flatten(1).double())
    moves = (counts + 1e-9).unflatten(1, (n_states, n_states))
    moves = (moves / moves.sum(-1, keepdim=True)).flatten(1)
    changed = triples & (before != now)
    results = []
    for target in (before, now):
        expected = moves.gather(1, (now * n_states + target).flatten(1)).view(now.shape) * changed
        found = ((next_ == target) & changed).sum((1, 2))
        results.append(((found + RARE) / (expected.sum((1, 2)) + RARE)).log())
    return results[0], results[1]


def _pace(panel: Panel) -> Tensor:
    """Changes per pair in the later half of the paths against the earlier, in standard deviations, (B,)."""
    changes = (panel.states.diff(dim=-1) != 0) & panel.pairs
    half = panel.pairs.shape[-1] // 2
    shares, sizes = [], []
    for part in (slice(None, half), slice(half, None)):
        n = panel.pairs[..., part].sum((1, 2)) + 2 * RARE
        shares.append((changes[..., part].sum((1, 2)) + RARE) / n)
        sizes.append(n)
    variances = [share * (1 - share) / n for share, n in zip(shares, sizes, strict=True)]
    return (shares[1] - shares[0]) / (variances[0] + variances[1]).sqrt()
