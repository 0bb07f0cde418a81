"""Whether observed data look like anything that a prior draws: a prior-predictive check calibrated on the prior.

Source: Box 1980, "Sampling and Bayes' inference in scientific modelling and robustness"; Tippett 1931, "The methods of
statistics" (the smallest of several p-values).
Letters: B tasks, J summaries, G sizes, Q levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from priorfit.models import Network
from priorfit.priors import Prior

LEVELS = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)  # of the quantiles that are kept of each summary
MIDDLE = LEVELS.index(0.5)
RARE = 1 / 200  # share of the prior's own draws whose score is above 1
BULK = 0.9  # level of the distances that thresholds of single sizes start from
MOST_SIZES = 7
FEWEST = 100  # draws of one size
BATCH = 20  # tasks per call: what a batch shares, such as the number of columns, is to vary
NARROWEST = 0.01  # step between two quantiles, relative to all of them: summaries may have one value often
SHORTEST_TAIL = 0.2  # unit of a tail, relative to that of its half of the quantiles
STREAM = 2**20  # keeps draws apart from those that a training with the same seed sees
FARTHEST = 1e6  # score of a summary: keeps squares finite


class Comparison(NamedTuple):
    """How tasks compare with the prior's draws."""

    score: Tensor  # (B,); 1 in 200 draws of the prior is above 1
    deviations: Tensor  # (B, J): normal scores of the summaries among the prior's draws, 0 where not defined


