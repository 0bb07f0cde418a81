"""The line on calibration does not acquit a network on the word of a few tasks."""

from __future__ import annotations

import pytest

from priorfit.evaluation import evaluate_checkpoint
from priorfit.evaluation.calibration_writers import FEWEST, verdict
from priorfit.priors import Mixture
from tests.evaluation.exact import Exact, gentle, in_memory

PART = {"prior": "gaussian_process", **gentle().arguments}


@pytest.mark.parametrize(
    ("mixed", "tasks", "batch_size", "widening", "words"),
    [
        (False, 120, 10, 1.0, "no evidence of miscalibration"),
        (False, 60, 10, 1.0, "too few independent tasks to judge (N = 60)"),
        (True, 120, 10, 1.0, "too few independent tasks to judge (N = 12)"),  # tasks of a batch share the part
        (True, 120, 1, 1.0, "no evidence of miscalibration"),
        (False, 60, 10, 0.2, ": evidence of miscalibration"),  # p-values hold for few tasks, too
    ],
)
def test_few_independent_tasks_can_convict_but_not_acquit(
    mixed: bool, tasks: int, batch_size: int, widening: float, words: str
) -> None:
    prior = Mixture({"one": PART, "other": PART}) if mixed else gentle()
    checkpoint = in_memory(Exact(gentle().arguments, widening=widening), prior)
    options = {"context_sizes": [5], "tasks": tasks, "batch_size": batch_size, "queries": 2, "device": "cpu"}
    assert words in verdict(evaluate_checkpoint(checkpoint, progress=False, **options))
    assert 60 < FEWEST <= 120
