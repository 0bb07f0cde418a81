"""Weighted sums of curve families, and rejection of what is no learning curve.

Letters: N curves, L steps, P parameters of all families and their weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from priorfit.priors.curve_bases import BASES
from priorfit.registry import closest

WEIGHTS = ("independent", "normalized", "dirichlet")
BLOCK = 8192  # candidates at a time, at most: their curves stay in the processor's cache
FIRST_GUESS = 0.2  # share of candidates that is kept, for the size of the first block
TRIED, KEPT = 10_000, 0.005  # fewer kept than this share of that many candidates: the prior is taken for hopeless


class CurveMixture:
    """Sum over k of w_k f_k(t), with the parameters of every family f_k and the weights drawn at random.

    Args:
        bases: names of families in `curve_bases.BASES`.
        weights: "independent" (each uniform on [0, 1]), "normalized" (the same, divided by their sum) or
            "dirichlet" (uniform on the simplex).
        increasing: whether a curve must end above where it starts.

    Raises:
        ValueError: an unknown family or law of the weights.
    """

    def __init__(self, bases: Sequence[str], weights: str, increasing: bool) -> None:
        for name in bases or [""]:
            if name not in BASES:
                raise ValueError(f"Unknown basis '{name}': {closest(name, BASES)}")
        if weights not in WEIGHTS:
            raise ValueError(f"Unknown law of weights '{weights}': {closest(weights, WEIGHTS)}")
        self.bases = [BASES[name] for name in bases]
        self.weights, self.increasing = weights, increasing

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Parameters of `n` candidates, family by family, then the weights: (P, n), float32."""
        laws = [law for basis in self.bases for law in basis.parameters.values()]
        parameters = torch.stack([law.sample(n, generator) for law in laws])
        weights = torch.rand(len(self.bases), n, generator=generator, device=generator.device)
        if self.weights == "dirichlet":
            weights = -torch.log1p(-weights)  # exponential
        if self.weights != "independent":
            weights = weights / weights.sum(0)
        return torch.cat([parameters, weights])

    def curves(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The curves with `parameters` (P, N) at x = ln t, (L,) or (N, L): (N, L)."""
        columns = list(parameters[..., None])  # P of (N, 1)
        weights = columns[len(columns) - len(self.bases) :]
        total = torch.zeros((), device=x.device)
        for basis, weight in zip(self.bases, weights, strict=True):
            own, columns = columns[: len(basis.parameters)], columns[len(basis.parameters) :]
            total = total + weight * basis.curve(x, *own)
        return total

    def sample(self, n: int, length: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """`n` curves that stay in [0, 1] on the steps 1 … L: their parameters (P, n), and values (n, L).

        Raises:
            ValueError: next to no candidate is kept.
        """
        x = torch.arange(1.0, length + 1, device=generator.device).log()
        kept: list[tuple[Tensor, Tensor]] = []
        tried = found = 0
        while found < n:
            share = found / tried if found else FIRST_GUESS
            block = min(BLOCK, int(1.1 * (n - found) / share) + 50)
            kept.append(self._keep(self.draw(block, generator), x))
            tried, found = tried + block, found + kept[-1][0].shape[1]
            if tried >= TRIED and found < KEPT * tried:
                raise ValueError(
                    f"Only {found} of {tried} curves stay in [0, 1]: this prior cannot be drawn by rejection. "
                    'Use weights="normalized", or fewer bases.'
                )
        parameters, values = zip(*kept, strict=True)
        return torch.cat(parameters, 1)[:, :n], torch.cat(values)[:n]

    def _keep(self, parameters: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The acceptable ones among candidates (P, N), and their values; most already fail at the two ends."""
        ends = self.curves(parameters, x[[0, -1]])
        parameters = parameters[:, self._acceptable(ends)]
        values = self.curves(parameters, x)
        keep = self._acceptable(values)
        return parameters[:, keep], values[keep]

    def _acceptable(self, values: Tensor) -> Tensor:
        """Which curves (N, L) stay in the unit range, without NaN, and rise if they must: (N,)."""
        good = (values.amin(1) >= 0) & (values.amax(1) <= 1)  # false where there is NaN
        return good & (values[:, -1] > values[:, 0]) if self.increasing else good
