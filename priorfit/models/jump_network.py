"""Rate matrices of Markov jump processes from noisy paths, after the likelihood has had its say.

Letters: B processes, S states, P paths, L observations, E = S (S - 1) rates, C components, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorfit.distributions import RateLaw
from priorfit.models.attention import zeroed
from priorfit.models.base import Network, networks
from priorfit.models.checks import check_paths
from priorfit.models.jump_blocks import PairBlock, on_diagonal
from priorfit.models.jump_panel import Panel, build_panel
from priorfit.models.jump_scoring import (
    SHAPE,
    Evidence,
    Fit,
    expected_evidence,
    improve,
    start,
    transition_matrices,
    used,
)
from priorfit.models.jump_smoother import smooth
from priorfit.models.jump_summary import JUMP_SUMMARIES, summarized

N_NODES = 32  # gaps at which transition probabilities are computed
FEW = 48  # paths of the first rounds
ROUNDS = (7, 5)  # on few paths, on all
PAIR_FEATURES, STATE_FEATURES, GLOBAL_FEATURES = 6, 6, 8
REACH = 6.5  # logarithms of features that describe a process as a whole: more paths show in the deviations

Output = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class Statistics(NamedTuple):
    """What the likelihood says of a process: its best rates, and how sure it is."""

    log_rates: Tensor  # (B, S, S), log of jumps per unit of time; 0 on the diagonal
    deviations: Tensor  # (B, S, S), standard deviations of the log rates; 1 on the diagonal
    initial: Tensor  # (B, S), law of the state when first observed
    log_unit: Tensor  # (B,), log of the time unit
    pairs: Tensor  # (B, S, S, PAIR_FEATURES)
    states: Tensor  # (B, S, STATE_FEATURES)
    globals: Tensor  # (B, GLOBAL_FEATURES)
    summary: Tensor | None  # (B, J), see `JumpNetwork.summary`; where it was asked for


@networks.register("jump_network")
class JumpNetwork(Network):
    """Corrects a maximum-likelihood fit into a posterior.

    The paths are read by the hidden-Markov likelihood itself: smoothing and Fisher scoring (`jump_scoring`), in a fixed
    number of steps and without anything trained, give rates, their covariance, expected jumps and times. These sums
    over paths grow with the data, so more paths always help. A residual network on pairs of states, the same for any
    number of states, turns them into laws of the rates: which are absent, and mixtures of log-normals for the others.
    Relabelling the states relabels the answer, and another unit of time rescales it.

    Args:
        max_states: the largest number of states that it takes.
        n_components: C.
        width: W.
        n_layers: of the residual network.
        hidden: width inside its layers.
    """

    summary_names = JUMP_SUMMARIES
    spread: Tensor  # (C,), where the components start, in standard deviations

    def __init__(
        self, max_states: int = 6, n_components: int = 3, width: int = 96, n_layers: int = 4, hidden: int = 192
    ) -> None:
        super().__init__()
        self.max_states, self.n_components = max_states, n_components
        shared = GLOBAL_FEATURES
        self.embed_pairs = nn.Linear(PAIR_FEATURES + 2 * STATE_FEATURES + shared, width)
        self.embed_states = nn.Linear(STATE_FEATURES + shared, width)
        self.blocks = nn.ModuleList(PairBlock(width, hidden) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.of_pairs = zeroed(nn.Linear(width, 1 + 3 * n_components))
        self.of_states = zeroed(nn.Linear(width, 2))
        spread = torch.linspace(-1, 1, n_components) if n_components > 1 else torch.zeros(1)
        self.register_buffer("spread", spread, persistent=False)

    def check(self, *observed: Tensor) -> None:
        """Refuses paths that are not as in `JumpPaths`, or of too many states."""
        check_paths(*observed, max_states=self.max_states)

    def compute(self, times: Tensor, states: Tensor, n_states: Tensor) -> Output:
        """The parameters of `RateLaw`, in the units of `times`."""
        return self._answer(self._look(times, states, n_states))

    def summary(self, times: Tensor, states: Tensor, n_states: Tensor) -> Tensor:
        """How well the best rates explain the paths, (B, 8)."""
        summary = self._look(times, states, n_states, summarize=True).summary
        assert summary is not None
        return summary

    def with_summary(self, times: Tensor, states: Tensor, n_states: Tensor) -> tuple[Distribution, Tensor | None]:
        """What `forward` and `summary` return."""
        self.check(times, states, n_states)
        known = self._look(times, states, n_states, summarize=True)
        return self.distribution(self._answer(known)), known.summary

    def n_observed(self, times: Tensor, states: Tensor, n_states: Tensor) -> Tensor:
        """The number of paths, (B,)."""
        return (states[..., 0] >= 0).sum(1)

    def _look(self, times: Tensor, states: Tensor, n_states: Tensor, summarize: bool = False) -> Statistics:
        """What the likelihood says."""
        with torch.no_grad(), torch.autocast(times.device.type, enabled=False):
            return statistics(times, states, int(n_states[0]), summarize)

    def _answer(self, known: Statistics) -> Output:
        """What the network makes of that."""
        tokens = self._embed(known)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return self._read(known, self.of_pairs(tokens).float(), self.of_states(_diagonal(tokens)).float())

    def distribution(self, output: Output) -> RateLaw:
        """The law of rates and initial probabilities."""
        return RateLaw(*output)

    def _embed(self, known: Statistics) -> Tensor:
        """Tokens of pairs, (B, S, S, W), those of states on the diagonal."""
        shape = known.pairs.shape[:3]
        shared = known.globals[:, None]
        from_state = known.states[:, :, None].expand(*shape, -1)
        to_state = known.states[:, None].expand(*shape, -1)
        pairs = torch.cat([known.pairs, from_state, to_state, shared[:, None].expand(*shape, -1)], -1)
        states = torch.cat([known.states, shared.expand(*shape[:2], -1)], -1)
        return on_diagonal(self.embed_states(states), self.embed_pairs(pairs))

    def _read(self, known: Statistics, of_pairs: Tensor, of_states: Tensor) -> Output:
        """What the last layers say, relative to the fit."""
        absent, weights, shifts, factors = of_pairs.split([1, *3 * [self.n_components]], -1)
        deviation = known.deviations[..., None]
        locs = known.log_rates[..., None] + deviation * (6 * torch.tanh(shifts / 6) + self.spread)
        scales = (deviation * factors.clamp(-4, 2).exp()).clamp(max=4.0)  # moments stay finite
        lean, trust = of_states.unbind(-1)
        law = (known.initial.log() + lean).softmax(-1)
        total = (1 + known.globals[:, 0] + trust.mean(-1)).clamp(max=12).exp()  # grows with the number of paths
        locs = locs - known.log_unit[:, None, None, None]
        return absent[..., 0], weights.log_softmax(-1), locs, scales, (law * total[:, None]).clamp(min=1e-3)


def statistics(times: Tensor, states: Tensor, n_states: int, summarize: bool = False) -> Statistics:
    """Fits rates to paths (B, P, L) and says what is known of them; with or without the summary."""
    panel = build_panel(times, states, N_NODES)
    fit = improve(panel.paths(0, FEW), start(panel, n_states), ROUNDS[0])
    fit = improve(panel, fit, ROUNDS[1])
    transitions = transition_matrices(fit.rates, panel.nodes)
    smoothed = smooth(panel, transitions.float(), fit.initial.float(), fit.noise.float())
    counts = smoothed.weights.double() * transitions
    evidence = expected_evidence(fit.rates, *used(counts, panel.nodes))
    summary = summarized(panel, fit, transitions, counts, evidence.dwell) if summarize else None
    return _describe(panel, fit, evidence, summary)


def _describe(panel: Panel, fit: Fit, evidence: Evidence, summary: Tensor | None) -> Statistics:
    """Features of moderate size."""
    n_states = fit.rates.shape[-1]
    eye = torch.eye(n_states, dtype=torch.bool, device=fit.rates.device)
    deviations = _deviations(evidence.information, eye)
    log_rates = fit.rates.masked_fill(eye, 1.0).log()
    exits = fit.rates.sum(-1)
    mean_gap = panel.gaps.double().sum((1, 2)) / panel.pairs.sum((1, 2)).clamp(min=1)
    changes = ((panel.states.diff(dim=-1) != 0) & panel.pairs).sum((1, 2))
    n_paths, n_labels = panel.seen[..., 0].sum(1), panel.seen.sum((1, 2))
    jumps = evidence.jumps.masked_fill(eye, 1.0)
    expected = (fit.rates * evidence.dwell[..., None]).masked_fill(eye, 1.0)
    occupied = evidence.dwell / evidence.dwell.sum(-1, keepdim=True).clamp(min=1e-9)
    pairs = [log_rates, log_rates.mT, deviations.log(), _log(jumps), _log(jumps.mT), _log(expected)]
    steps = exits * mean_gap[:, None]
    spent = [_log(evidence.dwell), _log(occupied), fit.initial.log(), _log(exits), _log(steps), _log(1 / exits)]
    horizon = panel.gaps.double().sum(-1).amax(1)
    log_paths = n_paths.double().log()
    whole = [
        log_paths,
        (n_labels / n_paths).log(),
        fit.noise.logit() / 2,
        _log(mean_gap),
        _log(horizon),
        _log(panel.first.double().mean(1)),
        (changes + 1).double().log(),
        torch.full_like(log_paths, n_states - 4.0),
    ]
    scaled = [torch.stack(part, -1).float() for part in (pairs, spent, whole)]
    scaled = [scaled[0] / 2, scaled[1] / 2, scaled[2].clamp(-REACH, REACH)]
    unit = panel.unit.log().float()
    return Statistics(log_rates.float(), deviations.float(), fit.initial.float(), unit, *scaled, summary=summary)


def _deviations(information: Tensor, eye: Tensor) -> Tensor:
    """Standard deviations of log rates from information (B, E, E), a little prior included, (B, S, S)."""
    ridge = torch.diag_embed(torch.full_like(information[..., 0], SHAPE))
    variances = torch.linalg.inv(information + ridge).diagonal(dim1=-2, dim2=-1)
    result = torch.ones(len(information), *eye.shape, dtype=information.dtype, device=information.device)
    result[:, ~eye] = variances.clamp(1e-8, 4.0).sqrt()
    return result


def _log(x: Tensor) -> Tensor:
    """Logarithm, not below that of 0.001."""
    return x.clamp(min=1e-3).log()


def _diagonal(tokens: Tensor) -> Tensor:
    """Tokens (B, S, W) of the states among those of pairs."""
    return tokens.diagonal(dim1=1, dim2=2).mT
