"""Known Markov jump processes, on none of which a network was trained: a ratchet, an ion channel, a folding protein.

Letters: S states, P paths, L observations, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from priorfit.priors.jump_rates import stationary_law
from priorfit.priors.jump_simulation import simulate

RATCHET_HORIZON, CHANNEL_STEP = 2.5, 2e-4
# From the mean first-passage times of Koehs et al. 2022, "Markov chain Monte Carlo for continuous-time switching
# dynamical systems", for a viral potassium channel at +140 mV: [[0, .068, .054], [.133, 0, .033], [.181, .092, 0]] s.
# Their stationary law is (.180, .150, .671), that of these rates, per second, (.181, .147, .672).
ION_CHANNEL = [[0.0, 18.68, 11.25], [23.96, 0.0, 45.55], [2.84, 10.13, 0.0]]
FOLDED_WITHIN = 3.0  # radius, where the barrier is highest
FOLDING_STEP, FOLDING_BURN_IN, FOLDING_DIMENSIONS = 0.1, 1000, 5


def flashing_ratchet(potential: float = 1.0, switching: float = 1.0, diffusion: float = 1.0) -> Tensor:
    """Rates of the discrete flashing ratchet, (6, 6), float64, zero diagonal.

    Three sites; states 0, 1, 2 are these sites while a potential is on, 3, 4, 5 while it is off. From site i to j at
    rate exp(-V (j - i) / 2) while it is on and b while it is off; on and off at rate r.
    Source: Roldan & Parrondo 2010, "Estimating dissipation from single stationary trajectories".

    Args:
        potential: V, in units of the temperature.
        switching: r.
        diffusion: b.
    """
    site = torch.arange(3, dtype=torch.float64)
    rates = torch.zeros(6, 6, dtype=torch.float64)
    rates[:3, :3] = (-potential * (site - site[:, None]) / 2).exp()
    rates[3:, 3:] = diffusion
    state = torch.arange(6)
    rates[state, (state + 3) % 6] = switching
    return rates.fill_diagonal_(0)


def ratchet_parameters(rates: Tensor) -> Tensor:
    """Potential V, switching rate r and diffusion rate b of a ratchet whose rates were estimated.

    V is the least-squares fit of the six log rates under the potential; r and b are means of six rates each.

    Args:
        rates: (…, 6, 6).

    Returns:
        (…, 3).
    """
    up = rates[..., 0, 1].log() + rates[..., 1, 2].log() + 2 * rates[..., 0, 2].log()
    down = rates[..., 1, 0].log() + rates[..., 2, 1].log() + 2 * rates[..., 2, 0].log()
    site, state = torch.arange(3), torch.arange(6)
    off = rates[..., 3:, 3:].sum((-2, -1)) - rates[..., site + 3, site + 3].sum(-1)
    switching = rates[..., state, (state + 3) % 6].mean(-1)
    return torch.stack([(down - up) / 6, switching, off / 6], -1)


def ion_channel() -> Tensor:
    """Rates of a three-state ion channel, per second, (3, 3), float64."""
    return torch.tensor(ION_CHANNEL, dtype=torch.float64)


def stationary_paths(rates: Tensor, times: Tensor, generator: Generator) -> Tensor:
    """States (P, L) at times (P, L) of a process with rates (S, S) that begins in its stationary law."""
    return simulate(rates[None], stationary_law(rates)[None], times[None], generator)[0]


def regular_times(n_paths: int, n_points: int, horizon: float) -> Tensor:
    """Equally spaced times from 0 on, the same for all paths, (P, L)."""
    return torch.linspace(0, horizon, n_points).expand(n_paths, -1)


def uniform_times(n_paths: int, n_points: int, horizon: float, generator: Generator) -> Tensor:
    """Independent uniform times, sorted along each path, (P, L); drawn again where two are equal in float32."""
    times = torch.rand(n_paths, n_points, generator=generator).sort(1).values * horizon
    while bool((equal := (times.diff(dim=1) <= 0).any(1)).any()):
        times[equal] = torch.rand(int(equal.sum()), n_points, generator=generator).sort(1).values * horizon
    return times


def folding_radii(n_paths: int, n_points: int, generator: Generator) -> Tensor:
    """Distances from the centre of Brownian particles, after burn-in, one per step of 0.1: (P, L), float64.

    x' = x - dt ∇U(x) + √(2 dt) ε in five dimensions, with dU/dR = -5 (R - 3) for R = |x| < 3 and
    1.5 (R - 3)² - 2 (R - 3) beyond: a small dense well and a large one outside of it.
    Source: Mardt et al. 2017, "VAMPnets for deep learning of molecular kinetics".
    """
    shape = (n_paths, FOLDING_DIMENSIONS)
    x = 2 * (torch.randn(shape, generator=generator, dtype=torch.float64) - 0.5)
    radii = []
    for step in range(FOLDING_BURN_IN + n_points):
        radius = x.norm(dim=1, keepdim=True)
        excess = radius - 3
        slope = torch.where(excess < 0, -5 * excess, 1.5 * excess.square() - 2 * excess)
        if step >= FOLDING_BURN_IN:
            radii.append(radius[:, 0])
        kick = torch.randn(shape, generator=generator, dtype=torch.float64)
        x = x - FOLDING_STEP * slope * x / radius + (2 * FOLDING_STEP) ** 0.5 * kick
    return torch.stack(radii, 1)


def protein_folding(n_paths: int, n_points: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Times and states (P, L) of `folding_radii`: state 0 within radius 3, state 1 outside; one time unit per frame."""
    radii = folding_radii(n_paths, n_points, generator)
    return torch.arange(n_points).float().expand(n_paths, -1), (radii > FOLDED_WITHIN).long()
