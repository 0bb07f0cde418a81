"""priorfit: Bayesian inference in one forward pass.

Trained networks by name (`list_checkpoints`, `load`) and estimators that predict with them (`PFNClassifier` and
`PFNRegressor` for tables; `LearningCurveExtrapolator` and `EarlyStopper` for learning curves, whose losses a
`CurveNormalizer` maps; `MarkovJumpEstimator` for jump processes).
`PosteriorEstimator` gives posteriors under priors of your own, `GaussianMixtureFilter` follows a state over time, and
`predictive_resample` draws any parameter of a table from the posterior that predictions imply.
Whatever is asked for is imported when first used, so `import priorfit` itself takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from priorfit.hub import list_checkpoints, load
    from priorfit.predictors import (
        CurveNormalizer,
        EarlyStopper,
        GaussianMixtureFilter,
        LearningCurveExtrapolator,
        MarkovJumpEstimator,
        PFNClassifier,
        PFNRegressor,
        PosteriorEstimator,
        predictive_resample,
    )

    __version__: str

__all__ = [
    "CurveNormalizer",
    "EarlyStopper",
    "GaussianMixtureFilter",
    "LearningCurveExtrapolator",
    "MarkovJumpEstimator",
    "PFNClassifier",
    "PFNRegressor",
    "PosteriorEstimator",
    "__version__",
    "list_checkpoints",
    "load",
    "predictive_resample",
]

_HOMES = {
    "CurveNormalizer": "priorfit.predictors",
    "EarlyStopper": "priorfit.predictors",
    "GaussianMixtureFilter": "priorfit.predictors",
    "LearningCurveExtrapolator": "priorfit.predictors",
    "MarkovJumpEstimator": "priorfit.predictors",
    "PFNClassifier": "priorfit.predictors",
    "PFNRegressor": "priorfit.predictors",
    "PosteriorEstimator": "priorfit.predictors",
    "list_checkpoints": "priorfit.hub",
    "load": "priorfit.hub",
    "predictive_resample": "priorfit.predictors",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name == "__version__":
        value = _version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'priorfit' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The installed version, or "unknown" in a folder that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("priorfit")
    except PackageNotFoundError:
        return "unknown"
