"""Posterior densities of the weights of Bayesian neural networks, for priors that fix the architecture.

Letters: C chains, B tasks, N = n + m rows (n context rows, then m queries), F features, H hidden units, P parameters,
Q quadrature nodes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from priorfit.priors import BNN, LinearBNN, Prior, Task
from priorfit.priors.activations import ACTIVATIONS
from priorfit.priors.scm_laws import Hyper
from priorfit.priors.table_pieces import ClassTarget, NumberTarget
from priorfit.priors.table_prior import LABEL_DRAWS

NODES = 32  # Q
FAR, LOWEST = 7.0, -100.0  # margins and log probabilities beyond which nothing changes, and arithmetic slows down
SETTING = "{kind: classes, number: 2, by_value: 1, balanced: 0} or {kind: number}"


class WeightPosterior(ABC):
    """The parameters of one network per task, all standard normal a priori, given the task's context.

    Args:
        task: what is observed; of the hidden part nothing is used.

    Attributes:
        size: P.
    """

    size: int

    def __init__(self, task: Task) -> None:
        table = task.observed
        self.n_context = table.y_context.shape[1]
        self.x = torch.cat([table.x_context, table.x_query], 1).double()  # (B, N, F)
        self.y = table.y_context.double()  # (B, n)

    def log_density(self, theta: Tensor) -> Tensor:
        """Log density of parameters (C, B, P), up to a constant: (C, B)."""
        return self.log_likelihood(theta) - theta.square().sum(-1) / 2

    @abstractmethod
    def log_likelihood(self, theta: Tensor) -> Tensor:
        """Log probability (density) of the context's targets, (C, B)."""

    @abstractmethod
    def predict(self, theta: Tensor) -> Tensor:
        """The queries' mean, or probability of class 1, (C, B, m)."""

    @abstractmethod
    def log_prob(self, predicted: Tensor, hidden: Tensor) -> Tensor:
        """Log probability (density) of hidden targets (B, m) given what `predict` gave, (..., B, m)."""


class BinaryPosterior(WeightPosterior):
    """Two classes."""

    def log_prob(self, predicted: Tensor, hidden: Tensor) -> Tensor:
        """Of `hidden`, 0 or 1."""
        return torch.where(hidden == 1, predicted, 1 - predicted).clamp(min=1e-300).log()


class LinearPosterior(BinaryPosterior):
    """Of `LinearBNN`: two layers with nothing between them."""

    def __init__(self, prior: LinearBNN, task: Task) -> None:
        super().__init__(task)
        self.hidden = prior.hidden
        self.size = self.hidden * (self.x.shape[2] + 1) + self.hidden + 1
        self.sign = 2 * self.y - 1

    def logits(self, theta: Tensor) -> Tensor:
        """Log odds of class 1 at all rows, (C, B, N); the second layer's weights are differences of two."""
        n_features = self.x.shape[2]
        first, second = theta[..., : -self.hidden - 1], math.sqrt(2) * theta[..., -self.hidden - 1 :]
        first = first.unflatten(-1, (n_features + 1, self.hidden))
        hidden = self.x @ first[..., :-1, :] + first[..., -1:, :]  # (C, B, N, H)
        return (hidden @ second[..., :-1, None])[..., 0] + second[..., -1:]

    def log_likelihood(self, theta: Tensor) -> Tensor:
        """Bernoulli, with logits."""
        return logsigmoid(self.sign * self.logits(theta)[..., : self.n_context]).sum(-1)

    def predict(self, theta: Tensor) -> Tensor:
        """Chance of class 1."""
        return self.logits(theta)[..., self.n_context :].sigmoid()


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
        width = sd / self.noise
        return from_mean - width * theta[..., -1:], from_mean[..., : self.n_context, None] - width[
            ..., None
        ] * self.nodes

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


def weight_posterior(prior: Prior, task: Task) -> WeightPosterior:
    """The posterior of the weights behind a batch of tasks.

    Raises:
        ValueError: a prior whose posterior is not known here; the message says what would be.
    """
    if isinstance(prior, LinearBNN):
        return LinearPosterior(prior, task)
    if not isinstance(prior, BNN):
        raise ValueError(f"HMC is for the priors 'bnn' and 'linear_bnn', not for '{prior.registered_name}'.")
    wrong = obstacles(prior)
    if wrong:
        raise ValueError(f"HMC needs a bnn with a fixed architecture; change: {'; '.join(wrong)}.")
    return (ClassPosterior if prior.target.most_classes else NumberPosterior)(prior, task)


def obstacles(prior: BNN) -> list[str]:
    """What stands in the way of a density: settings, each with what it should be."""
    laws = {name: getattr(prior, name) for name in ("depth", "width", "weight_scale", "noise")}
    wrong = [f"{name} must be a number" for name, law in laws.items() if law.law is None or not law.law.fixed]
    wrong += ["activations must be one"] * (len(prior.activations) > 1)
    wrong += ["sparsity must be 0"] * (prior.sparsity > 0)
    wrong += ["unit_noise must be None"] * (prior.unit_noise is not None)
    wrong += ["standardized must be False"] * prior.standardized
    wrong += ["columns must be None"] * bool(prior.pieces)
    return wrong + [f"the target must be {SETTING}"] * (not plain_target(prior))


def plain_target(prior: BNN) -> bool:
    """Whether the target is one whose law is known: see `SETTING`."""
    target = prior.target
    if target.noise is not None or target.warp:
        return False
    if not isinstance(target, ClassTarget):
        return isinstance(target, NumberTarget)
    cut_by_value = target.by_value == 1 and not (target.balanced or target.nearest or target.flip)
    return (target.low, target.high) == (2, 2) and cut_by_value


def fixed(law: Hyper) -> float:
    """The value of a hyperparameter that does not vary."""
    assert law.law is not None
    assert law.law.value is not None
    return min(law.law.value + law.minimum, law.maximum)
