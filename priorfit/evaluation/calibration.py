"""Whether a network knows how much it does not know: the summary of a `Probe`, each number beside its null value.

Letters: T tasks, N independent ones, D hidden numbers per task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from priorfit.evaluation.estimates import Estimate, estimate, estimate_present
from priorfit.evaluation.probing import Probe
from priorfit.evaluation.reliability import reliability
from priorfit.evaluation.scoring import Array, Scores
from priorfit.evaluation.uniformity import Uniformity, uniformity

TESTS = {"transform": "PIT", "highest_density": "densest region", "tarp": "TARP"}  # fields of `Calibration`


@dataclass(frozen=True)
class Calibration:
    """Diagnostics of one context size; None where the network's distribution does not offer what they need.

    Tests look at one hidden value of each independent task, as values of one task depend on one another.

    Attributes:
        transform: whether the cdf at the truth (or its rank among draws) is uniform, each number by itself.
        central: the same of the level of the smallest central interval that holds the truth.
        highest_density: the same of the level of the smallest highest-density region that holds it; a joint test.
        tarp: the same of the share of draws that are nearer to a reference point; a joint test.
        score_name: "CRPS", "energy score" or "Brier score".
        score: its mean.
        own_score: what it would be if the truths were draws from the network's distributions.
        excess: score - own_score; 0 for a calibrated network.
        z_mean: mean of (mean - truth) / sd; 0 for a calibrated network.
        z_square: mean of its square; 1 for a calibrated network.
        contraction: median of 1 - (variance of the network's distribution) / (variance of the truths), in [0, 1].
        r_squared: 1 - (mean squared error of the network's mean) / (variance of the truths).
        expected_r_squared: the same if the network's variances were right.
        expected_calibration_error: of the most probable class's probability.
        null_calibration_error: what that is for a calibrated network; None where too few tasks are independent.
    """

    transform: Uniformity | None = None
    central: Uniformity | None = None
    highest_density: Uniformity | None = None
    tarp: Uniformity | None = None
    score_name: str | None = None
    score: Estimate | None = None
    own_score: Estimate | None = None
    excess: Estimate | None = None
    z_mean: Estimate | None = None
    z_square: Estimate | None = None
    contraction: float | None = None
    r_squared: float | None = None
    expected_r_squared: float | None = None
    expected_calibration_error: float | None = None
    null_calibration_error: float | None = None

    def p_values(self) -> dict[str, float]:
        """The p-value of each test that was made, by its name."""
        tests = {label: getattr(self, name) for name, label in TESTS.items()}
        return {label: test.p_value for label, test in tests.items() if test is not None}


def calibration(scores: Scores) -> Calibration | None:
    """The diagnostics of one context size; None without a probe."""
    probe = scores.probe
    if probe is None:
        return None
    uniform = {name: independent(getattr(probe, name), scores) for name in TESTS}
    classes = probe.confidence is not None
    uniform["central"] = None if classes else central_levels(uniform["transform"])
    tests = {name: None if values is None else uniformity(values) for name, values in uniform.items()}
    return Calibration(**tests, **_scores(scores, probe), **_moments(scores, probe), **_classes(scores, probe))


def independent(values: Array | None, scores: Scores) -> Array | None:
    """Those of values (T, D) that are independent of one another: the first task of each unit.

    Laws of several numbers keep them all, (N, D): each is looked at by itself. Of values of one kind each task gives
    one, in turns, (N, 1).
    """
    if values is None:
        return None
    _, first = np.unique(test_unit(scores), return_index=True)
    chosen = values[first]
    return chosen if scores.several else chosen[np.arange(len(chosen)), np.arange(len(chosen)) % chosen.shape[1], None]


def test_unit(scores: Scores) -> Array:
    """Which tasks are independent as far as tests go."""
    return scores.unit if scores.test_unit is None else scores.test_unit


def central_levels(transform: Array | None) -> Array | None:
    """The levels of the smallest central intervals that hold the truth: |2u - 1|."""
    return None if transform is None else np.abs(2 * transform - 1)


def _scores(scores: Scores, probe: Probe) -> dict:
    """The proper score and what it should be."""
    if probe.score is None or probe.own_score is None:
        return {}
    several = "energy score" if scores.several else "CRPS"
    return {
        "score_name": several if probe.confidence is None else "Brier score",
        "score": estimate(probe.score, scores.unit),
        "own_score": estimate(probe.own_score, scores.unit),
        "excess": estimate(probe.score - probe.own_score, scores.unit),
    }


def z_scores(probe: Probe) -> Array | None:
    """(mean - truth) / sd, (T, D); NaN where the network's sd is 0 or not finite."""
    if probe.mean is None or probe.std is None or probe.truth is None:
        return None
    usable = (probe.std > 0) & np.isfinite(probe.std)
    return np.divide(probe.mean - probe.truth, probe.std, out=np.full_like(probe.mean, np.nan), where=usable)


def contractions(probe: Probe) -> Array:
    """1 - (variance of the network's distribution) / (variance of the truths over the tasks), in [0, 1], (T, D).

    The variance of the truths stands for that of the prior. NaN for numbers that are always the same.
    """
    assert probe.std is not None
    assert probe.truth is not None
    variance = np.nanvar(probe.truth, 0)
    ratio = np.divide(np.square(probe.std), variance, out=np.full_like(probe.std, np.nan), where=variance > 0)
    return np.clip(1 - ratio, 0, 1)


def _moments(scores: Scores, probe: Probe) -> dict:
    """z-scores, contraction and recovery."""
    z = z_scores(probe)
    if z is None or probe.mean is None or probe.std is None or probe.truth is None or np.isnan(z).all():
        return {}
    varying = (np.nanvar(probe.truth, 0) > 0) & ~np.isnan(probe.std).all(0)
    if not varying.any():
        return {}
    mean, std, truth = (values[:, varying] for values in (probe.mean, probe.std, probe.truth))
    variance = np.nanvar(truth, 0)
    return {
        "z_mean": estimate_present(z, scores.unit),
        "z_square": estimate_present(np.square(z), scores.unit),
        "contraction": float(np.nanmedian(contractions(probe))),
        "r_squared": _finite(np.mean(1 - np.nanmean(np.square(mean - truth), 0) / variance)),
        "expected_r_squared": _finite(np.mean(1 - np.nanmean(np.square(std), 0) / variance)),
    }


def _finite(value: float) -> float | None:
    """The number, or None where it is infinite or NaN."""
    return float(value) if np.isfinite(value) else None


def _classes(scores: Scores, probe: Probe) -> dict:
    """The expected calibration error and its null value."""
    if probe.confidence is None or scores.correct is None:
        return {}
    curve = reliability(probe.confidence, scores.correct, test_unit(scores))
    return {"expected_calibration_error": curve.error, "null_calibration_error": _finite(curve.expected_error)}
