"""Estimators that predict with trained networks, in scikit-learn's manners.

They need networks and checkpoints only: importing them imports neither Lightning nor Hydra.
"""

from priorfit.predictors.curve_normalizer import CurveNormalizer
from priorfit.predictors.early_stopping import EarlyStopper, StopDecision
from priorfit.predictors.gaussian_mixture_filter import GaussianMixtureFilter
from priorfit.predictors.learning_curve_extrapolator import LearningCurveExtrapolator
from priorfit.predictors.markov_jump_estimator import MarkovJumpEstimator
from priorfit.predictors.martingale_defect import MartingaleDefect
from priorfit.predictors.pfn_classifier import PFNClassifier
from priorfit.predictors.pfn_regressor import PFNRegressor
from priorfit.predictors.posterior_estimator import PosteriorEstimator
from priorfit.predictors.predictive_resampling import MartingalePosterior, predictive_resample

__all__ = [
    "CurveNormalizer",
    "EarlyStopper",
    "GaussianMixtureFilter",
    "LearningCurveExtrapolator",
    "MarkovJumpEstimator",
    "MartingaleDefect",
    "MartingalePosterior",
    "PFNClassifier",
    "PFNRegressor",
    "PosteriorEstimator",
    "StopDecision",
    "predictive_resample",
]
