"""The figure of rates: what is drawn where, on a network that is right by construction."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorfit.checkpoints import Checkpoint
from priorfit.distributions import RateLaw
from priorfit.evaluation import jump_figure as module
from priorfit.evaluation.jump_figure import LEVELS, covered, jump_figure
from priorfit.evaluation.metrics import Row
from priorfit.evaluation.report import Report
from priorfit.evaluation.settings import Settings
from priorfit.models import Network
from priorfit.priors import JumpPaths, Prior, Task
from tests.evaluation.exact import gentle

ABSENT = 0.3


class Rates(Prior):
    """Rates that are absent with probability 0.3, else log-normal; the paths say nothing."""

    def __init__(self, paths: int = 1) -> None:
        self.paths = paths

    def with_context(self, n_context: int, n_query: int) -> Rates:
        return Rates(n_context)

    def sample(self, batch_size: int, *, generator: torch.Generator) -> Task:
        shape = (batch_size, 3, 3)
        there = torch.rand(shape, generator=generator) > ABSENT
        rates = torch.where(there, torch.randn(shape, generator=generator).exp(), 0) * ~torch.eye(3, dtype=torch.bool)
        hidden = torch.cat([rates, torch.full((batch_size, 3, 1), 1 / 3)], -1)
        times = torch.zeros(batch_size, self.paths, 2)
        states = torch.zeros(batch_size, self.paths, 2, dtype=torch.int64)
        return Task(JumpPaths(times, states, torch.full((batch_size,), 3)), hidden)


class Knows(Network):
    """Answers with the prior, its scales multiplied by `factor`."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.anything = nn.Parameter(torch.zeros(()))

    def compute(self, *observed: Tensor) -> Any:
        return len(observed[0])

    def distribution(self, output: Any) -> RateLaw:
        zero = torch.zeros(output, 3, 3)
        logits, one = zero + np.log(ABSENT / (1 - ABSENT)), zero[..., None]
        return RateLaw(logits, one, one, one + self.factor, torch.ones(output, 3))


def report(prior: Prior, network: Network, sizes: tuple[int, ...] = (1, 30)) -> Report:
    rows = [cast(Row, type("Stub", (), {"n_context": n})()) for n in sizes]
    return Report("toy", Checkpoint(network, {}), prior, Settings(device="cpu"), rows, [], 0.0)


def test_rates_are_drawn_where_they_are() -> None:
    figure = jump_figure(report(Rates(), Knows()))
    assert figure is not None
    one, other, coverage = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["1 path", "30 paths", "Central intervals"]
    task = module._draw(report(Rates(), Knows()), 30, 1)[0]
    rates = task.hidden[..., :-1][..., ~torch.eye(3, dtype=torch.bool)]
    there = rates[rates > 0].numpy()
    dots = other.containers[0].lines[0]
    np.testing.assert_allclose(np.sort(dots.get_xdata()), np.sort(there), rtol=1e-5)
    np.testing.assert_allclose(dots.get_ydata(), (1 - ABSENT) * np.exp(0.5), rtol=1e-5)
    absent = other.containers[1].lines[0]
    assert len(absent.get_xdata()) == int((rates == 0).sum())
    assert np.ptp(absent.get_xdata()) == 0
    assert one.get_xscale() == "log"
    assert [text.get_text() for text in coverage.get_legend().get_texts()] == ["1", "30"]


@pytest.mark.parametrize(("factor", "sign"), [(1.0, 0), (0.4, -1), (2.5, 1)])
def test_coverage_tells_too_narrow_from_too_wide(factor: float, sign: int) -> None:
    figure = jump_figure(report(Rates(), Knows(factor)))
    assert figure is not None
    shares = np.asarray(figure.axes[-1].get_lines()[0].get_ydata())
    if sign:
        assert sign * (shares - LEVELS).mean() > 0.05
    else:
        np.testing.assert_allclose(shares, LEVELS, atol=4 * 0.5 / np.sqrt(8 * 6 * 6))


def test_shares_are_counted_around_the_middle() -> None:
    levels = covered(np.array([0.5, 0.26, 0.99, 0.01]))
    np.testing.assert_array_equal(levels[np.isclose(LEVELS, 0.5)], 0.5)
    np.testing.assert_array_equal(levels[0], 0.25)


def test_other_priors_have_another_figure() -> None:
    assert jump_figure(report(gentle(), Knows())) is None
