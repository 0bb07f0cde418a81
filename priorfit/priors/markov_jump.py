"""Markov jump processes, observed on paths at some times, with states mislabelled or not.

Source: Berghaus et al. 2024, "Foundation Inference Models for Markov Jump Processes", and the draws released with it.
Letters: B processes, S states, P paths, L observations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Generator, Tensor

from priorfit.priors.base import Prior, check_batch_size, priors
from priorfit.priors.jump_graphs import GRAPHS, draw_graphs
from priorfit.priors.jump_grids import GRIDS, draw_times
from priorfit.priors.jump_rates import beta_rates, draw_initial, spread_rates
from priorfit.priors.jump_simulation import mislabelled, simulate
from priorfit.priors.laws import Law, scaled
from priorfit.priors.sizes import LAWS, whole_range
from priorfit.priors.task import JumpPaths, Task
from priorfit.registry import closest

NOISIEST = 0.5  # noise levels above count as this one


class Draw(NamedTuple):
    """Tasks, and what was drawn on the way."""

    observed: JumpPaths
    rates: Tensor  # (B, S, S), zero diagonal, in jumps per unit of the observed times
    initial: Tensor  # (B, S)
    noise: Tensor  # (B,), probability that a state is mislabelled
    clean: Tensor  # (B, P, L), int64: the states before they were mislabelled


@priors.register("markov_jump")
class MarkovJump(Prior):
    r"""Markov jump processes of a few states, and paths of them.

    Links are those of a random graph, rates on them f ~ Beta(α, β) with α uniform on {1, 2} and β uniform on
    {1, 3, 5, 10} for every link anew, and the initial law is the stationary one or, as often, Dirichlet(50, …, 50).
    The defaults are the published prior, and `Task.hidden` what `JumpPaths` says. Probabilities of states that a
    process never comes back to are 0 in its stationary law.

    Args:
        states: S, a number or [low, high], drawn per batch; at least 2.
        state_weights: how often each number of states is drawn, up to a factor, lowest first; None: equally often.
        paths: P, a number or [low, high], drawn per batch.
        paths_law: "uniform", or "log_uniform" for as many batches of few paths as of many on a scale of ratios.
        points: of the base grid, a number or [low, high], drawn per batch; at least 2.
        points_law: likewise.
        horizon: length of the base grid, or the arguments of a `Law`, drawn per process: the longer it is, the
            more jumps are seen.
        grids: what of the base grid is observed, drawn per process: kinds of `jump_grids.GRIDS` and their weights.
            "full" is all of it; "regular" every 1st … 4th point; "thinned" each point of each path with probability
            1/4 or 1/2; "uniform" as many times as regular ones, anywhere.
        noise: probability that an observation shows one of the other states, each as likely, drawn per process: a
            number, several that are equally likely, or the arguments of a `Law`. Above 1/2 it counts as 1/2.
        graphs: kinds of `jump_graphs.GRAPHS` and their weights, drawn per process: "published", "incomplete" (those
            of it that are not complete), "sparse", "ring", "hub".
        spread: share of processes whose rates are multiplied by factors of their own, 10^u for each link.
        decades: [low, high] of u, which is uniform between them.
        time_unit: everything happens that much later; a number, or the arguments of a `Law`, drawn per process.

    Raises:
        ValueError: unknown names, or numbers out of range.
    """

    def __init__(
        self,
        states: int | Sequence[int] = (2, 6),
        state_weights: Sequence[float] | None = (1, 1, 1, 1, 5),
        paths: int | Sequence[int] = 300,
        paths_law: str = "uniform",
        points: int | Sequence[int] = 100,
        points_law: str = "uniform",
        horizon: float | Mapping[str, Any] = 10.0,
        grids: Mapping[str, float] = {"regular": 1, "thinned": 1},
        noise: float | Sequence[float] | Mapping[str, Any] = 0.01,
        graphs: Mapping[str, float] = {"published": 1},
        spread: float = 0.0,
        decades: Sequence[float] = (-2.0, 1.0),
        time_unit: float | Mapping[str, Any] = 1.0,
    ) -> None:
        self.states = whole_range("states", states, 2)
        self.paths, self.points = whole_range("paths", paths, 1), whole_range("points", points, 2)
        for name, law in (("paths_law", paths_law), ("points_law", points_law)):
            if law not in LAWS:
                raise ValueError(f"{name} must be {' or '.join(LAWS)}, not {law!r}.")
        self.paths_law, self.points_law = LAWS[paths_law], LAWS[points_law]
        self.state_weights = _state_weights(state_weights, self.states)
        self.grids, self.graphs = _weights("grids", grids, GRIDS), _weights("graphs", graphs, GRAPHS)
        self.horizon, self.time_unit = Law("horizon", horizon), Law("time_unit", time_unit)
        self.noise = Law("noise", noise) if isinstance(noise, Mapping) else _levels(noise)
        if not isinstance(spread, int | float) or not 0 <= spread <= 1:
            raise ValueError(f"spread is a share of processes, from 0 to 1, not {spread!r}.")
        if len(decades) != 2 or not -10 <= decades[0] <= decades[1] <= 10:
            raise ValueError(f"decades must be [low, high] with -10 <= low <= high <= 10, not {decades!r}.")
        self.spread, self.decades = spread, (float(decades[0]), float(decades[1]))

    def with_context(self, n_context: int, n_query: int) -> Self:
        """Every process observed on `n_context` paths; what is asked about is always all of the process."""
        return self.replace(paths=n_context)

    def context_sizes(self) -> list[int]:
        """Numbers of paths, up to the published 300."""
        return [1, 10, 30, 100, 300]

    def larger_contexts(self) -> list[int]:
        """Twice the largest number of paths."""
        return [2 * self.paths[1]]

    def shifts(self) -> dict[str, Prior]:
        """More states mislabelled, paths that see more or fewer jumps, and rates of very different sizes."""
        noise, horizon = self.arguments["noise"], self.arguments["horizon"]
        levels = None if isinstance(self.noise, Law) else [min(3 * level, NOISIEST) for level in self.noise]
        return self.changed(
            {
                "mislabelled × 3": {"noise": scaled(noise, 3) if levels is None else levels},
                "horizon × 0.25": {"horizon": scaled(horizon, 0.25)},
                "horizon × 4": {"horizon": scaled(horizon, 4)},
                "all rates spread": {"spread": 1.0, "decades": [self.decades[0] - 0.5, self.decades[1] + 0.5]},
            }
        )

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks."""
        draw = self.simulate(batch_size, generator=generator)
        return Task(draw.observed, torch.cat([draw.rates, draw.initial[..., None]], -1))

    def simulate(self, batch_size: int, *, generator: Generator) -> Draw:
        """Draws tasks, and says what was drawn on the way."""
        n_states = self._draw_n_states(check_batch_size(batch_size), generator)
        n_paths, n_points = self.paths_law(*self.paths, generator), self.points_law(*self.points, generator)
        rates = self._draw_rates(batch_size, n_states, generator)  # per unit of time before `time_unit`
        initial = draw_initial(rates, generator)
        times, seen = draw_times(self.grids, batch_size, n_paths, n_points, generator)
        times = times * self.horizon.sample((batch_size, 1, 1), generator)
        clean = simulate(rates, initial, times, generator).masked_fill(~seen, -1)
        noise = self._draw_noise(batch_size, generator)
        states = mislabelled(clean, noise, n_states, generator)
        unit = self.time_unit.sample((batch_size, 1, 1), generator)
        counts = torch.full((batch_size,), n_states, device=generator.device)
        observed = JumpPaths((times * unit).float(), states, counts)
        return Draw(observed, (rates / unit).float(), initial.float(), noise.float(), clean)

    def _draw_n_states(self, batch_size: int, generator: Generator) -> int:
        """The number of states of a batch."""
        weights = torch.tensor(self.state_weights, dtype=torch.float64, device=generator.device)
        return self.states[0] + int(torch.multinomial(weights, 1, generator=generator))

    def _draw_rates(self, batch_size: int, n_states: int, generator: Generator) -> Tensor:
        """Rate matrices with zero diagonals, (B, S, S), float64."""
        rates = beta_rates(draw_graphs(self.graphs, batch_size, n_states, generator), generator)
        return spread_rates(rates, self.spread, self.decades, generator) if self.spread else rates

    def _draw_noise(self, batch_size: int, generator: Generator) -> Tensor:
        """Noise levels, (B,), float64."""
        if isinstance(self.noise, Law):
            return self.noise.sample((batch_size,), generator).clamp(max=NOISIEST)
        levels = torch.tensor(self.noise, dtype=torch.float64, device=generator.device)
        return levels[torch.randint(len(levels), (batch_size,), generator=generator, device=generator.device)]


