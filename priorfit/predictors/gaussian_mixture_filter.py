"""Beliefs about a state that moves, as mixtures of Gaussians: exact prediction steps, learned update steps.

Letters: S series, t steps, k components, d dimensions of the state, N rows of observations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from sklearn.exceptions import NotFittedError
from torch import Tensor

from priorfit.checkpoints import AnyPath, Checkpoint, CheckpointError
from priorfit.distributions import GaussianMixture
from priorfit.predictors.belief_plot import add_legend, draw_track, new_figure
from priorfit.predictors.evidence_reading import read_series
from priorfit.predictors.limits import check_count
from priorfit.predictors.loading import PosteriorNetwork
from priorfit.predictors.mixture_tools import as_mixture, floor_weights, join_mixtures, map_mixture, split_components
from priorfit.predictors.posterior_estimator import PosteriorEstimator
from priorfit.predictors.unfamiliar import unfamiliarity, warn_of_many_rows
from priorfit.sources import Source, pack

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Look(NamedTuple):
    """What updates of one step looked like to the network."""

    series: Tensor  # (s,), which they are of
    summary: Tensor | None  # (s, J)
    sizes: Tensor  # (s,)


class GaussianMixtureFilter(PosteriorEstimator):
    """Filters series of a state with linear dynamics, x' = A x + c + q, q ~ N(0, Q), and any trained observations.

    Beliefs are mixtures of Gaussians. Between two steps each component moves exactly, mu <- A mu + c and
    P <- A P Aᵀ + Q; at each step the network gives the posterior. The number of components stays the same: none is
    merged or pruned, but weights are kept above `min_weight`, so that one that explained nothing may come back.

    Args:
        checkpoint: a name from `priorfit.list_checkpoints()`, the path of a checkpoint file, or what
            `priorfit.load` returned; its network must take mixtures as priors.
        transition_matrix: A, (d, d).
        process_noise: Q, (d, d), which may be singular.
        offset: c, (d,); None for zeros.
        n_components: k of the beliefs. A first belief of fewer components is split into copies of unequal weights,
            which leaves its density as it is: equal components would stay equal for ever. None for as many as it has.
        min_weight: smallest weight of a component.
        device: where the network runs: "cpu", "cuda", or "auto" for a GPU if there is one. Beliefs are on the CPU.
        batch_size: series per forward pass. Larger costs memory.

    Attributes:
        beliefs_: of each step the law of the state given the observations up to then, batch shape (S, t), or (t,) for
            one series; set by `filter`.
        unfamiliarity_: how unlike the draws of the training's prior each update is, (S, t) or (t,): 1 in 200 draws is
            above 1, and a warning tells of more than that. NaN where nothing was observed, and where the checkpoint has
            no check; set by `filter`.
        metadata_: the checkpoint's own description of itself (see `priorfit.checkpoint_file`).

    Example:
        >>> tracker = GaussianMixtureFilter("dt-sensor-fusion", A, Q, n_components=4)  # doctest: +SKIP
        >>> beliefs = tracker.filter(first, {"range": ranges, "bearing": bearings})  # doctest: +SKIP
        >>> tracker.score(states).mean()  # log density of the true states, nats  # doctest: +SKIP

    Source: Whittle et al. 2025, section 4.3; Alspach, Sorenson 1972, "Nonlinear Bayesian estimation using Gaussian sum
    approximations".
    """

    _purpose = "filter series of a state"

    def __init__(
        self,
        checkpoint: AnyPath | Checkpoint,
        transition_matrix: ArrayLike,
        process_noise: ArrayLike,
        offset: ArrayLike | None = None,
        *,
        n_components: int | None = None,
        min_weight: float = 1e-6,
        device: str | torch.device = "auto",
        batch_size: int = 1024,
    ) -> None:
        super().__init__(checkpoint, n_components=n_components, device=device, batch_size=batch_size)
        self.transition_matrix = transition_matrix
        self.process_noise = process_noise
        self.offset = offset
        self.min_weight = min_weight

    def filter(self, prior: Any, observations: Mapping[str, ArrayLike]) -> GaussianMixture:
        """Beliefs at every step of S series; the first observation is of the first state, before it moves.

        Args:
            prior: the law of the first state before it is observed, as for `update`; batch shape () or (S,).
            observations: by the name of their source: (t, size) of one series, (S, t, size), or (S, t, N, size) for
                several observations of a step. NaN is an observation that is missing; a step may lack all.

        Returns:
            The beliefs, batch shape (S, t), or (t,) for one series.

        Raises:
            CheckpointError: the checkpoint cannot be loaded or serves another purpose.
            TypeError: a prior of the wrong kind.
            ValueError: a prior, dynamics or observations that cannot be used; the message says what to do.
        """
        check_count("batch_size", self.batch_size)
        network = self._ready()
        first = as_mixture(prior, network.n_latent, network.bijections)
        values, alone = read_series(network.sources, observations)
        n_series, n_steps = next(iter(values.values())).shape[:2]
        belief = _expanded(first, n_series)
        alone = alone and not first.batch_shape
        self._dynamics(network.n_latent)  # refused before anything is computed
        warn_of_many_rows(max(value.shape[2] for value in values.values()), self.metadata_)
        belief = split_components(belief, self.n_components)
        if not 0 <= self.min_weight < 1 / belief.n_components:
            raise ValueError(
                f"min_weight must be from 0 to less than 1 / {belief.n_components}, not {self.min_weight!r}."
            )
        beliefs, looks = [], []
        for step in range(n_steps):
            belief = self.predict(belief) if step else belief
            belief, of_step = self._seen(network, belief, {name: value[:, step] for name, value in values.items()})
            beliefs.append(belief)
            looks.append(of_step)
        scores = self._compared(network, looks, n_series)
        joined = join_mixtures(beliefs, lambda parts: torch.stack(list(parts), 1))
        self.beliefs_ = map_mixture(joined, lambda part: part[0]) if alone else joined
        self.unfamiliarity_ = scores[0] if alone else scores
        return self.beliefs_

    def predict(self, belief: GaussianMixture) -> GaussianMixture:
        """The law of the next state, before it is observed: every component moved exactly.

        Args:
            belief: the law of a state, of any batch shape.

        Raises:
            ValueError: dynamics that do not fit.
        """
        return belief.affine(*self._dynamics(belief.event_shape[0]))

    def score(self, states: ArrayLike) -> ndarray:
        """Log density of true states under the beliefs, in nats; higher is better.

        Args:
            states: (S, t, d), or (t, d) for one series.

        Returns:
            (S, t), or (t,); float64.

        Raises:
            NotFittedError: `filter` was not called.
            ValueError: states of another shape.
        """
        beliefs = self._filtered()
        values = torch.as_tensor(np.asarray(states, np.float32))
        expected = beliefs.batch_shape + beliefs.event_shape
        if values.shape != expected:
            raise ValueError(f"The beliefs are about states {tuple(expected)}, not {tuple(values.shape)}.")
        return beliefs.log_prob(values).double().numpy()

    def plot_track(
        self,
        dims: Sequence[int] | None = None,
        series: int = 0,
        states: ArrayLike | None = None,
        levels: Sequence[float] = (0.5, 0.9),
        names: Sequence[str] | None = None,
    ) -> Figure:
        """Draws mean and central intervals of the state's numbers over the steps of one series.

        Args:
            dims: which of the numbers; all by default.
            series: which of the series.
            states: the true states where they are known, (t, d).
            levels: masses of the intervals.
            names: of the drawn numbers.

        Raises:
            ImportError: matplotlib is not installed.
            NotFittedError: `filter` was not called.
            ValueError: no such numbers.
        """
        belief = self._filtered()
        belief = belief if len(belief.batch_shape) == 1 else map_mixture(belief, lambda part: part[series])
        dims = range(belief.event_shape[0]) if dims is None else dims
        names = [f"state {dim}" for dim in dims] if names is None else names
        figure, axes = new_figure(len(dims))
        for axis, dim, name in zip(axes, dims, names, strict=True):
            truth = None if states is None else np.asarray(states, float)[:, dim]
            draw_track(axis, belief.marginal([dim]), levels, truth, name)
        add_legend(figure)
        return figure

    def _filtered(self) -> GaussianMixture:
        """The beliefs of the last call of `filter`."""
        if not hasattr(self, "beliefs_"):
            raise NotFittedError("Nothing has been filtered yet: call filter first.")
        return self.beliefs_

    def _check_purpose(self, network: PosteriorNetwork) -> None:
        """Refuses networks whose posteriors are no priors."""
        if network.prior_kind != "mixture" or any(name != "identity" for name in network.bijections):
            raise CheckpointError(
                "A filter needs a network whose priors and posteriors are mixtures of Gaussians over the state itself; "
                "choose one from priorfit.list_checkpoints()."
            )

    def _dynamics(self, d: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """A, c and Q, float64.

        Raises:
            ValueError: wrong shapes, numbers that are not finite, or a Q that is no covariance matrix.
        """
        shapes = {"transition_matrix": (d, d), "offset": (d,), "process_noise": (d, d)}
        given = {name: getattr(self, name) for name in shapes}
        given = {name: value for name, value in given.items() if name != "offset" or value is not None}
        read = {name: torch.tensor(np.asarray(value, np.float64)) for name, value in given.items()}
        for name, value in read.items():
            if tuple(value.shape) != shapes[name] or not value.isfinite().all():
                raise ValueError(f"{name} must be {shapes[name]} finite numbers; got shape {tuple(value.shape)}.")
        noise = read["process_noise"]
        scale = noise.abs().max().item()
        if (noise - noise.T).abs().max() > 1e-6 * scale or torch.linalg.eigvalsh(noise).min() < -1e-6 * scale:
            raise ValueError("process_noise must be a covariance matrix: symmetric, with no negative eigenvalue.")
        return read["transition_matrix"], read.get("offset"), noise

    def _compared(self, network: PosteriorNetwork, looks: list[list[Look]], n_series: int) -> ndarray:
        """How unlike the training's draws the problems of each step are, (S, t), NaN where nothing was observed."""
        scores = np.full((n_series, len(looks)), np.nan)
        flat = [(step, look) for step, of_step in enumerate(looks) for look in of_step]
        if not flat:
            return scores
        parts = [look.summary for _, look in flat], [look.sizes for _, look in flat]
        found = unfamiliarity(self.metadata_, network, *parts, "updates" if scores.size > 1 else "update")
        places = [(look.series.numpy(), np.full(len(look.series), step)) for step, look in flat]
        series, steps = (np.concatenate(part) for part in zip(*places, strict=True))
        scores[series, steps] = found
        return scores

    def _seen(
        self, network: PosteriorNetwork, belief: GaussianMixture, values: dict[str, Tensor]
    ) -> tuple[GaussianMixture, list[Look]]:
        """Beliefs (S,) given the observations (S, N, size) of one step, of which some may be missing.

        The rows of a forward pass are of the same sources: series that lack the same ones go together.
        """
        present = torch.cat([~value[..., 0].isnan() for value in values.values()], 1)  # (S, rows of all sources)
        patterns, of_series = present.unique(dim=0, return_inverse=True)
        parts = [part.clone() for part in (belief.log_weights, belief.means, belief.scale_trils)]
        looks = []
        for index, pattern in enumerate(patterns):
            if not pattern.any():
                continue  # nothing was observed: the belief stays
            chosen = (of_series == index).nonzero()[:, 0]
            rows = _rows(network.sources, values, chosen, pattern)
            prior = map_mixture(belief, lambda part, chosen=chosen: part[chosen])
            posterior, summary = self._posterior(network, prior.packed(), rows)
            looks.append(Look(chosen, summary, network.n_observed(prior.packed(), rows)))
            seen = floor_weights(posterior, self.min_weight)  # type: ignore[arg-type]
            for whole, part in zip(parts, (seen.log_weights, seen.means, seen.scale_trils), strict=True):
                whole[chosen] = part
        return GaussianMixture(*parts, validate_args=False), looks


def _rows(sources: Sequence[Source], values: dict[str, Tensor], chosen: Tensor, pattern: Tensor) -> Tensor:
    """Rows (s, N, D) of the chosen series, without the observations that they all lack."""
    kept = pattern.split([value.shape[1] for value in values.values()])
    return pack(
        sources, {name: value[chosen][:, there] for (name, value), there in zip(values.items(), kept, strict=True)}
    )


def _expanded(mixture: GaussianMixture, n_series: int) -> GaussianMixture:
    """One belief per series.

    Raises:
        ValueError: another number of beliefs than series.
    """
    if mixture.batch_shape and mixture.batch_shape != (n_series,):
        raise ValueError(f"The prior has {mixture.batch_shape[0]} laws and the observations {n_series} series.")
    return mixture.expand(torch.Size([n_series]))
