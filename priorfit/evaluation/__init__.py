"""How far a network is from the truth: scores on fixed tasks, their summary, and the report about them."""

from priorfit.evaluation.report import Report, evaluate_checkpoint
from priorfit.evaluation.settings import Settings

__all__ = ["Report", "Settings", "evaluate_checkpoint"]
