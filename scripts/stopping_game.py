"""A budget of epochs spent on known learning curves, one run after the other, under rules that stop runs early.

A rule is an array of thresholds (n, m): a run stops after the first epoch at which the best value found so far, in
any run, reaches the run's threshold there. Infinity never stops it, minus infinity always does.

Letters: n runs, m epochs of each, E epochs to spend, O orders of the runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from priorfit.predictors.early_stopping import EarlyStopper

FULL = "no stopping"  # the rule that all others are compared with
COARSE = 10, 20, 40, 80  # per cent of a run
PATIENCE = 1, 5, 10, 20
GRID = np.linspace(0, 1, 1001)[1:]  # shares of the budget at which groups are averaged


@dataclass(frozen=True)
class Outcome:
    """What one rule did in one group.

    Attributes:
        regret: after each epoch spent, relative to a single run's, (O, E).
        runs: how many runs were started, (O,).
    """

    regret: ndarray
    runs: ndarray

    @property
    def final(self) -> ndarray:
        """The regret when the budget is spent, (O,)."""
        return self.regret[:, -1]


def network_thresholds(curves: ndarray, stopper: EarlyStopper, tick: Callable[[], object]) -> ndarray:
    """Its rule asked after every epoch: the best value at which it stops a run there, (n, m); infinite: never."""
    thresholds = np.full(curves.shape, np.inf)
    for seen in range(stopper.min_steps, curves.shape[1]):
        thresholds[:, seen - 1] = stopper.reach(curves[:, :seen])
        tick()
    return thresholds


def coarse(thresholds: ndarray) -> ndarray:
    """The same rule where it is asked four times per run only."""
    m = thresholds.shape[1]
    asked = np.isin(np.arange(1, m + 1), [math.ceil(m * percent / 100) for percent in COARSE])
    return np.where(asked, thresholds, np.inf)


def patience_thresholds(curves: ndarray, patience: int) -> ndarray:
    """Minus infinity after `patience` epochs without a new best of the run, else infinity, (n, m)."""
    before = np.maximum.accumulate(curves, 1)[:, :-1]
    improved = np.insert(curves[:, 1:] > before, 0, True, axis=1)
    epochs = np.arange(curves.shape[1])
    waited = epochs - np.maximum.accumulate(np.where(improved, epochs, 0), 1)
    return np.where(waited >= patience, -np.inf, np.inf)


def foresight_thresholds(curves: ndarray) -> ndarray:
    """The best value that is yet to come after each epoch, (n, m)."""
    to_come = np.maximum.accumulate(curves[:, ::-1], 1)[:, ::-1]
    return np.append(to_come[:, 1:], np.full((len(curves), 1), -np.inf), axis=1)


def all_thresholds(curves: ndarray, fine: ndarray) -> dict[str, ndarray]:
    """Every rule as thresholds (n, m): a run stops after the first epoch whose threshold the best value reaches."""
    return {
        FULL: np.full(curves.shape, np.inf),
        "network, every epoch": fine,
        "network, four times": coarse(fine),
        **{f"patience {k}": patience_thresholds(curves, k) for k in PATIENCE},
        "foresight": foresight_thresholds(curves),
    }


def spend(curves: ndarray, thresholds: ndarray, order: ndarray, budget: int) -> tuple[ndarray, int]:
    """Runs one after the other until the budget is spent, or until there are no more.

    Args:
        curves: (n, m).
        thresholds: of the rule, (n, m).
        order: indices of the runs, (n,).
        budget: E, in epochs.

    Returns:
        The best value found after each epoch spent, (E,), and how many runs were started.
    """
    best, found, spent, started = -np.inf, [], 0, 0
    for run in order:
        so_far = np.maximum(np.maximum.accumulate(curves[run]), best)  # (m,)
        reached = so_far >= thresholds[run]
        used = int(reached.argmax()) + 1 if reached.any() else len(so_far)
        found.append(so_far[:used])
        best, spent, started = so_far[used - 1], spent + used, started + 1
        if spent >= budget:
            break
    trace = np.concatenate(found)[:budget]
    return np.pad(trace, (0, budget - len(trace)), mode="edge"), started


def single_regret(curves: ndarray) -> float:
    """The regret after one full run, mean over the runs of a group (n, m)."""
    return float(curves.max() - curves.max(1).mean())


def play(curves: ndarray, rules: Mapping[str, ndarray], orders: Sequence[ndarray], runs: int) -> dict[str, Outcome]:
    """Every rule on the same random orders, with the epochs of `runs` full runs to spend."""
    budget, unit, outcomes = runs * curves.shape[1], single_regret(curves) or 1.0, {}
    for name, thresholds in rules.items():
        traces, started = zip(*(spend(curves, thresholds, order, budget) for order in orders), strict=True)
        outcomes[name] = Outcome((curves.max() - np.stack(traces)) / unit, np.array(started))
    return outcomes


def average(groups: Sequence[Mapping[str, Outcome]]) -> dict[str, Outcome]:
    """Every rule's mean over the groups, at the same shares of their budgets."""
    means = {}
    for name in groups[0]:
        outcomes = [group[name] for group in groups]
        regrets = [o.regret[:, np.ceil(GRID * o.regret.shape[1]).astype(int) - 1] for o in outcomes]
        means[name] = Outcome(np.mean(regrets, 0), np.mean([o.runs for o in outcomes], 0))
    return means


def epochs_until(outcome: Outcome, target: float) -> float:
    """The first epoch at which the mean regret is at most `target`; infinite if it never is."""
    reached = outcome.regret.mean(0) <= target + 1e-12  # means of equal numbers may differ by rounding
    return float(reached.argmax() + 1) if reached.any() else math.inf


def speed_up(outcome: Outcome, full: Outcome) -> float:
    """How many times fewer epochs than full runs a rule needs for the regret that these end with; 0: never."""
    target = float(full.final.mean())
    return epochs_until(full, target) / epochs_until(outcome, target)
