"""Rates of Markov jump processes read off their paths by a trained network, as an estimator in scikit-learn's manners.

Letters: P paths, L observations, S states, E = S (S - 1) rates, D draws, T times.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy import ndarray
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from priorfit.checkpoints import AnyPath, Checkpoint
from priorfit.predictors.curve_plot import new_axes
from priorfit.predictors.jump_plot import Forecast, Graph, draw_forecast, draw_graph, observed_shares
from priorfit.predictors.jump_posterior import RatePosterior
from priorfit.predictors.jump_quantities import (
    QUANTITIES,
    entropy_production_rate,
    mean_first_passage_times,
    relaxation_times,
    stationary_distribution,
    transition_matrices,
)
from priorfit.predictors.jump_questions import draw_states, quantiles_of_draws, read_level, read_start, read_times
from priorfit.predictors.jump_reading import ObservedPaths, check_lengths, check_states, count_states, read_paths
from priorfit.predictors.jump_refinement import refined
from priorfit.predictors.limits import check_count
from priorfit.predictors.loading import RateNetwork, network_on, resolve_device
from priorfit.predictors.network_estimator import NetworkEstimator
from priorfit.predictors.path_likelihood import path_log_likelihoods
from priorfit.predictors.unfamiliar import unfamiliarity
from priorfit.registry import closest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = 200  # times at which predictions are drawn
DRAWS = 1000


class MarkovJumpEstimator(NetworkEstimator):
    """How often a system jumps from each of its states to each other, from paths that were observed now and then.

    The states follow a Markov process in continuous time: from state i it jumps to state j at rate f_ij. `fit` trains
    nothing: one forward pass of the network gives the posterior of all rates. Some of the observed states may be
    wrong. Time is in any unit, and rates are per that unit.

    Time counts from the first observation of each path, and the initial law is that of the state there.

    Args:
        n_states: S; by default as many as the largest observed state tells. States that were never observed may be
            counted in, with a warning: all that is known of their rates is the network's prior.
        checkpoint: a name from `priorfit.list_checkpoints()`, the path of a checkpoint file, or what
            `priorfit.load` returned.
        refine: go on from the network's answer to the maximum of the likelihood, with intervals from its curvature
            there. Worth its seconds where there are hundreds of paths; of few, the network makes more.
        device: where the network runs: "cpu", "cuda", or "auto" for a GPU if there is one.

    Attributes:
        n_states_: S.
        n_paths_: P.
        rate_matrix_: posterior mean of the rates, in jumps per unit of time, with minus the sums of the rows on the
            diagonal, (S, S); with refine the most probable rates.
        rate_distribution_: the law of each rate on its own and of the initial law, a `RateLaw` without batch, float64.
        edge_probability_: the network's probability that a jump is possible at all, (S, S), 0 on the diagonal.
        initial_distribution_: mean of the law of the state at the first observation, (S,).
        stationary_distribution_, relaxation_times_, mean_first_passage_times_, entropy_production_rate_: what follows
            from `rate_matrix_`; see `priorfit.predictors.jump_quantities`.
        log_rate_covariance_: of the logarithms of the rates, in the order of the rows, (E, E); with refine only.
        label_noise_: share of the observed states that seem wrong; with refine only.
        unfamiliarity_: how unlike the draws of the training's prior the paths are: 1 in 200 draws is above 1, and a
            warning tells of such. NaN where the checkpoint has no check.
        metadata_: the checkpoint's own description of itself (see `priorfit.checkpoint_file`).

    Example:
        >>> estimator = MarkovJumpEstimator().fit([([0, 0.5, 1.1], [0, 1, 1]), ([0, 0.8], [1, 0])])  # doctest: +SKIP
        >>> estimator.rate_matrix_, estimator.rate_interval(0.9)  # doctest: +SKIP
        >>> estimator.predict_proba([1, 2, 5], start=0)  # (3, 2)  # doctest: +SKIP

    Source: Berghaus et al. 2024, "Foundation Inference Models for Markov Jump Processes".
    """

    _purpose, _needs = "read rates of jump processes off paths", ("max_states",)

    def __init__(
        self,
        n_states: int | None = None,
        checkpoint: AnyPath | Checkpoint = "markov-jump",
        *,
        refine: bool = False,
        device: str | torch.device = "auto",
    ) -> None:
        self.n_states = n_states
        self.checkpoint = checkpoint
        self.refine = refine
        self.device = device

    def fit(self, paths: Any, y: None = None) -> Self:
        """Reads the rates off P paths.

        Args:
            paths: a list with one (times, states) per path; or a tuple (times, states) of arrays, states (P, L) and
                times (P, L), or (L,) for all paths, or both (L,) for a single path. Times are finite and increase
                along each path. States are whole numbers from 0 on, and -1 or NaN where nothing was observed, be it
                within a path or as padding after it. A path of one observation tells of the initial law only.
            y: not used.

        Raises:
            CheckpointError: the checkpoint cannot be loaded or its network is of another kind.
            ValueError: paths or settings that cannot be used; the message says what to do.
        """
        device = resolve_device(self.device)
        checkpoint = self._open()
        network: RateNetwork = network_on(checkpoint.network, device)
        observed = read_paths(paths)
        if (observed.lengths < 2).all():
            raise ValueError("Every path has one observation, which tells nothing of rates: at least two are needed.")
        n_states = count_states(observed, self.n_states, network.max_states)
        check_lengths(observed, checkpoint.metadata)
        posterior, summary, size = self._posterior(network, device, observed, n_states)
        (self.unfamiliarity_,) = unfamiliarity(checkpoint.metadata, network, [summary], [size], "paths").tolist()
        self._attach(network, device)
        self._observed, self.metadata_ = observed, checkpoint.metadata
        self.n_states_, self.n_paths_ = n_states, len(observed.states)
        self._set(posterior)
        return self

    def _posterior(
        self, network: RateNetwork, device: torch.device, observed: ObservedPaths, n_states: int
    ) -> tuple[RatePosterior, Tensor | None, Tensor]:
        """What the network, or the likelihood after it, makes of the paths; their summary (1, J), and its size (1,)."""
        unit = observed.mean_gap  # float32 does not hold the square of every rate in every unit
        single = observed.lengths == 1  # none such in training; what they tell is added to the initial law
        times = torch.from_numpy(observed.times[~single] / unit)[None]  # float64: short gaps late in long paths
        states, count = torch.from_numpy(observed.states[~single])[None], torch.tensor([n_states])
        with torch.inference_mode():
            arguments = times.to(device), states.to(device), count.to(device)
            law, summary = network.with_summary(*arguments)
            found, size = RatePosterior.of_network(law), network.n_observed(*arguments)
            if self.refine:
                found = refined(times, states, found)
        found = found.with_starts(np.bincount(observed.states[single, 0], minlength=n_states)).per(unit)
        return found, summary, size

    def _set(self, posterior: RatePosterior) -> None:
        """The attributes that users read."""
        self._found = posterior
        self.rate_matrix_, self.rate_distribution_ = posterior.rates, posterior.law
        self.edge_probability_, self.initial_distribution_ = posterior.edge_probability, posterior.initial
        self.stationary_distribution_ = stationary_distribution(posterior.rates)
        self.relaxation_times_ = relaxation_times(posterior.rates)
        self.mean_first_passage_times_ = mean_first_passage_times(posterior.rates)
        self.entropy_production_rate_ = float(entropy_production_rate(posterior.rates))
        for name in ("log_rate_covariance_", "label_noise_"):
            self.__dict__.pop(name, None)
        if posterior.covariance is not None:
            self.log_rate_covariance_, self.label_noise_ = posterior.covariance, posterior.label_noise

    def rate_interval(self, level: float = 0.9) -> ndarray:
        """Ends of the central intervals that hold each rate with this probability.

        Args:
            level: between 0 and 1.

        Returns:
            Lower and upper ends, (2, S, S), 0 on the diagonal; float64. A lower end of 0: the jump may be impossible.

        Raises:
            NotFittedError: before `fit`.
            ValueError: a level that is not between 0 and 1.
        """
        check_is_fitted(self)
        return self._found.quantiles(read_level(level))

    def quantity_interval(
        self,
        quantity: str | Callable[[ndarray], ndarray],
        level: float = 0.9,
        n_draws: int = DRAWS,
        random_state: int | RandomState | None = 0,
    ) -> ndarray:
        """Ends of central intervals of what follows from the rates, from draws of the rates.

        Draws in which the quantity is not defined (NaN: a stationary law that is not unique) do not count. Where jumps
        may be impossible, ends may be infinite: entropy production is in all draws with a jump that cannot be undone.

        Args:
            quantity: "stationary_distribution", "relaxation_times", "mean_first_passage_times",
                "entropy_production_rate", or a function that takes rate matrices (D, S, S), with minus the sums of
                the rows on their diagonals, to an array (D, …).
            level: between 0 and 1.
            n_draws: D.
            random_state: a seed or generator; the same draws each time by default.

        Returns:
            Lower and upper ends, (2, …), float64.

        Raises:
            NotFittedError: before `fit`.
            ValueError: an unknown quantity, or one without a value for each draw, or a level or number of draws that
                cannot be used.
        """
        check_is_fitted(self)
        levels, compute = read_level(level), _quantity(quantity)
        values = np.asarray(compute(self.sample_rates(n_draws, random_state)))
        if values.shape[:1] != (n_draws,):
            raise ValueError(
                f"The quantity must answer {n_draws} rate matrices by an array ({n_draws}, …), not {values.shape}."
            )
        return quantiles_of_draws(values, levels)

    def sample_rates(self, n: int = 1, random_state: int | RandomState | None = None) -> ndarray:
        """Rate matrices drawn from the posterior.

        The network gives each rate a law of its own, so that their draws are independent; those with refine are joint.

        Args:
            n: number of draws, D.
            random_state: a seed or generator that makes the draws repeatable.

        Returns:
            (D, S, S), with minus the sums of the rows on the diagonals; float64.

        Raises:
            NotFittedError: before `fit`.
            ValueError: n that is not a positive whole number.
        """
        check_is_fitted(self)
        check_count("n", n)
        return self._found.draw(n, _generator(random_state))[0]

    def predict_proba(self, t: ArrayLike, start: Any = None) -> ndarray:
        """Probabilities of the states at later times, p exp(F t), under `rate_matrix_`.

        Args:
            t: time since the first observation, or since the start: a number, or a list of T.
            start: the state at time 0, or a law of S probabilities; by default `initial_distribution_`.

        Returns:
            (T, S), or (S,) if `t` is a number; float64.

        Raises:
            NotFittedError: before `fit`.
            ValueError: times that are negative or not finite, or a start that is no state and no law.
        """
        check_is_fitted(self)
        times = read_times(t)
        law = self.initial_distribution_ if start is None else read_start(start, self.n_states_)
        return (law @ transition_matrices(self.rate_matrix_, times.flatten())).reshape(*times.shape, -1)

    def sample_paths(
        self, n: int, times: ArrayLike, start: Any = None, random_state: int | RandomState | None = None
    ) -> ndarray:
        """Simulates paths under `rate_matrix_`, observed at some times without mistakes.

        Args:
            n: number of paths, P.
            times: when they are observed, increasing, (T,).
            start: as for `predict_proba`, at time 0.
            random_state: a seed or generator that makes the paths repeatable.

        Returns:
            States, (P, T), int64.

        Raises:
            NotFittedError, ValueError: as `predict_proba`, and for n that is not a positive whole number.
        """
        check_is_fitted(self)
        check_count("n", n)
        instants = np.atleast_1d(read_times(times))
        gaps = np.diff(instants, prepend=0)
        if (gaps[1:] <= 0).any():
            raise ValueError("times must increase: paths are drawn from left to right.")
        law, generator = self.predict_proba(0, start), _generator(random_state)
        states = [draw_states(np.broadcast_to(law, (n, len(law))), generator)]
        for moves in transition_matrices(self.rate_matrix_, gaps):
            states.append(draw_states(moves[states[-1]], generator))
        return np.stack(states[1:], -1)

    def score_samples(self, paths: Any, label_noise: float = 0.0) -> ndarray:
        """Log probability of the states of each path given its times, under `rate_matrix_` and the initial law.

        Args:
            paths: as for `fit`.
            label_noise: probability that an observed state is wrong, and then any other alike: from 0 on, below 1.

        Returns:
            (P,), float64, in nats; minus infinity for what cannot happen.

        Raises:
            NotFittedError: before `fit`.
            ValueError: paths as refused by `fit`, states that the estimator does not know, or another noise.
        """
        check_is_fitted(self)
        observed = read_paths(paths)
        check_states(observed, self.n_states_)
        if not isinstance(label_noise, Real) or not 0 <= label_noise < 1:
            raise ValueError(f"label_noise must be a probability from 0 on and below 1, not {label_noise!r}.")
        return path_log_likelihoods(observed, self.rate_matrix_, self.initial_distribution_, label_noise)

    def score(self, paths: Any, y: None = None, label_noise: float = 0.0) -> float:
        """Log probability of all paths: the sum of `score_samples`."""
        return float(self.score_samples(paths, label_noise).sum())

    def plot(self, ax: Axes | None = None, level: float = 0.9) -> Axes:
        """Draws the states, as large as they are probable in the long run, and the jumps between them with their rates.

        Args:
            ax: where to draw; a new figure by default.
            level: probability of the intervals below the rates.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
            NotFittedError, ValueError: as `rate_interval`.
        """
        interval = self.rate_interval(level)
        axis = new_axes() if ax is None else ax
        graph = Graph(self.rate_matrix_, interval, self.edge_probability_, self.stationary_distribution_)
        draw_graph(axis, graph, level)
        return axis

    def plot_predictions(self, ax: Axes | None = None, level: float = 0.9, n_draws: int = DRAWS) -> Axes:
        """Draws the probabilities of the states over time, with intervals, and how often each was observed.

        Args:
            ax: where to draw; a new figure by default.
            level: probability of the bands, which tell how sure rates and initial law are.
            n_draws: of rates and initial law, D.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
            NotFittedError, ValueError: as `quantity_interval`.
        """
        check_is_fitted(self)
        check_count("n_draws", n_draws)
        levels, times = read_level(level), np.linspace(0, self._observed.times.max(), GRID)
        rates, initial = self._found.draw(n_draws, _generator(0))
        step = transition_matrices(rates, times[1:2])[:, 0]  # (D, S, S)
        laws = np.stack(list(accumulate(range(GRID - 1), lambda law, _: law @ step, initial=initial[:, None])), 1)
        low, high = quantiles_of_draws(laws[:, :, 0], levels)
        axis = new_axes() if ax is None else ax
        forecast = Forecast(times, self.predict_proba(times), low, high)
        draw_forecast(axis, forecast, observed_shares(self._observed, self.n_states_), level)
        return axis


def _quantity(quantity: str | Callable[[ndarray], ndarray]) -> Callable[[ndarray], ndarray]:
    """The function that is meant."""
    if callable(quantity):
        return quantity
    if quantity not in QUANTITIES:
        raise ValueError(f"Unknown quantity {quantity!r}: {closest(str(quantity), QUANTITIES)}")
    return QUANTITIES[quantity]


def _generator(random_state: int | RandomState | None) -> RandomState:
    """A generator, a new one without a seed: not numpy's global one."""
    return check_random_state(RandomState() if random_state is None else random_state)
