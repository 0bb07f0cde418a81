"""Learning curves: weighted sums of saturating curves under noise, observed up to some step.

Source: Adriaensen et al. 2023, "Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted Networks",
and the code released with it. Letters: B curves, L steps, n observed steps, m queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from priorfit.priors.base import Prior, check_batch_size, priors
from priorfit.priors.curve_mixture import CurveMixture
from priorfit.priors.laws import Law, scaled
from priorfit.priors.task import Curves, Task

NOISE = {"law": "log_normal", "loc": -4.0, "scale": 1.0}


@priors.register("learning_curve")
class LearningCurve(Prior):
    r"""Learning curves in the unit range, higher being better, on the steps 1 … L.

    y_t = f(t) + sigma_t eps_t with eps_t ~ N(0, 1) and f(t) = sum_k w_k f_k(t), drawn again until 0 <= f(t) <= 1
    on all steps and f(L) > f(1). The defaults are the published prior; y itself may leave the unit range.

    Args:
        length: L, at least 2.
        bases: names of the families f_k (`curve_bases.BASES`).
        weights: "independent" (each uniform on [0, 1]), "normalized" (the same, divided by their sum) or
            "dirichlet" (uniform on the simplex). With more than a few bases, only the last two stay in the range.
        noise: sigma, a standard deviation: a number, or the arguments of a `Law`.
        context: "every" asks about every prefix of every curve (for training); a number n shows the steps 1 … n.
        queries: m per curve, at most as many as there are later steps where the context is a number.
        noise_trend: standard deviation of the exponent g, one per curve, in sigma_t = sigma (t / √L)^g: noise that
            shrinks or grows along the curve, and keeps its geometric mean over the ends.
        late_start: probability that a curve stays at f(1) up to a step t0, log-uniform on 1 … L / 2, and only
            then starts.
        divergence: probability that a curve, from a step t_d uniform on 1 … L on, runs at the rate
            R = 1 - Exp(1): f(t_d + R (t - t_d)), which is slower for R > 0, and backwards, to f(1) at most, for
            R < 0 (Rakotoarison et al. 2024, "In-Context Freeze-Thaw Bayesian Optimization").
        narrowing: probability that a curve is mapped into a random part of the unit range, between two uniform
            numbers: metrics that start far from 0, cannot reach 1, or hardly move at all.
        thinning: probability that a batch is observed on some of the steps only, the same for all of its curves,
            their number uniform on 1 … L - 1; only with context "every".
        increasing: whether f(L) > f(1) is asked for; late start and divergence come after that.

    Raises:
        ValueError: unknown names, or numbers out of range.
    """

    def __init__(
        self,
        length: int = 100,
        bases: str | Sequence[str] = ("pow3", "ilog2", "janoschek"),
        weights: str = "independent",
        noise: float | Mapping[str, Any] = NOISE,
        context: int | str = "every",
        queries: int = 128,
        noise_trend: float = 0.0,
        late_start: float = 0.0,
        divergence: float = 0.0,
        narrowing: float = 0.0,
        thinning: float = 0.0,
        increasing: bool = True,
    ) -> None:
        if not isinstance(length, int) or length < 2:
            raise ValueError(f"length must be a whole number of steps >= 2, not {length!r}.")
        if not isinstance(queries, int) or queries < 1:
            raise ValueError(f"queries must be a whole number >= 1, not {queries!r}.")
        if context != "every" and not (isinstance(context, int) and 0 <= context < length):
            raise ValueError(
                f'context must be "every", or a number of observed steps from 0 to length - 1 = {length - 1}, '
                f"so that a later step can be asked about; got {context!r}."
            )
        _check("noise_trend", noise_trend, math.inf)
        chances = {"late_start": late_start, "divergence": divergence, "narrowing": narrowing, "thinning": thinning}
        for name, chance in chances.items():
            _check(name, chance, 1)
        self.mixture = CurveMixture([bases] if isinstance(bases, str) else bases, weights, increasing)
        self.noise = Law("noise", noise)
        self.length, self.context, self.queries = length, context, queries
        self.noise_trend, self.late_start = noise_trend, late_start
        self.divergence, self.narrowing, self.thinning = divergence, narrowing, thinning

    def with_context(self, n_context: int, n_query: int) -> Self:
        """Every curve observed on the steps 1 … n_context, with n_query of the later steps asked about, or all."""
        return self.replace(context=n_context, queries=n_query, thinning=0.0)

    def context_sizes(self) -> list[int]:
        """The published cutoffs: 10, 20, 40 and 80 % of the steps."""
        return sorted({min(max(1, round(share * self.length)), self.length - 1) for share in (0.1, 0.2, 0.4, 0.8)})

    def measurements(self, observed: Curves) -> Tensor:
        """The values that some query is predicted from."""
        position = torch.arange(observed.values.shape[1], device=observed.values.device)
        return position < observed.visible.amax(1, keepdim=True)

    def shifts(self) -> dict[str, Prior]:
        """More noise, or noise that grows or shrinks; more curves that start late or diverge; longer curves."""
        return self.changed(
            {
                "noise × 3": {"noise": scaled(self.arguments["noise"], 3)},
                "noise trend": {"noise_trend": self.noise_trend + 0.5},
                "late starts": {"late_start": (1 + self.late_start) / 2},
                "divergence": {"divergence": (1 + self.divergence) / 2},
                "curves × 2 as long (beyond training)": {"length": 2 * self.length},
            }
        )

    def sample(self, batch_size: int, *, generator: Generator) -> Task:
        """Draws tasks; `law` is each query's own law, given the curve without noise and its noise level."""
        clean, std = self.sample_curves(batch_size, generator)
        noisy = clean + std * torch.randn(clean.shape, generator=generator, device=clean.device)
        if isinstance(self.context, int):
            steps = torch.arange(1, self.context + 1, device=clean.device)
            query_steps = self._later_steps(self.context, batch_size, generator)
            visible = torch.full_like(query_steps, self.context)
        else:
            steps = self._observed_steps(generator)
            visible, query_steps = self._every_prefix(steps, batch_size, generator)
        values = noisy[:, steps - 1]  # (B, n)
        observed = Curves(steps.float().expand_as(values).clone(), values, query_steps.float(), visible)
        mean, scale, hidden = (part.gather(1, query_steps - 1) for part in (clean, std, noisy))
        return Task(observed, hidden, Normal(mean, scale, validate_args=False))

    def sample_curves(self, batch_size: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Curves without noise and the standard deviation of their noise, both (B, L), float32."""
        parameters, clean = self.mixture.sample(check_batch_size(batch_size), self.length, generator)
        if self.late_start or self.divergence:
            times = self._warped_times(batch_size, generator)
            clean = self.mixture.curves(parameters, times.log()).clamp(0, 1)  # the rule holds on whole steps only
        if self.narrowing:
            clean = self._narrowed(clean, generator)
        std = self.noise.sample((batch_size, 1), generator).float()
        return clean, std * self._noise_trend(batch_size, generator)

    def _narrowed(self, clean: Tensor, generator: Generator) -> Tensor:
        """Some of the curves (B, L), mapped from [0, 1] to a random interval within it."""
        draws = torch.rand(3, len(clean), 1, generator=generator, device=clean.device)
        low, high = draws[1:].sort(0).values
        return torch.where(draws[0] < self.narrowing, low + (high - low) * clean, clean)

    def _noise_trend(self, batch_size: int, generator: Generator) -> Tensor:
        """The factor of the noise level at each step, (B, L)."""
        if not self.noise_trend:
            return torch.ones(batch_size, self.length, device=generator.device)
        exponent = self.noise_trend * torch.randn(batch_size, 1, generator=generator, device=generator.device)
        t = torch.arange(1.0, self.length + 1, device=generator.device)
        return (t / math.sqrt(self.length)) ** exponent

    def _warped_times(self, batch_size: int, generator: Generator) -> Tensor:
        """Where on the regular curve each step is, (B, L), from 1 on: late start, and divergence after it."""
        draws = torch.rand(5, batch_size, 1, generator=generator, device=generator.device)
        start = torch.where(draws[0] < self.late_start, (self.length / 2) ** draws[1], 1.0).floor()
        turn = torch.where(draws[2] < self.divergence, 1 + (self.length * draws[3]).floor(), self.length)
        rate = 1 + torch.log1p(-draws[4])  # 1 - Exp(1)
        t = torch.arange(1.0, self.length + 1, device=generator.device)
        t = torch.where(t > turn, turn + rate * (t - turn), t)
        return (t - start + 1).clamp(min=1)

    def _observed_steps(self, generator: Generator) -> Tensor:
        """The steps on which a batch is observed for training, increasing, (n,), int64."""
        steps = torch.arange(1, self.length, device=generator.device)
        if not self.thinning or torch.rand((), generator=generator, device=generator.device) >= self.thinning:
            return steps
        n = int(torch.randint(1, self.length, (), generator=generator, device=generator.device))
        chosen = torch.randperm(self.length - 1, generator=generator, device=generator.device)[:n]
        return steps[chosen.sort().values]

    def _every_prefix(self, steps: Tensor, batch_size: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """How many observed steps each query sees, and its own step, both (B, m), int64.

        The numbers seen are n u² with u in each of m equal strata of [0, 1], as short prefixes are hardest to
        learn, and shared by the batch, which saves a network work; the steps are uniform on the later ones.
        """
        later = torch.rand(batch_size, self.queries, generator=generator, device=steps.device)
        spread = torch.rand(self.queries, generator=generator, device=steps.device)
        strata = torch.arange(self.queries, device=steps.device)
        visible = (((strata + spread) / self.queries).square() * (len(steps) + 1)).long().clamp(max=len(steps))
        visible = visible.expand(batch_size, -1).contiguous()
        last = torch.nn.functional.pad(steps, (1, 0))[visible]  # 0 where nothing is seen
        query_steps = last + 1 + (later * (self.length - last)).long()
        return visible, query_steps.clamp(max=self.length)

    def _later_steps(self, n_context: int, batch_size: int, generator: Generator) -> Tensor:
        """A random choice of steps after `n_context`, distinct and increasing, (B, m), int64."""
        later = self.length - n_context
        order = torch.rand(batch_size, later, generator=generator, device=generator.device).argsort(1)
        return n_context + 1 + order[:, : self.queries].sort(1).values


def _check(name: str, value: float, high: float) -> None:
    """Raises ValueError where an option is no finite number from 0 to `high`."""
    if not isinstance(value, int | float) or not 0 <= value <= high or math.isinf(value):
        kind = "standard deviation: a number >= 0" if high > 1 else "probability: a number from 0 to 1"
        raise ValueError(f"{name} is a {kind}, not {value!r}.")
