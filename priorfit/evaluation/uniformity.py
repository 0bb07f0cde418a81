"""Whether numbers are uniform on [0, 1]: simultaneous bands of their distribution function, and one test.

Values that must be uniform where a network is calibrated: probability integral transforms, ranks, `tarp`. A band for
each point alone is left somewhere by a calibrated network far more often than it says; these hold all points at once.

Source: Säilynoja, Bürkner, Vehtari 2022, "Graphical test for discrete uniformity and its applications in
goodness-of-fit evaluation and multiple sample comparison".
Letters: N values, D columns of them, K points, M simulated samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import binom

Array = np.ndarray
POINTS, SIMULATIONS, COVERAGE = 100, 4000, 0.95


@dataclass(frozen=True)
class Uniformity:
    """How uniform values are.

    Attributes:
        values: N.
        p_value: of the test that stands behind the band, times the number of columns.
        error: mean over the levels of |share of values below the level - level|, mean over the columns.
        expected_error: what `error` is on average for uniform values.
        log_gamma: logarithm of the test statistic over its quantile at 1 - `COVERAGE`, of the worst column: below 0
            where the curve leaves the band.
    """

    values: int
    p_value: float
    error: float
    expected_error: float
    log_gamma: float


@dataclass(frozen=True)
class Null:
    """What samples of N uniform values do, by simulation.

    Attributes:
        lower: P(count <= c) at each point, (K, N + 1).
        upper: P(count >= c), likewise.
        tails: of each simulated sample, the smallest two-sided tail probability over the points, sorted, (M,).
        expected_error: mean over samples and points of |share - level|.
    """

    lower: Array
    upper: Array
    tails: Array
    expected_error: float

    def smallest_tail(self, counts: Array) -> Array:
        """min over the points of 2 min(P(count <= c), P(count >= c)), of counts (..., K)."""
        points = np.arange(counts.shape[-1])
        return 2 * np.minimum(self.lower[points, counts], self.upper[points, counts]).min(-1)


def levels() -> Array:
    """The points at which distribution functions are compared, inside (0, 1), (K,)."""
    return np.arange(1, POINTS) / POINTS


@lru_cache(maxsize=8)
def null(n_values: int) -> Null:
    """The law of everything here for N uniform values; the same at every call."""
    counts = np.arange(n_values + 1)
    lower = binom.cdf(counts, n_values, levels()[:, None])  # (K, N + 1)
    upper = binom.sf(counts - 1, n_values, levels()[:, None])
    rng = np.random.default_rng(n_values)
    cells = rng.multinomial(n_values, np.full(POINTS, 1 / POINTS), SIMULATIONS)  # (M, K + 1)
    simulated = cells.cumsum(1)[:, :-1]
    error = float(np.abs(simulated / n_values - levels()).mean())
    without_tails = Null(lower, upper, np.empty(0), error)
    return Null(lower, upper, np.sort(without_tails.smallest_tail(simulated)), error)


def shares(values: Array, at: Array | None = None) -> Array:
    """The share of values (N,) at or below each level, (K,)."""
    return np.searchsorted(np.sort(values), levels() if at is None else at, side="right") / len(values)


def band(n_values: int, coverage: float = COVERAGE) -> tuple[Array, Array]:
    """Lowest and highest shares at `levels` that N uniform values keep to, all of them at once, with this probability.

    Returns:
        low, high: (K,) each; the sample is outside where a share is below `low` or above `high`.
    """
    law = null(n_values)
    tail = np.quantile(law.tails, 1 - coverage, method="lower")
    inside = 2 * np.minimum(law.lower, law.upper) >= tail  # (K, N + 1)
    low, high = inside.argmax(1), n_values - inside[:, ::-1].argmax(1)
    return low / n_values, high / n_values


def present(values: Array) -> list[Array]:
    """The columns of values (N, D) that most rows have, without NaN: tasks may differ in how many numbers they hide."""
    columns = [column[~np.isnan(column)] for column in values.T]
    most = max(map(len, columns))
    return [column for column in columns if len(column) == most > 0]


def uniformity(values: Array) -> Uniformity:
    """Tests whether each column of values (N, D) is uniform; NaN for values that are not there.

    The test statistic is the smallest two-sided binomial tail over the levels; a sample leaves the band of coverage c
    where its p-value is below 1 - c. Columns are tested one by one, and the smallest p-value is multiplied by their
    number (Bonferroni), as they may depend on one another.

    Raises:
        ValueError: no values.
    """
    columns = present(values)
    if not columns:
        raise ValueError("There are no values to test.")
    each = [(null(len(column)), shares(column)) for column in columns]
    p_values = [_p_value(law, share, len(column)) for (law, share), column in zip(each, columns, strict=True)]
    gammas = [_log_gamma(law, share, len(columns)) for law, share in each]
    return Uniformity(
        values=len(columns[0]),
        p_value=min(1.0, min(p_values) * len(columns)),
        error=float(np.mean([np.abs(share - levels()).mean() for _, share in each])),
        expected_error=float(np.mean([law.expected_error for law, _ in each])),
        log_gamma=min(gammas),
    )


def _log_gamma(law: Null, share: Array, n_columns: int) -> float:
    """log γ - log γ', where uniform values have γ < γ' with probability (1 - `COVERAGE`) / D."""
    n_values = law.lower.shape[1] - 1
    gamma = law.smallest_tail(np.rint(share * n_values).astype(int))
    gamma = max(gamma, np.finfo(np.float64).tiny)  # far outside, tails underflow
    return float(np.log(gamma / np.quantile(law.tails, (1 - COVERAGE) / n_columns, method="lower")))


def _p_value(law: Null, share: Array, n_values: int) -> float:
    """Share of simulated samples that are at least as extreme; no more than the tails of all points together.

    The latter goes below 1 / (M + 1), as it must where it is multiplied by a large number of tests.
    """
    tail = law.smallest_tail(np.rint(share * n_values).astype(int))
    simulated = (1 + np.searchsorted(law.tails, tail, side="right")) / (1 + len(law.tails))
    return float(min(simulated, tail * len(share)))
