"""A stand-in for a network that reads rates off paths, with answers that are known by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from priorfit.checkpoints import Checkpoint
from priorfit.distributions import RateLaw
from priorfit.models import Network, networks

SCALE = 0.5  # of the logarithm of every rate
ABSENT = -2.0  # logit of the probability that there is none


@networks.register("jump_counter")
class JumpCounter(Network):
    """Counts changes and time, as if every jump were seen: exp(loc) = (changes from i to j + 1) / (time in i).

    Time in state i is that until the next observation, with the mean of all gaps added. Each initial probability counts
    first observations and one more. Keeps the arguments of its calls.
    """

    def __init__(self, max_states: int = 6, size: int = 1) -> None:
        super().__init__()
        self.max_states = max_states
        self.ballast = nn.Parameter(torch.zeros(size))  # weight that a pickle should not carry
        self.calls: list[tuple[Tensor, ...]] = []

    def compute(self, *observed: Tensor) -> tuple[Tensor, Tensor]:
        times, states, n_states = observed
        assert times.dtype == torch.float64
        assert states.dtype == n_states.dtype == torch.int64
        assert times.shape == states.shape
        assert times.isfinite().all()
        assert n_states.tolist() == [int(n_states[0])] * len(times)
        self.calls.append(observed)
        shown = functional.one_hot(states + 1, int(n_states[0]) + 1)[..., 1:].float()  # (B, P, L, S)
        before, after = shown[:, :, :-1] * shown[:, :, 1:].sum(-1, keepdim=True), shown[:, :, 1:]
        gaps = times.diff(dim=-1).float()[..., None]
        changes = torch.einsum("bpli,bplj->bij", before, after)
        spent = (gaps * before).sum((1, 2))  # (B, S)
        spent = spent + (spent.sum(-1) / changes.sum((1, 2)))[:, None]
        return ((changes + 1) / spent[..., None]).log(), shown[:, :, 0].sum(1) + 1

    def distribution(self, output: tuple[Tensor, Tensor]) -> RateLaw:
        locs, concentration = output
        one = locs[..., None]
        return RateLaw(
            torch.full_like(locs, ABSENT), torch.zeros_like(one), one, torch.full_like(one, SCALE), concentration
        )


def counter(max_states: int = 6) -> Checkpoint:
    """The stand-in as a checkpoint."""
    return Checkpoint(JumpCounter(max_states).eval(), {"provenance": {}})
