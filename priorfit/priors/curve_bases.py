"""Eleven families of saturating curves, with priors on their parameters.

Source of the families: Domhan et al. 2015, "Speeding Up Automatic Hyperparameter Optimization of Deep Neural
Networks by Extrapolation of Learning Curves"; of the priors: the code released with Adriaensen et al. 2023,
"Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted Networks".

Every function takes x = ln t, as powers of the step t are exponentials of x, and parameters that broadcast
against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor


def pow3(x: Tensor, c: Tensor, a: Tensor, alpha: Tensor) -> Tensor:
    """c - a t^-alpha."""
    return c - a * torch.exp(-alpha * x)


def ilog2(x: Tensor, c: Tensor, a: Tensor) -> Tensor:
    """c - a / ln(t + 1)."""
    return c - a / torch.exp(x).log1p()


def janoschek(x: Tensor, a: Tensor, b: Tensor, k: Tensor, delta: Tensor) -> Tensor:
    """a - (a - b) exp(-k t^delta)."""
    return a - (a - b) * torch.exp(-k * torch.exp(delta * x))


def log_power(x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a / (1 + (t / e^b)^c)."""
    return a * torch.sigmoid(-c * (x - b))


def weibull(x: Tensor, alpha: Tensor, beta: Tensor, k: Tensor, delta: Tensor) -> Tensor:
    """alpha - (alpha - beta) exp(-(k t)^delta)."""
    return alpha - (alpha - beta) * torch.exp(-torch.exp(delta * (k.log() + x)))


def mmf(x: Tensor, alpha: Tensor, beta: Tensor, k: Tensor, delta: Tensor) -> Tensor:
    """alpha - (alpha - beta) / (1 + (k t)^delta)."""
    return alpha - (alpha - beta) * torch.sigmoid(-delta * (k.log() + x))


def vap(x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """exp(a + b / t + c ln t)."""
    return torch.exp(a + b * torch.exp(-x) + c * x)


def loglog_linear(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """ln(a ln t + b)."""
    return torch.log(a * x + b)


def exp4(x: Tensor, c: Tensor, a: Tensor, alpha: Tensor, b: Tensor) -> Tensor:
    """c - exp(-a t^alpha + b)."""
    return c - torch.exp(b - a * torch.exp(alpha * x))


def pow4(x: Tensor, c: Tensor, a: Tensor, b: Tensor, alpha: Tensor) -> Tensor:
    """c - (a t + b)^-alpha."""
    return c - torch.exp(-alpha * torch.log(a * torch.exp(x) + b))


def hill3(x: Tensor, theta: Tensor, eta: Tensor, kappa: Tensor) -> Tensor:
    """theta t^eta / (kappa^eta + t^eta)."""
    return theta * torch.sigmoid(eta * (x - kappa.log()))


class Parameter(NamedTuple):
    """The prior of one parameter: uniform on [first, second], or normal with mean first and sd second.

    Where `of` is "log", that is the law of the parameter's logarithm; "log_rest": of ln(1 - parameter).
    """

    law: Literal["uniform", "normal"]
    first: float
    second: float
    of: Literal["value", "log", "log_rest"] = "value"

    def sample(self, n: int, generator: Generator) -> Tensor:
        """Draws of shape (n,), float32, on the generator's device."""
        if self.law == "uniform":
            value = torch.rand(n, generator=generator, device=generator.device)
            value = self.first + (self.second - self.first) * value
        else:
            value = torch.randn(n, generator=generator, device=generator.device)
            value = self.first + self.second * value
        if self.of == "value":
            return value
        return value.exp() if self.of == "log" else 1 - value.exp()


class Basis(NamedTuple):
    """A family of curves: its formula, and the priors of the formula's parameters by name, in its order."""

    curve: Callable[..., Tensor]
    parameters: dict[str, Parameter]


def _uniform(low: float, high: float) -> Parameter:
    return Parameter("uniform", low, high)


def _normal(mean: float, sd: float) -> Parameter:
    return Parameter("normal", mean, sd)


def _log_normal(mean: float, sd: float) -> Parameter:
    return Parameter("normal", mean, sd, "log")


def _log_uniform(low: float, high: float) -> Parameter:
    return Parameter("uniform", low, high, "log")


BASES: dict[str, Basis] = {
    "pow3": Basis(pow3, {"c": _uniform(0, 1.25), "a": _uniform(-0.6, 0.6), "alpha": _log_normal(0, 2)}),
    "ilog2": Basis(ilog2, {"c": _uniform(0, 1), "a": _uniform(-0.5, 0.5)}),
    "janoschek": Basis(
        janoschek, {"a": _uniform(0, 1), "b": _uniform(0, 2), "k": _log_normal(-2, 1), "delta": _log_normal(0, 0.5)}
    ),
    "log_power": Basis(log_power, {"a": _normal(0.8, 0.1), "b": _normal(1, 1), "c": _uniform(-3, 0)}),
    "weibull": Basis(
        weibull,
        {"alpha": _uniform(0, 1.5), "beta": _uniform(0, 1), "k": _log_normal(-2, 1), "delta": _log_normal(0, 0.5)},
    ),
    "mmf": Basis(
        mmf,
        {"alpha": _normal(0.8, 0.1), "beta": _normal(0.2, 0.1), "k": _log_normal(0, 2), "delta": _log_normal(0, 1)},
    ),
    "vap": Basis(vap, {"a": _uniform(-2, 0), "b": _uniform(-4, 0), "c": _log_uniform(-8, 0)}),
    "loglog_linear": Basis(loglog_linear, {"a": _log_normal(-2, 1), "b": _log_uniform(0, 1)}),
    "exp4": Basis(
        exp4, {"c": _normal(0.8, 0.1), "a": _log_normal(-2, 1), "alpha": _log_normal(0, 1), "b": _log_normal(0, 0.5)}
    ),
    "pow4": Basis(
        pow4,
        {
            "c": Parameter("uniform", -5, 0, "log_rest"),
            "a": _log_normal(-3, 2),
            "b": _log_uniform(0, 1),
            "alpha": _log_normal(0, 1),
        },
    ),
    "hill3": Basis(hill3, {"theta": _normal(0.8, 0.1), "eta": _log_normal(1, 1), "kappa": _log_normal(1, 2)}),
}
