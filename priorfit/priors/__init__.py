"""Priors: one per file, each registered under a name that checkpoints record."""

if __name__ != "priorfit.priors":
    raise ImportError("Import 'priorfit.priors', not 'priors': the link at the root is for reading only.")

from priorfit.priors.base import Prior, priors
from priorfit.priors.gaussian_process import GaussianProcess
from priorfit.priors.learning_curve import LearningCurve
from priorfit.priors.student_t_process import StudentTProcess
from priorfit.priors.task import Curves, Regression, Task

__all__ = ["Curves", "GaussianProcess", "LearningCurve", "Prior", "Regression", "StudentTProcess", "Task", "priors"]
