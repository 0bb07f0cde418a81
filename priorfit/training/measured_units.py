"""The size of a change of measured numbers: in standard deviations of what the prior draws.

Letters: B tasks, n observed items, D numbers per item where there are several.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from priorfit.priors import Prior
from priorfit.training.task_stream import PREPARATION, task_generator

BATCHES, BATCH = 20, 50  # draws that standard deviations are taken from; sizes are drawn by batch
RANK = 1  # other draws than networks are prepared with


class MeasuredUnits:
    """One unit of each measured number of tasks: its standard deviation over the prior's draws.

    Perturbations and Fisher information in these units can be compared between priors. Units depend on the prior alone.

    Args:
        prior: what draws the tasks.

    Attributes:
        scale: the standard deviations, () or (D,); 0 in columns without measurements.

    Raises:
        ValueError: the prior's tasks have no numbers that were measured.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        sums = [self._sums(task_generator(0, PREPARATION, RANK, index)) for index in range(BATCHES)]
        count, total, squares = (torch.stack(column).sum(0) for column in zip(*sums, strict=True))
        if not (count > 1).any():
            raise ValueError(f"The tasks of '{prior.registered_name}' observe no real numbers that were measured.")
        mean = total / count.clamp(min=1)
        self.scale = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt().float()

    def _sums(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Number, sum and sum of squares of the measured numbers of one batch, each () or (D,), float64."""
        observed = self.prior.sample(BATCH, generator=generator).observed
        mask = self.prior.measurements(observed)
        values = torch.where(mask, getattr(observed, observed.measured).double(), 0.0)
        return mask.double().sum((0, 1)), values.sum((0, 1)), values.square().sum((0, 1))

    def __call__(self, observed: Any) -> Tensor:
        """The units of all numbers of the measured field, (B, n) or (B, n, D); 0 for those that were not measured."""
        mask = self.prior.measurements(observed)
        return mask * self.scale.to(mask.device)
