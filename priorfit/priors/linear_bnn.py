"""The first published "Bayesian neural network" of PFNs, which has no activation: logistic regression with a scale.

Source: Müller et al. 2022, "Transformers Can Do Bayesian Inference", section 5.3, and the code released with it.
Letters: B tasks, n context rows, m queries, F features, H hidden units, D = F + 1 coefficients, S importance draws,
Q quadrature nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import Categorical

from priorfit.priors.base import Prior, Reference, check_batch_size, priors
from priorfit.priors.sized_prior import SizedPrior
from priorfit.priors.task import Table, Task

IMPORTANCE_SEED = 20_220_519  # references are deterministic
IMPORTANCE_ELEMENTS = 4_000_000  # logits held at a time
NODES = 32  # Q
BOUND_STEPS, ADAPTATIONS = 15, 10
FREEDOM = 8.0  # degrees of freedom of the proposal


class Draws(NamedTuple):
    """Standard multivariate Student-t draws, which every task moves and stretches."""

    values: Tensor  # (S, D)
    log_density: Tensor  # (S,)


class Averaged(Categorical):
    """Class probabilities averaged over weighted draws.

    Attributes:
        mixture_distribution: the draws' weights, (B, 1, S).
    """

    def __init__(self, probs: Tensor, weights: Tensor) -> None:
        super().__init__(probs, validate_args=False)
        self.mixture_distribution = Categorical(weights[:, None], validate_args=False)


@priors.register("linear_bnn")
class LinearBNN(SizedPrior):
    r"""Two linear layers with nothing between them, two classes.

    x ~ N(0, I), logits = A (W x + v) + c with all weights and biases N(0, 1), y ~ Categorical(softmax(logits)).
    With u the difference of A's two rows, s = |u|² ~ 2 chi²(H), and the log odds of class 1 are w·x + b with
    w | s ~ N(0, s I) and b | s ~ N(0, s + 2). `posterior` integrates s out by quadrature, which leaves D
    coefficients: these by importance sampling, from a Student-t fitted to each task's posterior.

    Args:
        sizes: arguments of `Sizes`: points, features, context.
        hidden: H.
        importance_draws: S, draws per task that `posterior` averages over.

    Raises:
        ValueError: impossible sizes or counts.
    """

    reference: Reference | None = "importance sampling"

    def __init__(self, sizes: Mapping[str, Any], hidden: int = 5, importance_draws: int = 2000) -> None:
        super().__init__(sizes)
        for name, count in (("hidden", hidden), ("importance_draws", importance_draws)):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be a whole number >= 1, not {count!r}.")
        if self.sizes.ordered:
            raise ValueError("The rows of a table have no order: sizes takes neither ordered nor context=prefix here.")
        self.hidden, self.importance_draws = hidden, importance_draws

    def measurements(self, observed: Table) -> Tensor:
        """None: the indices of classes are not measured."""
        return torch.zeros_like(observed.y_context, dtype=torch.bool)

    def shifts(self) -> dict[str, Prior]:
        """Steeper and flatter networks: log odds grow as √H."""
        return self.changed({"hidden units × 4": {"hidden": 4 * self.hidden}, "one hidden unit": {"hidden": 1}})

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks; `law` is each query's law given the weights."""
        n, m, n_features = self.sizes.draw(generator)
        options: dict[str, Any] = {"generator": generator, "device": generator.device}
        x = torch.randn(check_batch_size(batch_size), n + m, n_features, **options)
        first = torch.randn(batch_size, n_features + 1, self.hidden, **options)  # biases in the last row
        second = torch.randn(batch_size, self.hidden + 1, 2, **options)
        hidden = x @ first[:, :-1] + first[:, -1:]
        logits = hidden @ second[:, :-1] + second[:, -1:]  # (B, N, 2)
        chance = (logits[..., 1] - logits[..., 0]).sigmoid()
        y = (torch.rand(chance.shape, **options) < chance).long()  # (B, N)
        categorical = torch.zeros(batch_size, n_features, dtype=torch.bool, device=x.device)
        observed = Table(x[:, :n], y[:, :n].float(), x[:, n:], categorical, y.new_full((batch_size,), 2))
        return Task(observed, y[:, n:], Categorical(logits=logits[:, n:], validate_args=False))

    def posterior(self, task: Task) -> Categorical:
        """Posterior predictive of the query classes, batch shape (B, m), float64."""
        table = task.observed
        x_context, x_query = (with_constant(x.double()) for x in (table.x_context, table.x_query))
        sign = 2 * table.y_context.double() - 1  # (B, n)
        draws = self._draws(x_query.shape[-1], x_query.device)
        chunk = max(1, IMPORTANCE_ELEMENTS // (self.importance_draws * max(x_context.shape[1], NODES)))
        parts = [
            self._predict(sign_part[..., None] * context, query, draws)
            for context, sign_part, query in zip(
                x_context.split(chunk), sign.split(chunk), x_query.split(chunk), strict=True
            )
        ]
        chance, weights = (torch.cat(some) for some in zip(*parts, strict=True))
        return Averaged(torch.stack([1 - chance, chance], -1), weights)

    def log_prior(self, theta: Tensor) -> Tensor:
        """Log density of coefficients (..., D), the last of which is b: (...)."""
        scale, log_weight = self._scales(theta.device)  # (Q,) each
        w, b = theta[..., :-1].square().sum(-1, keepdim=True), theta[..., -1:].square()
        exponent = w / scale + b / (scale + 2)  # (..., Q)
        log_det = (theta.shape[-1] - 1) * scale.log() + (scale + 2).log() + theta.shape[-1] * math.log(2 * math.pi)
        return (log_weight - 0.5 * (exponent + log_det)).logsumexp(-1)

    def _scales(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Nodes of s = 2 chi²(H), equally spaced in log s, and the logarithms of their weights."""
        h = self.hidden
        first, last = -12 / math.sqrt(h), math.log(1 + (2 * math.sqrt(20 * h) + 40) / h)  # beyond: about e^-20
        ratio = torch.linspace(first, last, NODES, dtype=torch.float64, device=device)  # log (s / 2 H)
        return 2 * h * ratio.exp(), (h / 2 * (ratio - ratio.exp())).log_softmax(0)

    def _draws(self, n_coefficients: int, device: torch.device) -> Draws:
        """The same standard draws for every task."""
        generator = torch.Generator(device).manual_seed(IMPORTANCE_SEED)
        shape, options = (self.importance_draws, n_coefficients), {"dtype": torch.float64, "device": device}
        normal = torch.randn(shape, generator=generator, **options)
        half = torch.full(shape[:1], FREEDOM / 2, **options)
        mixing = torch._standard_gamma(half, generator=generator)  # type: ignore[attr-defined]
        values = normal * (FREEDOM / 2 / mixing).sqrt()[:, None]
        kernel = -(FREEDOM + n_coefficients) / 2 * torch.log1p(values.square().sum(-1) / FREEDOM)
        return Draws(values, kernel)  # up to a constant

    def _predict(self, signed: Tensor, x_query: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Chances of class 1 at x_query (B, m, D) given the context times ±1 (B, n, D); and weights (B, S)."""
        mean, factor = self._bound(signed)
        for adapting in [True] * ADAPTATIONS + [False]:
            theta = mean[:, None] + draws.values @ factor.mT  # (B, S, D)
            likelihood = torch.nn.functional.logsigmoid(theta @ signed.mT).sum(-1)
            weights = (self.log_prior(theta) + likelihood - draws.log_density).softmax(-1)  # |factor| cancels
            if adapting:
                mean, factor = moments(theta, weights.clamp(max=len(draws.values) ** -0.5))
        chance = (theta @ x_query.mT).sigmoid()  # type: ignore[possibly-undefined]  # (B, S, m)
        return (weights[:, None] @ chance)[:, 0], weights  # type: ignore[possibly-undefined]

    def _bound(self, signed: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, D) and Cholesky factor of a normal approximation to the posterior where s is at its mean.

        Jaakkola and Jordan 2000, "Bayesian parameter estimation via variational methods": every step raises a
        lower bound of the evidence, also where classes are separable.
        """
        variance = signed.new_full((signed.shape[-1],), 2.0 * self.hidden)
        variance[-1] += 2
        xi = torch.ones_like(signed[..., 0])  # (B, n)
        for _ in range(BOUND_STEPS):
            curvature = (xi / 2).tanh() / (2 * xi)
            precision = (signed.mT * curvature[:, None]) @ signed + (1 / variance).diag()
            covariance = torch.linalg.inv(precision)  # (B, D, D)
            mean = (covariance @ (0.5 * signed.sum(1))[..., None])[..., 0]
            second = covariance + mean[..., None] * mean[:, None]
            xi = ((signed @ second) * signed).sum(-1).sqrt().clamp(min=1e-6)
        return mean, torch.linalg.cholesky(covariance)  # type: ignore[possibly-undefined]


def with_constant(x: Tensor) -> Tensor:
    """Inputs with a column of ones behind them."""
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)


def moments(theta: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean (B, D) of draws (B, S, D), and the Cholesky factor of their covariance."""
    weights = (weights / weights.sum(-1, keepdim=True))[..., None]
    mean = (weights * theta).sum(1)
    centred = theta - mean[:, None]
    covariance = centred.mT @ (weights * centred)
    covariance.diagonal(dim1=-2, dim2=-1).mul_(1 + 1e-6)
    return mean, torch.linalg.cholesky(covariance)
