"""Estimators that predict with trained networks, in scikit-learn's manners.

They need networks and checkpoints only: importing them imports neither Lightning nor Hydra.
"""

from priorfit.predictors.pfn_regressor import PFNRegressor

__all__ = ["PFNRegressor"]
