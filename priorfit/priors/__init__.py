"""Priors: one per file, each registered under a name that checkpoints record."""

if __name__ != "priorfit.priors":
    raise ImportError("Import 'priorfit.priors', not 'priors': the link at the root is for reading only.")

from priorfit.priors.base import Prior, priors
from priorfit.priors.bnn import BNN
from priorfit.priors.gaussian_process import GaussianProcess
from priorfit.priors.learning_curve import LearningCurve
from priorfit.priors.linear_bnn import LinearBNN
from priorfit.priors.mixture import Mixture
from priorfit.priors.scm import SCM
from priorfit.priors.student_t_process import StudentTProcess
from priorfit.priors.task import Curves, Regression, Table, Task

__all__ = [
    "BNN",
    "SCM",
    "Curves",
    "GaussianProcess",
    "LearningCurve",
    "LinearBNN",
    "Mixture",
    "Prior",
    "Regression",
    "StudentTProcess",
    "Table",
    "Task",
    "priors",
]
