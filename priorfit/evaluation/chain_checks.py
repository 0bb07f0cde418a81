"""Whether Markov chains have found what they were to find.

Sources: Gelman et al. 2013, "Bayesian Data Analysis", section 11.4, and Vehtari et al. 2021, "Rank-normalization,
folding, and localization". Letters: S draws, C chains, "..." any number of quantities.
"""

from __future__ import annotations

import numpy as np

from priorfit.evaluation.scoring import Array

SMALLEST = 1e-300  # variance that is divided by


def split_rhat(draws: Array) -> Array:
    """The potential scale reduction of chains cut in halves, (...): near 1 where all of them agree.

    Args:
        draws: (S, C, ...), S at least 4.
    """
    halves = split(draws)
    length = len(halves)
    within = halves.var(0, ddof=1).mean(0)
    between = halves.mean(0).var(0, ddof=1)
    return np.sqrt(((length - 1) / length * within + between) / np.maximum(within, SMALLEST))


def effective_sample_size(draws: Array) -> Array:
    """The number of independent draws that say as much of a quantity's mean, (...).

    Autocorrelations over all half chains, summed in pairs as long as the pairs are positive and do not rise (Geyer
    1992). Quantities that never change count as independent.

    Args:
        draws: (S, C, ...), S at least 4.
    """
    halves = split(draws)
    length, total = len(halves), halves.shape[0] * halves.shape[1]
    covariance = autocovariance(halves).mean(1)  # (S / 2, ...)
    within = covariance[0] * length / (length - 1)
    whole = covariance[0] + halves.mean(0).var(0, ddof=1)
    correlation = 1 - (within - covariance) / np.maximum(whole, SMALLEST)
    correlation[0] = 1
    pairs = correlation[: length // 2 * 2].reshape(length // 2, 2, *correlation.shape[1:]).sum(1)
    pairs = np.minimum.accumulate(np.where(np.minimum.accumulate(pairs, 0) > 0, pairs, 0), 0)
    time = np.maximum(2 * pairs.sum(0) - 1, 1 / np.log10(total))
    return np.where(whole > SMALLEST, total / time, total)


def split(draws: Array) -> Array:
    """Every chain (S, C, ...) as two: (S // 2, 2 C, ...)."""
    half = len(draws) // 2
    return np.concatenate([draws[:half], draws[-half:]], 1)


def autocovariance(draws: Array) -> Array:
    """Of each chain (S, C, ...) at lags 0 … S - 1, in the same shape."""
    length = len(draws)
    spectrum = np.fft.rfft(draws - draws.mean(0), 2 * length, axis=0)
    return np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:length] / length
