"""Estimators that predict with trained networks, in scikit-learn's manners.

They need networks and checkpoints only: importing them imports neither Lightning nor Hydra.
"""

from priorfit.predictors.curve_normalizer import CurveNormalizer
from priorfit.predictors.early_stopping import EarlyStopper, StopDecision
from priorfit.predictors.learning_curve_extrapolator import LearningCurveExtrapolator
from priorfit.predictors.pfn_classifier import PFNClassifier
from priorfit.predictors.pfn_regressor import PFNRegressor

__all__ = [
    "CurveNormalizer",
    "EarlyStopper",
    "LearningCurveExtrapolator",
    "PFNClassifier",
    "PFNRegressor",
    "StopDecision",
]
