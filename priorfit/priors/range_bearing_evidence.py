"""How probable ranges and bearings are when the point that they observe has a Gaussian mixture as its prior.

A quadrature in polar coordinates, in which both sensors are aligned with the axes, over the part of the plane that
each component leaves possible. Letters: B tasks, k components, T angles, R distances.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from priorfit.priors.range_bearing_sensors import (
    BEARING_NOISE,
    SOURCES,
    bearing,
    bearing_log_density,
    log_likelihood,
    wrapped,
)
from priorfit.sources import unpack

COARSE, ZOOMS = 129, 4  # nodes and repetitions of the search for the angles that matter
FINE = 96  # angles and distances of the quadrature
DEPTH = 40.0  # nats below the maximum from which on nothing matters
HALVINGS = 40
ELEMENTS = 300_000  # nodes held at a time


def log_evidence(log_weights: Tensor, means: Tensor, covariances: Tensor, rows: Tensor, limit: float) -> Tensor:
    """log ∫ p(rows | point) p(point), (B,), float64.

    Args:
        log_weights: of the prior's components, (B, k).
        means: of the two positions, (B, k, 2), km.
        covariances: of the two positions, (B, k, 2, 2).
        rows: observations, (B, N, D).
        limit: of the rangefinder, km.
    """
    at_once = max(1, ELEMENTS // (log_weights.shape[1] * FINE**2))
    tensors = (log_weights, means, covariances, rows)
    parts = zip(*(part.double().split(at_once) for part in tensors), strict=True)
    found = [log_weight + Components(*rest, limit).log_integrals() for log_weight, *rest in parts]  # type: ignore[misc]
    return torch.cat(found).logsumexp(-1)


class Components:
    """The components of the priors of B tasks in polar coordinates p = r (sin t, cos t), float64.

    At every angle t a component is Gaussian in r, with a height, a centre and a width that depend on t. Along t it is
    smooth in the angle u(t) at which the point is seen once the component's covariance is made the unit matrix.

    Args:
        means: of the two positions, (B, k, 2).
        covariances: of the two positions, (B, k, 2, 2).
        rows: observations, (B, N, D).
        limit: of the rangefinder.
    """

    def __init__(self, means: Tensor, covariances: Tensor, rows: Tensor, limit: float) -> None:
        self.rows, self.limit = rows, limit
        self.factor = torch.linalg.cholesky(covariances)  # (B, k, 2, 2)
        self.centre = torch.linalg.solve_triangular(self.factor, means[..., None], upper=False)[..., 0]
        self.log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        self.bearings, self.present = unpack(SOURCES, rows)["bearing"]
        towards = bearing(means[..., 0], means[..., 1])  # (B, k)
        for seen, here in self._each_bearing():
            towards = torch.where(here[:, None], seen[:, None], towards)
        self.towards = towards

    def log_integrals(self) -> Tensor:
        """log ∫ p(rows | point) N(point), (B, k), by Gauss-Legendre in a stretched angle and in log(1 + r)."""
        nodes, log_node_weights = gauss_legendre(FINE, self.rows.device)
        low, high = (self._stretched(angle) for angle in self._angles())
        angle = self._unstretched(low + (high - low) * nodes)  # (B, k, T)
        height, centre, width = self._along(angle)
        reach = math.sqrt(2 * DEPTH) * width
        near = (centre - reach).clamp(min=0).log1p()
        far = (centre + (centre.clamp(max=0).square() + reach.square()).sqrt()).log1p()
        distance = (near[..., None] + (far - near)[..., None] * nodes).expm1()  # (B, k, T, R)
        angles = angle[..., None].expand_as(distance).flatten(1)
        likelihood = log_likelihood(self.rows, distance.flatten(1), angles, self.limit).view_as(distance)
        offset = (distance - centre[..., None]) / width[..., None]
        area = distance.log() + distance.log1p()  # r dr = r (1 + r) d log(1 + r)
        radial = (likelihood + area - offset.square() / 2 + log_node_weights).logsumexp(-1) + (far - near).log()
        total = (radial + height - self._stretch(angle).log() + log_node_weights).logsumexp(-1)
        return total + (high - low).log()[..., 0] - self.log_det - math.log(2 * math.pi)

    def _each_bearing(self) -> list[tuple[Tensor, Tensor]]:
        """Bearing and whether there is one, (B,) each, of every row."""
        return [(self.bearings[:, i, 0], self.present[:, i] > 0) for i in range(self.rows.shape[1])]

    def _whitened(self, angle: Tensor) -> Tensor:
        """The directions at angles (B, k, T) where the component's covariance is the unit matrix, (B, k, T, 2)."""
        direction = torch.stack([angle.sin(), angle.cos()], -1)
        return torch.linalg.solve_triangular(self.factor, direction.mT, upper=False).mT

    def _along(self, angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log height, centre and width in r of each component at angles (B, k, T)."""
        whitened = self._whitened(angle)
        curvature = whitened.square().sum(-1)
        pull = (whitened * self.centre[..., None, :]).sum(-1)
        whole = self.centre.square().sum(-1, keepdim=True)
        return -(whole - pull.square() / curvature) / 2, pull / curvature, curvature.rsqrt()

    def _angles(self) -> tuple[Tensor, Tensor]:
        """The first and the last angle that matter for each component, (B, k, 1) each."""
        low, high = self.towards[..., None] - math.pi, self.towards[..., None] + math.pi
        levels = torch.linspace(0, 1, COARSE, dtype=torch.float64, device=self.rows.device)
        for _ in range(ZOOMS):  # components may be narrow
            angle = low + (high - low) * levels  # (B, k, T)
            height, centre, width = self._along(angle)
            height = height - (centre.clamp(max=0) / width).square() / 2  # at the best distance >= 0
            for seen, here in self._each_bearing():
                height = height + here[:, None, None] * bearing_log_density(seen[:, None, None], angle)
            matters = (height > height.amax(-1, keepdim=True) - DEPTH).float()
            first = matters.argmax(-1, keepdim=True).sub(1).clamp(min=0)
            last = COARSE - 1 - matters.flip(-1).argmax(-1, keepdim=True).sub(1).clamp(min=0)
            low, high = angle.gather(-1, first), angle.gather(-1, last)
        return low, high

    def _scales(self) -> tuple[Tensor, Tensor]:
        """Over how large a change of t the likelihood changes, (B, 1, 1), and of u the component, (B, k, 1)."""
        wide = self.towards.new_full((len(self.rows), 1, 1), 0.5)
        for _, here in self._each_bearing():
            wide = torch.where(here[:, None, None], BEARING_NOISE, wide)
        return wide, 1 / self.centre.norm(dim=-1, keepdim=True).clamp(min=1)

    def _stretched(self, angle: Tensor) -> Tensor:
        """v(t) = t / its scale + u(t) / its scale at angles (B, k, T); u is within half a turn of t."""
        wide, narrow = self._scales()
        first, second = self._whitened(angle).unbind(-1)
        return angle / wide + (angle + wrapped(bearing(first, second) - angle)) / narrow

    def _stretch(self, angle: Tensor) -> Tensor:
        """The derivative of v(t)."""
        wide, narrow = self._scales()
        turned = (-self.log_det).exp()[..., None] / self._whitened(angle).square().sum(-1)
        return 1 / wide + turned / narrow

    def _unstretched(self, stretched: Tensor) -> Tensor:
        """The angles at which v(t), which increases, has given values (B, k, T), by bisection."""
        middle = self.towards[..., None].expand_as(stretched)
        half = math.pi
        for _ in range(HALVINGS):
            half /= 2
            middle = middle + torch.where(self._stretched(middle) < stretched, half, -half)
        return middle


def gauss_legendre(n_nodes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes on [0, 1] and logarithms of weights that sum to one, (n,) each, float64 (Golub and Welsch 1969)."""
    order = torch.arange(1, n_nodes, dtype=torch.float64, device=device)
    beside = order / (4 * order.square() - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(beside.diag(1) + beside.diag(-1))
    return (nodes + 1) / 2, 2 * vectors[0].abs().log()
