"""Which tasks a network is prepared with, before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from priorfit.priors import GaussianProcess
from priorfit.training.main import prepare
from tests.toy import ToyNetwork

SIZES = {"points": 9, "features": 2, "context": 4}


class Recorder(ToyNetwork):
    """Remembers the shapes of what it is prepared with."""

    registered_name = "toy"

    def fit_to_prior(self, observed: Sequence[Any], hidden: Sequence[Any], laws: Sequence[Any]) -> None:
        self.shapes = {(len(part.x_context), part.x_context.shape[1], part.x_query.shape[1]) for part in observed}
        self.batches = len(observed)


@pytest.mark.parametrize(("context", "expected"), [(0, (500, 0, 3)), (2, (500, 2, 3)), (None, (500, 4, 5))])
def test_preparation_has_the_context_that_the_network_asks_for(
    context: int | None, expected: tuple[int, int, int]
) -> None:
    """None stands for tasks as they are drawn in training."""
    network = Recorder()
    network.preparation_queries, network.preparation_context = 3, context
    prepare(network, GaussianProcess(sizes=SIZES), seed=0, n_tasks=900)
    assert network.shapes == {expected}
    assert network.batches == 2
