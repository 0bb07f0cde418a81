"""`latent_figure` on networks that are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import InverseGamma

from priorfit.checkpoints import Checkpoint
from priorfit.distributions import ScalarEvent
from priorfit.evaluation.latent_figure import latent_figure
from priorfit.evaluation.report import Report
from priorfit.evaluation.settings import Settings
from priorfit.models import Network
from priorfit.priors import InverseGammaVariance, LinearGaussian, Prior, Task
from priorfit.priors.task import Evidence
from tests.toy import ToyPrior


class ExactNetwork(Network):
    """Answers with the prior's own posterior."""

    def __init__(self) -> None:
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(()))
        self.prior: Prior | None = None

    def compute(self, *observed: Tensor) -> Evidence:
        return Evidence(*observed)

    def distribution(self, output: Evidence) -> torch.distributions.Distribution:
        assert self.prior is not None
        task = Task(output, output.prior.new_zeros(len(output.prior), 1))
        law = self.prior.posterior(task)
        return InverseGammaEvent(law.base_dist) if isinstance(law, ScalarEvent) else law


class InverseGammaEvent(ScalarEvent):
    """With quantiles, by the gamma law's."""

    def icdf(self, value: Tensor) -> Tensor:
        from scipy import stats

        law = self.base_dist
        assert isinstance(law, InverseGamma)
        concentration, rate = law.concentration[:, 0], law.rate[:, 0]  # type: ignore[attr-defined]
        return torch.from_numpy(stats.invgamma.ppf(value, concentration, scale=rate))[:, None]


class Row:
    """Of a report: only the size is looked at."""

    def __init__(self, n_context: int) -> None:
        self.n_context = n_context


def report(prior: Prior, sizes: list[int]) -> Report:
    network = ExactNetwork()
    network.prior = prior
    settings = Settings(context_sizes=sizes, device="cpu")
    return Report("exact", Checkpoint(network, {}), prior, settings, [Row(n) for n in sizes], [], 0.0)  # type: ignore[misc]


def test_densities_of_single_numbers() -> None:
    figure = latent_figure(report(InverseGammaVariance(rows=[1, 4]), [0, 1, 4]))
    assert figure is not None
    assert len(figure.axes) == 6
    for axis in figure.axes:
        lines = {line.get_label(): line for line in axis.get_lines()}
        assert set(lines) == {"network", "reference", "prior", "truth"}
        np.testing.assert_allclose(lines["network"].get_ydata(), lines["reference"].get_ydata())
        mass = np.trapezoid(lines["network"].get_ydata(), lines["network"].get_xdata())
        assert mass == pytest.approx(0.975, abs=0.01)
        assert np.abs(np.asarray(lines["prior"].get_ydata()) - lines["network"].get_ydata()).max() > 0.01


def test_recovery_of_vectors() -> None:
    prior = LinearGaussian(dimension=4, outputs=4, noise=0.01, rows=[1, 3])
    figure = latent_figure(report(prior, [0, 3]))
    assert figure is not None
    assert len(figure.axes) == 3
    for axis in figure.axes:
        dots = next(line for line in axis.get_lines() if line.get_label() == "network median")
        (bars,) = axis.collections
        truth, middle = np.asarray(dots.get_xdata()), np.asarray(dots.get_ydata())
        ends = np.array([path.vertices[:, 1] for path in bars.get_paths()])
        inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        assert inside.mean() > 0.75  # of 60, 54 expected
        assert np.corrcoef(truth, middle)[0, 1] > 0.9


def test_other_tasks_have_none() -> None:
    assert latent_figure(report(ToyPrior(), [1])) is None
