"""The update that observations of a Gaussian process bring about its lengthscale and its value at one point.

Letters: B tasks, k components, F features, N rows (the observed ones and the query), J lengthscales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from priorfit.models.mixture_tensors import MixtureTensors
from priorfit.sources import Source

STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # deviations of a component from its mean at which the evidence is looked at
WITHIN = 1 / 12  # variance of a uniform law between two of them
LEAST_LOG_WEIGHT = -8.0  # of a component by its evidence, relative to the best one


class Regression(NamedTuple):
    """What lengthscales make of rows, (B, J) each."""

    log_evidence: Tensor  # up to a constant
    mean: Tensor  # of the value at the query
    std: Tensor


class KernelSensor(nn.Module):
    r"""Conditions each component over (y*, log l) on rows (x, y) with y = f(x) + e and y* = f(x*).

    f is a Gaussian process of variance one with the kernel exp(-|x - x'|² / 2 l²), so what rows say is known for any l:
    log p(y | l), and the mean and the deviation of y*. Five lengthscales per component give its weight and the moments
    of log l; three more, at the result, give y* and its slope in log l. What is left to be learned is the difference
    between such components and the posterior.

    Args:
        n_features: F; rows are fields (x, y) of a first source, then x* of a second, then indicators of the two.
        noise: variance of e.
    """

    def __init__(self, n_features: int, noise: float) -> None:
        super().__init__()
        self.n_features, self.noise = n_features, noise

    def check(self, rows: Tensor) -> None:
        """Refuses rows (B, N, 2 F + 3) with several queries: there is one y*.

        Raises:
            ValueError: tasks that ask more than once.
        """
        if torch.compiler.is_compiling() or not rows.shape[1]:
            return
        n_queries = int(rows[..., -1].sum(1).amax())
        if n_queries > 1:
            raise ValueError(f"A task asks for the value at one point, not at {n_queries}: make a task for each.")

    def forward(self, mixture: MixtureTensors, rows: Tensor) -> MixtureTensors:
        """The mixtures after rows (B, N, 2 F + 3), of which one asks and all others are observed."""
        if not rows.shape[1]:
            return mixture
        gain, place, std = self._weigh(rows, mixture.means[..., 1], mixture.scale_trils[..., 1, :].norm(dim=-1))
        below, there, above = (self._regress(rows, place + step * std) for step in (-1, 0, 1))
        tilt = (above.mean - below.mean) / 2  # of y*, per deviation of log l
        total = torch.hypot(tilt, there.std)
        parts = [total, torch.zeros_like(total), std * tilt / total, std * there.std / total]
        scale_trils = torch.stack(parts, -1).unflatten(-1, (2, 2))
        log_weights = (mixture.log_weights + gain).log_softmax(-1)
        return MixtureTensors(log_weights, torch.stack([there.mean, place], -1), scale_trils)

    def _weigh(self, rows: Tensor, place: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log evidence of components with these means and deviations of log l, and new ones; all (B, k)."""
        steps = torch.tensor(STEPS, device=rows.device)
        points = place[..., None] + steps * std[..., None]  # (B, k, 5)
        log_evidence = self._regress(rows, points.flatten(1)).log_evidence.unflatten(1, points.shape[1:])
        log_mass = (-steps.square() / 2).log_softmax(-1) + log_evidence
        mass, gain = log_mass.softmax(-1), log_mass.logsumexp(-1)
        moved = (mass * steps).sum(-1)
        spread = (mass * (steps - moved[..., None]).square()).sum(-1) + WITHIN
        gain = (gain - gain.amax(-1, keepdim=True)).clamp(min=LEAST_LOG_WEIGHT)
        return gain, place + moved * std, std * spread.sqrt()

    def _regress(self, rows: Tensor, log_lengthscale: Tensor) -> Regression:
        """Gaussian process regression, for log lengthscales (B, J); without gradients unless rows ask for theirs."""
        with torch.set_grad_enabled(rows.requires_grad and torch.is_grad_enabled()):
            return self._regress_freely(rows, log_lengthscale)

    def _regress_freely(self, rows: Tensor, log_lengthscale: Tensor) -> Regression:
        """The same; gradients reach y and lengthscales, not x, whose distances cannot be differentiated twice."""
        x, y, x_query, observed, asked = rows.double().split([self.n_features, 1, self.n_features, 1, 1], -1)
        x = torch.where(observed > 0, x, x_query).detach()
        distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")[:, None]  # (B, 1, N, N)
        kernel = (-(distance / log_lengthscale.double().exp()[..., None, None]).square() / 2).exp()  # (B, J, N, N)
        seen = (observed * observed.mT)[:, None]
        own = torch.where(observed > 0, self.noise, 1.0)[..., 0]  # rows that are not observed decouple
        tril = torch.linalg.cholesky(kernel * seen + own.diag_embed()[:, None])
        cross = observed[:, None] * (kernel @ asked[:, None])  # with the query, (B, J, N, 1)
        right = torch.cat([(observed * y)[:, None].expand_as(cross), cross], -1)
        white, cross = torch.linalg.solve_triangular(tril, right, upper=False).unbind(-1)
        log_determinant = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_evidence = -white.square().sum(-1) / 2 - log_determinant
        std = (1 - cross.square().sum(-1)).clamp(min=self.noise**2).sqrt()
        parts = (log_evidence, (white * cross).sum(-1), std)
        return Regression(*(part.float() for part in parts))


def kernel_sensor(sources: Sequence[Source], bijections: Sequence[str], noise: float) -> KernelSensor:
    """The sensor for these sources of rows, and for latents with these bijections.

    Raises:
        ValueError: they are not those of a Gaussian process's value and lengthscale.
    """
    sizes = [source.size for source in sources]
    if tuple(bijections) != ("identity", "log") or len(sizes) != 2 or sizes[0] != sizes[1] + 1 or not noise > 0:
        raise ValueError(
            "kernel_noise, a positive variance, is for latents (value, lengthscale) with the bijections identity and "
            f"log, and for two sources, (x, y) and x; got {noise}, {list(bijections)} and sizes {sizes}."
        )
    return KernelSensor(sizes[1], noise)
