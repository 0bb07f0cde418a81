"""Rates and initial laws of Markov jump processes.

Source of the Beta and Dirichlet laws: the released draws of Berghaus et al. 2024, "Foundation Inference Models for
Markov Jump Processes". Letters: B processes, S states.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

ALPHA, BETA = (1.0, 2.0), (1.0, 3.0, 5.0, 10.0)  # parameters of the rates' laws
CONCENTRATION = 50.0  # of the initial laws that are not stationary
STATIONARY = 0.5  # share of processes that start in their stationary law


def beta_rates(links: Tensor, generator: Generator) -> Tensor:
    """Rates (B, S, S) on links of that shape, float64: Beta(α, β), each link with α and β of its own."""
    gammas = []
    for options in (ALPHA, BETA):
        values = torch.tensor(options, dtype=torch.float64, device=generator.device)
        which = torch.randint(len(options), links.shape, generator=generator, device=generator.device)
        gammas.append(torch._standard_gamma(values[which], generator=generator))  # type: ignore[attr-defined]
    return gammas[0] / (gammas[0] + gammas[1]) * links


def spread_rates(rates: Tensor, share: float, decades: tuple[float, float], generator: Generator) -> Tensor:
    """Rates (B, S, S), in a share of the processes each times a factor of its own, 10^u with u uniform on `decades`."""
    options = {"generator": generator, "dtype": rates.dtype, "device": rates.device}
    low, high = decades
    factors = 10 ** (low + (high - low) * torch.rand(rates.shape, **options))
    return torch.where(torch.rand(len(rates), 1, 1, **options) < share, factors * rates, rates)


def draw_initial(rates: Tensor, generator: Generator) -> Tensor:
    """Initial laws, (B, S): stationary ones, or Dirichlet(50, …, 50)."""
    concentration = torch.full(rates.shape[:-1], CONCENTRATION, dtype=rates.dtype, device=rates.device)
    gammas = torch._standard_gamma(concentration, generator=generator)  # type: ignore[attr-defined]
    start = torch.rand(len(rates), 1, generator=generator, device=rates.device) < STATIONARY
    return torch.where(start, stationary_law(rates), gammas / gammas.sum(-1, keepdim=True))


def stationary_law(rates: Tensor) -> Tensor:
    """The law p (…, S) with p F = 0 of rate matrices (…, S, S) with one recurrent class, float64."""
    rates = rates.double()
    equations = (rates - rates.sum(-1).diag_embed()).mT.clone()  # F', the last row of which follows from the others
    equations[..., -1, :] = 1.0
    right = torch.zeros_like(rates[..., 0])
    right[..., -1] = 1.0
    law = torch.linalg.solve(equations, right).clamp(min=0)  # rounding: below 0 where it is 0
    return law / law.sum(-1, keepdim=True)
