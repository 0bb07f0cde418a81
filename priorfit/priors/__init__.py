"""Priors: one per file, each registered under a name that checkpoints record."""

if __name__ != "priorfit.priors":
    raise ImportError("Import 'priorfit.priors', not 'priors': the link at the root is for reading only.")

from priorfit.priors.base import Prior, priors
from priorfit.priors.bnn import BNN
from priorfit.priors.factor_volatility import FactorVolatility
from priorfit.priors.gaussian_process import GaussianProcess
from priorfit.priors.gp_hyperparameters import GPHyperparameters
from priorfit.priors.inverse_gamma_variance import InverseGammaVariance
from priorfit.priors.latent_regression import LatentRegression
from priorfit.priors.learning_curve import LearningCurve
from priorfit.priors.linear_bnn import LinearBNN
from priorfit.priors.linear_gaussian import LinearGaussian
from priorfit.priors.markov_jump import MarkovJump
from priorfit.priors.mixture import Mixture
from priorfit.priors.range_bearing import RangeBearing
from priorfit.priors.scm import SCM
from priorfit.priors.student_t_process import StudentTProcess
from priorfit.priors.task import Curves, Evidence, JumpPaths, Regression, Table, Task
from priorfit.priors.two_level_system import TwoLevelSystem

__all__ = [
    "BNN",
    "SCM",
    "Curves",
    "Evidence",
    "FactorVolatility",
    "GPHyperparameters",
    "GaussianProcess",
    "InverseGammaVariance",
    "JumpPaths",
    "LatentRegression",
    "LearningCurve",
    "LinearBNN",
    "LinearGaussian",
    "MarkovJump",
    "Mixture",
    "Prior",
    "RangeBearing",
    "Regression",
    "StudentTProcess",
    "Table",
    "Task",
    "TwoLevelSystem",
    "priors",
]