@dataclass(frozen=True, eq=False)
class PriorCheck:
    """Compares a network's summaries of observed data with those of its prior's draws of the same size.

    Each summary is turned into a normal score by the quantiles that it has under the prior, with exponential tails. The
    score of a task is the largest of their sizes, divided by a threshold that 1 in 200 fresh draws of the prior
    exceeds. Between two sizes of tasks everything is interpolated, linearly in log(1 + n).

    Attributes:
        names: what the summaries are, in plain words, J of them.
        sizes: how much is observed of a task, increasing, (G,).
        quantiles: of the summaries at `LEVELS`, (G, J, Q); NaN where a size does not define one.
        thresholds: largest normal scores that 1 in 200 draws exceeds, (G,); NaN where no summary is defined.
    """

    names: tuple[str, ...]
    sizes: Tensor
    quantiles: Tensor
    thresholds: Tensor

    @classmethod
    def fit(
        cls,
        network: Network,
        prior: Prior,
        *,
        context_sizes: Sequence[int] | None = None,
        tasks: int = 4000,
        seed: int = 0,
    ) -> Self | None:
        """Learns what the prior draws; for the threshold each half of the draws is scored by the other.

        Args:
            network: offers the summaries.
            prior: draws the tasks.
            context_sizes: how much is observed of them; by default a few, up to the largest at which the prior is
                evaluated.
            tasks: number of draws in all.
            seed: of the draws.

        Returns:
            The check; None where the network offers no summary, the prior does not tell its sizes, or there are fewer
            than 100 draws.

        Raises:
            ValueError: fewer than 100 draws for each of the given sizes.
        """
        most = min(MOST_SIZES, tasks // FEWEST)
        sizes = _sizes(prior, most) if context_sizes is None else sorted(set(context_sizes))
        if not network.summary_names or not sizes:
            return None
        each = tasks // len(sizes)
        if each < FEWEST:
            raise ValueError(f"{tasks} draws are too few for {len(sizes)} sizes: at least {FEWEST} each are needed.")
        drawn = [_summaries(network, prior.with_context(size, 1), each, (seed, size, STREAM)) for size in sizes]
        quantiles = torch.stack([_quantiles(values) for values, _ in drawn])
        largest = [_scored_afresh(values) for values, _ in drawn]
        observed = torch.stack([size.mean() for _, size in drawn])
        check = cls(network.summary_names, observed, quantiles, _thresholds(largest))
        return cls.from_document(check.document())  # what is saved says the same

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self | None:
        """The check that `document` describes, None for None: the checkpoint has none."""
        if document is None:
            return None
        keys = ("sizes", "quantiles", "thresholds")
        arrays = [torch.from_numpy(np.array(document[key], dtype=np.float64)) for key in keys]  # None becomes NaN
        return cls(tuple(document["names"]), *arrays)

    def document(self) -> dict[str, Any]:
        """The check as JSON holds it, to five digits."""
        return {
            "names": list(self.names),
            "sizes": _plain(self.sizes),
            "quantiles": _plain(self.quantiles),
            "thresholds": _plain(self.thresholds),
        }

    def score(self, network: Network, observed: Sequence[Tensor]) -> Tensor:
        """How unlike the prior's draws tasks are, (B,), float64: above 1 are 1 in 200 draws, and data unlike them.

        Args:
            network: the one that the check was fitted with.
            observed: the observed part of B tasks: the network's arguments.
        """
        with torch.inference_mode():
            summary, n_observed = network.summary(*observed), network.n_observed(*observed)
        assert summary is not None  # there would be no check
        return self.compare(summary, n_observed).score

    def compare(self, summary: Tensor, n_observed: Tensor) -> Comparison:
        """Scores of tasks with these summaries (B, J), of which so much is observed (B,)."""
        places, at = self.sizes.log1p(), n_observed.cpu().double().log1p()
        above = torch.searchsorted(places, at).clamp(1, max(1, len(places) - 1)).clamp(max=len(places) - 1)
        below = (above - 1).clamp(min=0)
        gap = (places[above] - places[below]).clamp(min=1e-9)
        share = ((at - places[below]) / gap).clamp(0, 1)
        quantiles, thresholds = (_lerp(part[below], part[above], share) for part in (self.quantiles, self.thresholds))
        deviations = normal_scores(summary.cpu().double(), quantiles)
        return Comparison((_largest(deviations) / thresholds).nan_to_num(0), deviations)


def _sizes(prior: Prior, most: int) -> list[int]:
    """At most so many from 1 to the largest at which a prior is evaluated, evenly spaced in their logarithms."""
    try:
        largest = max(prior.context_sizes())
    except ValueError:  # it does not tell
        return []
    if most < 1 or not largest:
        return []
    return sorted(set(np.geomspace(largest, 1, most).round().astype(int).tolist()))


@torch.inference_mode()
def _summaries(network: Network, prior: Prior, n_tasks: int, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Summaries (n_tasks, J) of draws of a prior, and how much is observed of each, (n_tasks,); float64."""
    device = next(network.parameters()).device
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    generator = Generator(device).manual_seed(state & (2**63 - 1))
    parts = []
    for start in range(0, n_tasks, BATCH):
        observed = prior.sample(min(BATCH, n_tasks - start), generator=generator).observed
        summary = network.summary(*observed)
        assert summary is not None  # it has names
        parts.append((summary.cpu().double(), network.n_observed(*observed).cpu().double()))
    summaries, sizes = (torch.cat(part) for part in zip(*parts, strict=True))
    order = torch.randperm(n_tasks, generator=torch.Generator().manual_seed(seed[0]))  # both halves of all batches
    return summaries[order], sizes


def _quantiles(values: Tensor) -> Tensor:
    """Of draws (B, J), (J, Q); NaN for summaries that most draws do not define."""
    levels = torch.tensor(LEVELS, dtype=values.dtype)
    rare = values.isnan().double().mean(0) > 0.5
    return values.nanquantile(levels, 0).mT.masked_fill(rare[:, None], torch.nan)


def normal_scores(values: Tensor, quantiles: Tensor) -> Tensor:
    """Normal quantiles of the levels of values (B, J) with quantiles (J, Q) or (B, J, Q); 0 where not defined.

    Linear between the quantiles; beyond them tails are taken to be exponential, as fast as the last quantiles tell.
    """
    knots = Normal(0.0, 1.0).icdf(torch.tensor(LEVELS, dtype=torch.float64))
    range_ = (quantiles[..., -1:] - quantiles[..., :1]).nan_to_num(0)
    steps = quantiles.diff(dim=-1).nan_to_num(0).maximum(NARROWEST * range_)
    middle = quantiles[..., MIDDLE, None]
    up, down = steps[..., MIDDLE:], steps[..., :MIDDLE].flip(-1)
    away = (values[..., None] - middle).nan_to_num(0, posinf=FARTHEST**2, neginf=-(FARTHEST**2))
    rises = knots.diff()
    score = _climb(away, up, rises[MIDDLE:]) - _climb(-away, down, rises[:MIDDLE].flip(-1))
    return torch.where((range_[..., 0] > 0) & ~values.isnan(), score, 0.0).clamp(-FARTHEST, FARTHEST)


def _climb(away: Tensor, steps: Tensor, rises: Tensor) -> Tensor:
    """Scores (B, J) of values above the median by `away` (B, J, 1), 0 below it, given steps between quantiles.

    With an exponential tail beyond the last quantile the score z grows as -log P = z² / 2 + const does with the value.
    """
    steps = steps.clamp(min=1e-300)
    ends, last = steps.cumsum(-1), rises.sum()
    inside = ((away - ends + steps).clamp(min=0).minimum(steps) / steps * rises).sum(-1)
    before = last - rises[-1]
    unit = 2 * (steps[..., -1] / (last**2 - before**2)).maximum(SHORTEST_TAIL * ends[..., -1] / last**2)
    beyond = (away[..., 0] - ends[..., -1]).clamp(min=0) / unit
    return torch.where(beyond > 0, (last**2 + 2 * beyond).sqrt(), inside)


def _scored_afresh(values: Tensor) -> Tensor:
    """The largest normal score of each of the draws (B, J), among those of the other half, (B,)."""
    first, second = values.tensor_split(2)
    pairs = ((first, _quantiles(second)), (second, _quantiles(first)))
    return torch.cat([_largest(normal_scores(*pair)) for pair in pairs])


def _largest(scores: Tensor) -> Tensor:
    """The largest size of normal scores (B, J), (B,)."""
    return scores.abs().amax(-1)


def _thresholds(largest: Sequence[Tensor]) -> Tensor:
    """Of each size, from scores of fresh draws: a quantile of the bulk times a factor that all sizes share."""
    bulk = torch.stack([part.quantile(BULK) for part in largest])
    bulk = torch.where(bulk > 0, bulk, torch.nan)  # so little is observed that no summary is defined
    ratios = torch.cat([part / own for part, own in zip(largest, bulk, strict=True)])
    return bulk * ratios.nanquantile(1 - RARE)


def _lerp(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    """Between two values, where both are defined; else the one that is."""
    share = share.view(-1, *[1] * (low.ndim - 1))
    low, high = torch.where(low.isnan(), high, low), torch.where(high.isnan(), low, high)
    return low + share * (high - low)


def _plain(values: Tensor) -> Any:
    """Nested lists of numbers of five digits, None for NaN."""
    if values.ndim:
        return [_plain(part) for part in values]
    return None if values.isnan() else float(f"{values.item():.5g}")
