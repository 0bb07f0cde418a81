r"""The Fisher-trace penalty: a network whose answers do not jump when measured values change a little.

Source: Glöckler, Deistler and Macke 2023, "Adversarial robustness of amortized Bayesian inference", section 4.
Letters: B tasks, V values per task that a distribution is about, each with a law of its own; x measured values, in
units of `MeasuredUnits`; q the network's distribution.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorfit.priors import Prior, Task
from priorfit.training.measured_units import MeasuredUnits
from priorfit.training.task_stream import PENALTY, task_generator


class FisherPenalty:
    r"""weight tr F(x), averaged over tasks, with F = E_q[grad_x log q (grad_x log q)^T].

    KL(q(.|x) || q(.|x + d)) is d^T F d / 2 to second order, so that the mean KL under perturbations d ~ N(0, s² I) is
    s² tr F / 2: a weight w adds the KL of noise of s = sqrt(2 w) standard deviations to the loss. The trace is
    estimated by one draw from q per task, and one backward pass that is itself differentiated. As tasks are never seen
    twice that suffices, without the moving average of the original.

    Args:
        weight: positive.
        prior: tells what was measured, and its units.
        seed: of the draws.

    Raises:
        ValueError: a weight that is not positive, or a prior without measured numbers.
    """

    def __init__(self, weight: float, prior: Prior, seed: int) -> None:
        if not 0 < weight < float("inf"):
            raise ValueError(f"The weight of the Fisher-trace penalty must be positive, or 0 for none, not {weight!r}.")
        self.weight, self.seed, self.units = weight, seed, MeasuredUnits(prior)

    def watched(self, task: Task) -> Task:
        """The same tasks, ready for derivatives by their measured values."""
        name = task.observed.measured
        values = getattr(task.observed, name).detach().requires_grad_()
        return Task(task.observed._replace(**{name: values}), task.hidden, task.law)

    def trace(self, predicted: Distribution, observed: Any, rank: int, index: int) -> Tensor:
        """An unbiased estimate of the mean trace per value, differentiable.

        Args:
            predicted: q for the measured values of `observed`, which are `watched`.
            observed: of the tasks.
            rank: of this process.
            index: of the batch; with the seed and the rank it decides the draws.
        """
        values = getattr(observed, observed.measured)
        seed = task_generator(self.seed, PENALTY, rank, index).initial_seed()
        return fisher_trace(predicted, values, self.units(observed), seed)


def fisher_trace(predicted: Distribution, values: Tensor, units: Tensor, seed: int) -> Tensor:
    """The trace of F in the given units by one draw for each task, mean over tasks and the V values of each.

    The scores of the V values are independent and have mean zero, so that the square of their sum will do. Value and
    gradient are unbiased: the latter counts that the draws' law changes with the network.

    Args:
        predicted: q, batch shape (B, …).
        values: that q was computed from, (B, …), which require gradients.
        units: of `values`, of their shape.
        seed: of the draws; torch's global generator is left as it was.
    """
    with torch.random.fork_rng([values.device] if values.device.type == "cuda" else []):
        torch.manual_seed(seed)
        drawn = predicted.sample()
    log_prob = predicted.log_prob(drawn)
    (score,) = torch.autograd.grad(log_prob.sum(), values, create_graph=True, materialize_grads=True)
    traces = (score * units).square().flatten(1).sum(1)  # (B,)
    return drawn_with_gradient(traces, log_prob.reshape(len(values), -1).sum(1)).sum() / log_prob.numel()


def drawn_with_gradient(found: Tensor, log_prob: Tensor) -> Tensor:
    """Values (B,) found by draws, with a gradient that is also that of the draws' law.

    For E_q[f]: grad f + f grad log q, with the mean over the other draws taken from the second f, which makes it less
    noisy (the likelihood-ratio method with a leave-one-out baseline: Kool et al. 2019, "Buy 4 REINFORCE Samples, Get a
    Baseline for Free!").

    Args:
        found: f at the draws.
        log_prob: log q of the draws.
    """
    fixed = found.detach()
    others = (fixed.sum() - fixed) / max(1, len(fixed) - 1)
    change = (fixed - others) * log_prob
    return found + change - change.detach()