def _state_weights(weights: Sequence[float] | None, states: tuple[int, int]) -> list[float]:
    """One weight per number of states."""
    count = states[1] - states[0] + 1
    if weights is None:
        return [1.0] * count
    if len(weights) != count or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"state_weights must be {count} numbers >= 0, one per number of states; got {weights!r}.")
    return [float(weight) for weight in weights]


def _weights(name: str, weights: Mapping[str, float], known: Iterable[str]) -> dict[str, float]:
    """Weights of kinds, all known."""
    for kind in weights:
        if kind not in known:
            raise ValueError(f"Unknown kind '{kind}' in {name}: {closest(kind, known)}")
    if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ValueError(f"{name} must give kinds and their weights >= 0, such as {{{next(iter(known))}: 1}}.")
    return {kind: float(weights[kind]) for kind in known if kind in weights}  # in one order, however it was written


def _levels(noise: float | Sequence[float]) -> list[float]:
    """Noise levels that are equally likely."""
    levels = list(noise) if isinstance(noise, Sequence) else [noise]
    if not levels or not all(isinstance(level, int | float) and 0 <= level <= NOISIEST for level in levels):
        raise ValueError(f"noise must be probabilities from 0 to {NOISIEST}, or a law; got {noise!r}.")
    return [float(level) for level in levels]
