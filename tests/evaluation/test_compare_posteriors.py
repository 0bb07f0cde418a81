"""`scripts/compare_posteriors.py` from end to end, and its divergences against closed forms."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from priorfit import checkpoints
from priorfit.distributions import GaussianMixture
from priorfit.models import PFN, MixtureTransformer, Network
from priorfit.priors import (
    FactorVolatility,
    GPHyperparameters,
    InverseGammaVariance,
    LatentRegression,
    LinearGaussian,
    Prior,
    TwoLevelSystem,
)
from scripts import compare_posteriors
from tests.cases import seeded
from tests.evaluation.test_compare_filters import tables

SIZES = {"width": 8, "n_layers": 1, "n_heads": 1}
ROWS = [{"name": "row", "size": 2}, {"name": "query", "size": 1}]
FAMILIES = [
    (InverseGammaVariance(), ["log"], [{"name": "value", "size": 1}]),
    (GPHyperparameters(), ["identity", "log"], ROWS),
    (TwoLevelSystem(), ["logit"], [{"name": "run", "size": 4}]),
]


def saved(path: Path, prior: Prior, network: Network) -> str:
    """A checkpoint file."""
    return str(checkpoints.save(path, network, prior))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A network with random weights for every kind of prior."""
    mixture = MixtureTransformer(2, [{"name": "output", "size": 1}], **SIZES)
    found = [saved(tmp_path / "0.safetensors", LinearGaussian(dimension=2, outputs=1), mixture)]
    for index, (prior, bijections, sources) in enumerate(FAMILIES, start=1):
        network = MixtureTransformer(len(bijections), sources, "parameters", bijections=bijections, **SIZES)
        found.append(saved(tmp_path / f"{index}.safetensors", prior, network))
    return found


def test_every_kind_of_prior(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "t.md"
    options = ["--tasks", "6", "--draws", "50", "--components", "1", "3", "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["compare_posteriors.py", *files, *options])
    compare_posteriors.main()
    written = output.read_text()
    assert written in capsys.readouterr().out
    linear, variance, process, system = tables(written)
    assert [row[:2] for row in linear[1:]] == [["2", "1"], ["2", "3"]]
    assert [row[0] for row in variance[1:]] == ["wide", "narrow", "InverseGamma(24, 6)"]
    assert [row[0] for row in process[1:]] == ["value", "lengthscale", "both"]
    for row in [*linear[1:], *(line[1:] for line in (*variance[1:], *process[1:])), *system[1:]]:
        network, reference, gap = (float(cell.split()[0]) for cell in row[-6 - (row is not system[1]) :][:3])
        assert gap == pytest.approx(network - reference, abs=2e-4)


class Shifted(Network):
    """The exact posterior of a linear observation, its mean moved by one standard deviation."""

    def __init__(self, prior: LinearGaussian) -> None:
        super().__init__()
        self.anything = torch.nn.Parameter(torch.zeros(()))
        self.prior = prior

    def compute(self, *observed: Tensor) -> GaussianMixture:
        prior, rows = observed
        law = GaussianMixture.from_packed(prior.double(), 1)
        noise = self.prior.noise * torch.eye(1)
        after, _ = law.update(self.prior.matrix, noise.double(), rows[:, 0, :1].double())
        return GaussianMixture(after.log_weights, after.means + after.scale_trils[..., 0], after.scale_trils)

    def distribution(self, output: GaussianMixture) -> GaussianMixture:
        return output


def test_the_divergence_of_a_shifted_gaussian_is_one_half() -> None:
    prior = LinearGaussian(dimension=1, outputs=1, meta_prior={"components": 1, "covariance": {"law": "wishart"}})
    options = Namespace(tasks=40, seed=0)
    torch.manual_seed(0)
    scored = compare_posteriors.score(Shifted(prior), prior, options, compare_posteriors.sampled_scores(4000))
    gap = torch.from_numpy(scored.network - scored.reference)
    torch.testing.assert_close(gap, torch.full_like(gap, 0.5), rtol=0, atol=4.5 / 4000**0.5)
    assert scored.reference.shape == (40,)
    entropy = Normal(0.0, 1.0).entropy().item()
    assert (scored.reference < entropy + 3).all()


def test_a_prior_without_reference_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = MixtureTransformer(2, [{"name": "returns", "size": 3}], **SIZES)
    path = saved(tmp_path / "own.safetensors", FactorVolatility(factors=2, assets=3), network)
    monkeypatch.setattr("sys.argv", ["compare_posteriors.py", path])
    with pytest.raises(SystemExit) as stop:
        compare_posteriors.main()
    assert stop.value.code == 1
    assert "no reference" in capsys.readouterr().err


def test_the_baseline_is_a_density_over_the_latent_itself() -> None:
    prior = LatentRegression({"prior": "inverse_gamma_variance"}, "log")
    network = PFN(max_features=prior.n_features, n_buckets=20, width=8, n_layers=1, n_heads=1)
    task = prior.latent_prior.sample(3, generator=seeded())
    with torch.no_grad():
        law = compare_posteriors.Baseline(network, prior)(*task.observed)
        edges = torch.linspace(-25, 25, 20_001).exp()
        middles, widths = (edges[1:] + edges[:-1]) / 2, edges.diff()
        density = law.log_prob(middles[:, None, None].expand(-1, 3, 1)).exp()  # (points, B)
    torch.testing.assert_close((density * widths[:, None]).sum(0), torch.ones(3), rtol=0.01, atol=0)
