"""Posterior densities of the weights of Bayesian neural networks whose prior fixes the architecture.

Letters: C chains, B tasks, N = n + m rows (n context rows, then m queries), F features, H hidden units, P parameters,
Q quadrature nodes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from priorfit.evaluation.weight_posterior import BinaryPosterior, WeightPosterior
from priorfit.priors import BNN, Task
from priorfit.priors.activations import ACTIVATIONS
from priorfit.priors.scm_laws import Hyper
from priorfit.priors.table_pieces import ClassTarget
from priorfit.priors.table_prior import LABEL_DRAWS

NODES = 32  # Q
FAR, LOWEST = 7.0, -100.0  # margins and log probabilities beyond which nothing changes, and arithmetic slows down


class NumberPosterior(WeightPosterior):
    """Of `BNN` with numbers and Gaussian noise."""

    def __init__(self, prior: BNN, task: Task) -> None:
        super().__init__(task)
        self.depth, self.width = (max(1, round(fixed(law))) for law in (prior.depth, prior.width))
        self.scale, self.noise = fixed(prior.weight_scale), fixed(prior.noise)
        self.activation = ACTIVATIONS[prior.activations[0]]
        self.layers = [self.x.shape[2], *[self.width] * self.depth]  # inputs of every layer
        self.n_weights = sum((i + 1) * self.width for i in self.layers[:-1]) + self.width
        self.size = self.n_weights

    def outputs(self, theta: Tensor) -> Tensor:
        """The network's output at all rows, (C, B, N); parameters are layers of weights and biases, then v."""
        hidden, start = self.x, 0
        for fan_in in self.layers[:-1]:
            stop = start + (fan_in + 1) * self.width
            layer = theta[..., start:stop].unflatten(-1, (fan_in + 1, self.width))
            linear = hidden @ layer[..., :-1, :] / math.sqrt(fan_in) + layer[..., -1:, :]  # (C, B, N, H)
            hidden, start = self.activation(self.scale * linear), stop
        return (hidden @ theta[..., start : start + self.width, None])[..., 0] / math.sqrt(self.width)

    def log_likelihood(self, theta: Tensor) -> Tensor:
        """Normal, up to a constant."""
        error = (self.outputs(theta)[..., : self.n_context] - self.y) / self.noise
        return -error.square().sum(-1) / 2

    def predict(self, theta: Tensor) -> Tensor:
        """The outputs."""
        return self.outputs(theta)[..., self.n_context :]

    def log_prob(self, predicted: Tensor, hidden: Tensor) -> Tensor:
        """Normal."""
        error = (hidden - predicted) / self.noise
        return -error.square() / 2 - math.log(self.noise * math.sqrt(2 * math.pi))


class ClassPosterior(BinaryPosterior, NumberPosterior):
    """Of `BNN` with two classes: noisy outputs, cut at mean + sd z over all rows; z is one more parameter.

    The prior draws labels again until both classes occur, up to a number of times, and then another network. With q a
    network's probability, over z and the noise, that one does not occur, this multiplies the likelihood by
    1 + q + q² + …, one term for each attempt. Quadrature over z gives its logarithm to about .003 where the noise is .2
    and to .06 (four rows) or .01 (twenty) where it is .05, for tanh networks of depth 2 and weight scale 2.
    """

    def __init__(self, prior: BNN, task: Task) -> None:
        super().__init__(prior, task)
        assert isinstance(prior.target, ClassTarget)
        self.size = self.n_weights + 1
        self.upper = (1 + prior.target.ordered) / 2  # probability that class 1 is the upper one
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        self.nodes, self.weights = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())

    def margins(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Distance from the threshold, in noise levels, (C, B, N); and that from each node's, (C, B, n, Q)."""
        values = self.outputs(theta)
        mean, sd = values.mean(-1, keepdim=True), values.var(-1, correction=0, keepdim=True).clamp(min=1e-12).sqrt()
        from_mean = (values - mean) / self.noise
        width = sd / self.noise  # (C, B, 1)
        from_nodes = from_mean[..., : self.n_context, None] - width[..., None] * self.nodes
        return from_mean - width * theta[..., -1:], from_nodes

    def orders(self, margin: Tensor) -> Tensor:
        """Log probability of the context, and of class 1 being the upper or the lower one, (C, B, 2)."""
        sign = 2 * self.y - 1
        both = [torch.special.log_ndtr(s * sign * margin[..., : self.n_context]).sum(-1) for s in (1, -1)]
        chances = torch.tensor([self.upper, 1 - self.upper], dtype=torch.float64)
        return torch.stack(both, -1) + chances.log()

    def log_likelihood(self, theta: Tensor) -> Tensor:
        """Probability of the labels, among attempts in which both classes occur."""
        margin, from_nodes = self.margins(theta)
        likelihood = self.orders(margin).logsumexp(-1)
        if self.n_context < 2:
            return likelihood
        level = torch.special.ndtr(from_nodes.clamp(-FAR, FAR))
        logs = (chance.log().sum(-2).clamp(min=LOWEST) for chance in (level, 1 - level))  # (C, B, Q)
        above, below = (log.exp() for log in logs)
        missing = ((above + below) * self.weights).sum(-1).clamp(max=1)
        attempts = torch.arange(LABEL_DRAWS + 1)
        return likelihood + missing[..., None].pow(attempts).sum(-1).log()

    def predict(self, theta: Tensor) -> Tensor:
        """Chance of class 1, over both orders."""
        margin, _ = self.margins(theta)
        upper = torch.special.ndtr(margin[..., self.n_context :])
        first = self.orders(margin).softmax(-1)[..., :1]
        return first * upper + (1 - first) * (1 - upper)


def fixed(law: Hyper) -> float:
    """The value of a hyperparameter that does not vary."""
    assert law.law is not None
    assert law.law.value is not None
    return min(law.law.value + law.minimum, law.maximum)
