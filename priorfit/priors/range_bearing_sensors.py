"""A rangefinder and a bearing sensor at the origin, which observe a point of the plane.

Source: Whittle et al. 2025, "Distribution Transformers: Fast Approximate Bayesian Inference With On-The-Fly Prior
Adaptation", section 4.3.1, and the code released with it. Distances are in km, angles in radians.
Letters: "..." any shape, B tasks, N rows, J points.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from priorfit.sources import Source, unpack

SOURCES = (Source("range", 1), Source("bearing", 1, angle=True))
HIT, EARLY, ANYWHERE = 0.7, 0.2, 0.1  # what the rangefinder reports: a hit, an early echo, anything
RELATIVE_NOISE = 0.1  # of a hit at distance r: standard deviation 0.1 (r + 1)
BEARING_NOISE = 0.1  # standard deviation


def bearing(first: Tensor, second: Tensor) -> Tensor:
    """The angle atan2(p1, p2) at which the point (p1, p2) is seen, in (-π, π]."""
    return torch.atan2(first, second)


def draw_range(distance: Tensor, limit: float, generator: Generator) -> Tensor:
    """Reported ranges of points at the distances (...), each from 0 to `limit`.

    0.7 N(r, (0.1 (r + 1))²) + 0.2 Exp(1) + 0.1 U(0, limit), and then clipped to [0, limit].
    """
    draws = torch.rand(3, *distance.shape, generator=generator, device=distance.device, dtype=distance.dtype)
    noise = torch.randn(distance.shape, generator=generator, device=distance.device, dtype=distance.dtype)
    hit = distance + RELATIVE_NOISE * (distance + 1) * noise
    kind, early, anywhere = draws[0], -torch.log1p(-draws[1]), limit * draws[2]
    seen = torch.where(kind < HIT, hit, torch.where(kind < HIT + EARLY, early, anywhere))
    return seen.clamp(0, limit)


def range_log_density(seen: Tensor, distance: Tensor, limit: float) -> Tensor:
    """Log density of reported ranges given the distance; at 0 and at `limit` the log probability of just that value.

    Clipping turns what lies beyond into atoms: 0.7 Φ(-r / s) at 0 and 0.7 Φ((r - limit) / s) + 0.2 exp(-limit) at
    the limit, s = 0.1 (r + 1).
    """
    scale = RELATIVE_NOISE * (distance + 1)
    hit = math.log(HIT / math.sqrt(2 * math.pi)) - scale.log() - ((seen - distance) / scale).square() / 2
    other = (EARLY * torch.exp(-seen) + ANYWHERE / limit).log()
    inside = torch.logaddexp(hit, other)
    low, high = seen <= 0, seen >= limit
    if not (low | high).any():
        return inside
    below = math.log(HIT) + torch.special.log_ndtr(-distance / scale)
    beyond = math.log(HIT) + torch.special.log_ndtr((distance - limit) / scale)
    above = torch.logaddexp(beyond, torch.full_like(beyond, math.log(EARLY) - limit))
    return torch.where(low, below, torch.where(high, above, inside))


def draw_bearing(angle: Tensor, generator: Generator) -> Tensor:
    """Reported bearings of points that are seen at the angles (...): normal noise, taken to [-π, π)."""
    noise = torch.randn(angle.shape, generator=generator, device=angle.device, dtype=angle.dtype)
    return wrapped(angle + BEARING_NOISE * noise)


def bearing_log_density(seen: Tensor, angle: Tensor) -> Tensor:
    """Log density of reported bearings given the angle; further turns would add less than exp(-490)."""
    constant = math.log(BEARING_NOISE * math.sqrt(2 * math.pi))
    return -(wrapped(seen - angle) / BEARING_NOISE).square() / 2 - constant


def wrapped(angle: Tensor) -> Tensor:
    """Angles taken to [-π, π)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def log_likelihood(rows: Tensor, distance: Tensor, angle: Tensor, limit: float) -> Tensor:
    """Log density of all rows (B, N, D) of a task, given that the point is at (distance, angle), (B, J) each: (B, J).

    Raises:
        ValueError: ranges outside [0, limit], which this sensor never reports.
    """
    fields = unpack(SOURCES, rows)
    total = torch.zeros_like(distance)
    (ranges, is_range), (bearings, is_bearing) = (fields[source.name] for source in SOURCES)
    if ((ranges < 0) | (ranges > limit)).any():
        raise ValueError(f"Ranges are from 0 to {limit:g} km, where the sensor clips them; clip them too.")
    for index in range(rows.shape[1]):  # few: one or two per task
        for values, present, density in (
            (ranges, is_range, lambda seen: range_log_density(seen, distance, limit)),
            (bearings, is_bearing, lambda seen: bearing_log_density(seen, angle)),
        ):
            here = present[:, index, None] > 0  # (B, 1)
            if here.any():
                total = torch.where(here, total + density(values[:, index].to(distance)), total)
    return total
