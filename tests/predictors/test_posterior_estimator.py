"""`PosteriorEstimator` on a network that is exact: posteriors in closed form, every kind of prior, and refusals."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.distributions import Beta, Categorical, InverseGamma, MixtureSameFamily, MultivariateNormal, Normal

from priorfit import checkpoints
from priorfit.checkpoints import Checkpoint, CheckpointError
from priorfit.distributions import GaussianMixture, TransformedMixture
from priorfit.models import MixtureTransformer
from priorfit.predictors import PosteriorEstimator
from priorfit.priors import LinearGaussian
from tests.cases import assert_same, perturbed, seeded
from tests.predictors.linear_gaussian_network import (
    MATRICES,
    NOISES,
    LinearGaussianNetwork,
    linear_gaussian,
    linear_gaussian_with_check,
)

NAN = float("nan")


def mixture(batch: tuple[int, ...] = (), k: int = 3) -> GaussianMixture:
    """A random mixture over two numbers."""
    generator = seeded(5)
    weights = torch.rand(*batch, k, generator=generator) + 0.1
    roots = torch.randn(*batch, k, 2, 3, generator=generator)
    means = torch.randn(*batch, k, 2, generator=generator)
    return GaussianMixture.from_moments(weights / weights.sum(-1, keepdim=True), means, roots @ roots.mT)


def updated(prior: GaussianMixture, name: str, values: torch.Tensor) -> GaussianMixture:
    """The exact posterior of one observation."""
    return prior.update(MATRICES[name], NOISES[name], values)[0]


def estimator(**options: object) -> PosteriorEstimator:
    return PosteriorEstimator(linear_gaussian(), device="cpu", **options)  # type: ignore[arg-type]


def test_one_problem() -> None:
    prior, seen = mixture(), torch.tensor([0.3, -1.0])
    expected = updated(prior, "both", seen)
    found = estimator().update(prior, {"both": seen})
    assert found.batch_shape == ()
    assert_same(found, expected, rtol=1e-4, atol=1e-5)
    assert_same(estimator().update(prior, {"both": [[0.3, -1.0]]}), found)


def test_a_batch_of_problems_with_several_rows_of_both_sources() -> None:
    prior = mixture((5,))
    values = {"position": torch.randn(5, 2, 1, generator=seeded(1)), "both": torch.randn(5, 1, 2, generator=seeded(2))}
    expected = updated(prior, "both", values["both"][:, 0])
    for row in values["position"].unbind(1):
        expected = updated(expected, "position", row)
    model = estimator(batch_size=np.int64(2))
    found = model.update(prior, {name: value.numpy() for name, value in values.items()})
    assert_same(found, expected, rtol=1e-3, atol=1e-4)
    assert [prior[0] for prior, _ in model._network.calls] == [2, 2, 1]  # type: ignore[attr-defined]


def test_one_prior_for_many_problems_and_many_priors_for_one_observation() -> None:
    values = torch.randn(4, 1, 1, generator=seeded(3))
    prior = mixture()
    assert_same(
        estimator().update(prior, {"position": values}),
        updated(prior.expand(torch.Size([4])), "position", values[:, 0]),
        rtol=1e-4,
        atol=1e-5,
    )
    many = mixture((4,))
    assert_same(
        estimator().update(many, {"position": [0.5]}),
        updated(many, "position", torch.full((4, 1), 0.5)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_nothing_observed_returns_the_prior_and_a_posterior_is_the_next_prior() -> None:
    prior, model = mixture(), estimator()
    assert_same(model.update(prior, {}), prior, rtol=1e-5, atol=1e-6)
    assert_same(model.update(prior, {"both": np.zeros((0, 2))}), prior, rtol=1e-5, atol=1e-6)
    both = model.update(prior, {"both": [0.3, -1.0], "position": [0.4]})
    after = model.update(model.update(prior, {"position": [0.4]}), {"both": [0.3, -1.0]})
    assert_same(after, both, rtol=1e-3, atol=1e-4)


def test_priors_as_torch_distributions() -> None:
    whole, model, seen = mixture(), estimator(), {"position": [0.4]}
    parts = MultivariateNormal(whole.means, scale_tril=whole.scale_trils)
    expected = model.update(whole, seen)
    assert_same(
        model.update(MixtureSameFamily(Categorical(whole.weights), parts), seen), expected, rtol=1e-4, atol=1e-5
    )
    single = MultivariateNormal(torch.zeros(2), torch.eye(2))
    same = GaussianMixture(torch.zeros(1), torch.zeros(1, 2), torch.eye(2)[None])
    assert_same(model.update(single, seen), model.update(same, seen))


@pytest.mark.parametrize("k", [3, 4, 7])
def test_splitting_components_leaves_the_density_as_it_is(k: int) -> None:
    prior, seen = mixture((2,)), {"position": [0.4]}
    one, many = (estimator(n_components=n).update(prior, seen) for n in (None, k))
    assert many.n_components == k  # type: ignore[union-attr]
    assert many.log_weights.unique().numel() == 2 * k  # type: ignore[union-attr]
    points = torch.randn(50, 1, 2, generator=seeded(8))
    torch.testing.assert_close(many.log_prob(points), one.log_prob(points), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("prior", "observations", "message"),
    [
        (mixture(), {"radar": [1.0]}, "Unknown sources: radar"),
        (mixture(), [1.0], "must be a dictionary by source"),
        (mixture(), {"both": [1.0]}, r"must be \(2,\), \(rows, 2\) or"),
        (mixture(), {"position": [NAN]}, "NaN"),
        (mixture(), {"position": ["a"]}, "array of numbers"),
        (mixture((3,)), {"position": np.zeros((2, 1, 1))}, "3 laws and the observations are of 2 problems"),
        (mixture((3, 2)), {"position": [1.0]}, "batch shape"),
        (MultivariateNormal(torch.zeros(3), torch.eye(3)), {"position": [1.0]}, "vectors of 2 numbers"),
        (Normal(0.0, 1.0), {"position": [1.0]}, "vectors of 2 numbers"),
        (mixture(), {"position": np.zeros((0, 3, 1))}, "at least one problem"),
        (
            GaussianMixture(torch.tensor([1.0, 0.0]).log(), torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2)),
            {"position": [1.0]},
            "weight zero",
        ),
        (
            GaussianMixture(torch.zeros(2), torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2), validate_args=False),
            {"position": [1.0]},
            "sum to one",
        ),
        (
            GaussianMixture(torch.zeros(1), torch.zeros(1, 2), -torch.eye(2)[None], validate_args=False),
            {"position": [1.0]},
            "positive diagonal",
        ),
        (
            TransformedMixture(mixture(), ["identity", "log"]),
            {"position": [1.0]},
            "bijections",
        ),
    ],
)
def test_bad_input_is_refused(prior: object, observations: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimator().update(prior, observations)


def test_bad_settings_and_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        estimator(batch_size=0).update(mixture(), {})
    with pytest.raises(ValueError, match="batch_size"):
        estimator(batch_size=True).update(mixture(), {})
    with pytest.raises(ValueError, match="n_components must be"):
        estimator(n_components=3.5).update(mixture(), {})
    with pytest.raises(ValueError, match="n_components=2 are fewer"):
        estimator(n_components=2).update(mixture(), {})
    with pytest.raises(TypeError, match="mixtures of Gaussians"):
        estimator().update(Beta(1.0, 1.0), {})
    with pytest.raises(CheckpointError, match="does not give posteriors"):
        PosteriorEstimator(Checkpoint(torch.nn.Linear(1, 1), {}), device="cpu").update(mixture(), {})  # type: ignore[arg-type]


def test_a_prior_far_from_the_training_priors_is_warned_of() -> None:
    far = MultivariateNormal(torch.tensor([0.0, 50.0]), torch.eye(2))
    model = PosteriorEstimator(linear_gaussian_with_check(), device="cpu")
    with pytest.warns(
        UserWarning, match=r"^Problem: .*unfamiliarity_ is 2.3, .*Farthest: largest mean of the prior \(\+7"
    ):
        model.update(far, {"position": [1.0]})
    assert model.unfamiliarity_ == pytest.approx(2.26, abs=0.01)
    model.update(mixture(), {"position": [1.0]})  # no warning
    assert model.unfamiliarity_ < 0.5


def test_observations_far_from_those_of_the_training_are_warned_of() -> None:
    model = PosteriorEstimator(linear_gaussian_with_check(), device="cpu")
    values = np.full((100, 1, 1), 0.5)
    model.update(mixture(), {"position": values})  # no warning
    values[7] = 30.0
    with pytest.warns(UserWarning, match=r"^1 of 100 problems: .*up to 1.7, .*Farthest: largest number observed"):
        model.update(mixture(), {"position": values})
    assert model.unfamiliarity_.shape == (100,)
    assert (model.unfamiliarity_ > 1).tolist() == [index == 7 for index in range(100)]


def test_checkpoints_without_a_check_give_no_number() -> None:
    model = estimator()
    model.update(mixture(), {"position": [50.0]})  # no warning
    assert np.isnan(model.unfamiliarity_)


def test_more_observations_than_in_training_are_warned_of(tmp_path: Path) -> None:
    model = PosteriorEstimator(str(trained(tmp_path / "own.safetensors")), device="cpu")
    model.update(mixture(), {"output": np.zeros((2, 1))})
    with pytest.warns(UserWarning, match="3 observations of one source at once .* at most 2"):
        model.update(mixture(), {"output": np.zeros((3, 1))})


def test_numbers_without_a_finite_posterior_are_refused(tmp_path: Path) -> None:
    model = PosteriorEstimator(str(trained(tmp_path / "own.safetensors")), device="cpu")
    with pytest.raises(ValueError, match="no finite posterior"):
        model.update(mixture(), {"output": [3e38]})
    with pytest.raises(ValueError, match="no finite posterior"):
        model.update(MultivariateNormal(torch.full((2,), 3e38), torch.eye(2)), {"output": [1]})


def test_answers_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = GaussianMixture(
        torch.zeros(1, 1), torch.full((1, 1, 2), NAN), torch.eye(2).expand(1, 1, 2, 2), validate_args=False
    )
    monkeypatch.setattr(LinearGaussianNetwork, "compute", lambda *_: nothing)
    with pytest.raises(ValueError, match="no finite posterior"):
        estimator().update(mixture(), {"position": [1.0]})


def test_manners_of_estimators(tmp_path: Path) -> None:
    model = estimator(n_components=4)
    assert model.get_params().keys() == {"checkpoint", "n_components", "device", "batch_size"}
    assert clone(model).n_components == 4
    expected = model.update(mixture(), {"position": [1.0]})
    restored = pickle.loads(pickle.dumps(model))
    assert_same(restored.update(mixture(), {"position": [1.0]}), expected)
    assert restored.to("cpu").metadata_ == model.metadata_
    other = linear_gaussian()
    model.set_params(checkpoint=other).update(mixture(), {})
    assert isinstance(other.network, LinearGaussianNetwork)
    assert len(other.network.calls) == 1


class FamilyNetwork(LinearGaussianNetwork):
    """Reads parameters; its posterior is a normal law whose mean is that of the tokens."""

    def __init__(self, *bijections: str, n_laws: int | None = None) -> None:
        super().__init__()
        self.prior_width = 2 * (n_laws or len(bijections))
        self.n_latent, self.bijections, self.prior_kind = len(bijections), list(bijections), "parameters"
        self.n_components = 2

    def compute(self, *observed: torch.Tensor) -> GaussianMixture:
        self.seen = observed[0]
        means = observed[0][:, :, :1].expand(-1, 2, self.n_latent)
        return GaussianMixture(
            torch.full(means.shape[:2], 0.5).log(), means, torch.eye(self.n_latent).expand(*means.shape, self.n_latent)
        )

    def distribution(self, output: GaussianMixture) -> TransformedMixture:  # type: ignore[override]
        return TransformedMixture(output, self.bijections)


def families(*bijections: str, n_laws: int | None = None) -> PosteriorEstimator:
    return PosteriorEstimator(Checkpoint(FamilyNetwork(*bijections, n_laws=n_laws), {"provenance": {}}), device="cpu")


@pytest.mark.parametrize(
    ("bijection", "law", "parameters", "tokens"),
    [
        ("identity", Normal(-2.0, 3.0), {"mean": -2.0, "variance": 9.0}, [-2.0, np.log(9)]),
        ("log", InverseGamma(4.0, 6.0), {"concentration": 4, "rate": 6}, [np.log(4), np.log(6)]),
        ("logit", Beta(2.0, 5.0), {"alpha": 2.0, "beta": 5.0}, [np.log(2), np.log(5)]),
    ],
)
def test_named_families(bijection: str, law: object, parameters: dict, tokens: list[float]) -> None:
    model = families(bijection)
    posterior = model.update(law, {"position": [1.0]})
    assert posterior.batch_shape == ()
    np.testing.assert_allclose(model._network.seen.numpy(), [[tokens]], rtol=1e-6)
    assert_same(model.update(parameters, {"position": [1.0]}), posterior)
    many = {name: torch.full((3,), float(value)) for name, value in parameters.items()}
    assert model.update(many, {"position": [1.0]}).batch_shape == (3,)


def test_several_latents_have_a_law_each() -> None:
    model = families("identity", "log")
    model.update([Normal(0.5, 1.0), {"concentration": 2.0, "rate": 3.0}], {})
    np.testing.assert_allclose(model._network.seen.numpy(), [[[0.5, 0.0, np.log(2), np.log(3)]]], rtol=1e-6)
    partial = families("identity", "log", n_laws=1)
    partial.update(InverseGamma(2.0, 3.0), {})
    np.testing.assert_allclose(partial._network.seen.numpy(), [[[np.log(2), np.log(3)]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("prior", "error", "message"),
    [
        (Beta(1.0, 1.0), TypeError, "InverseGamma priors"),
        ({"a": 1.0, "rate": 2.0}, ValueError, "concentration and rate"),
        ({"concentration": -1.0, "rate": 2.0}, ValueError, "'concentration' must be positive"),
        ({"concentration": "one", "rate": 1.0}, ValueError, "'concentration' must be a number"),
        ({"concentration": 1.0, "rate": None}, ValueError, "'rate' must be a number"),
        ({"concentration": 1.0, "rate": NAN}, ValueError, "'rate' must be positive and finite"),
        ([InverseGamma(1.0, 1.0)] * 2, ValueError, "takes 1 laws"),
        ({"concentration": torch.ones(2), "rate": torch.ones(3)}, ValueError, "one shape"),
    ],
)
def test_bad_parameters_are_refused(prior: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        families("log").update(prior, {"position": [1.0]})


def test_a_network_of_parameters_has_its_own_number_of_components() -> None:
    model = families("log").set_params(n_components=3)
    with pytest.raises(ValueError, match="have 2 components"):
        model.update(InverseGamma(1.0, 1.0), {})


def trained(path: Path) -> Path:
    """A checkpoint file of a network with random weights that knows the scales of its prior."""
    prior = LinearGaussian(dimension=2, outputs=1, rows=[1, 2])
    network = MixtureTransformer(2, [{"name": "output", "size": 1}], width=8, n_layers=1, n_heads=2)
    tasks = [prior.sample(200, generator=seeded(seed)) for seed in range(2)]
    network.fit_to_prior([task.observed for task in tasks], [task.hidden for task in tasks], [None] * 2)
    return checkpoints.save(path, perturbed(network), prior)


def test_a_network_from_a_file(tmp_path: Path) -> None:
    path = trained(tmp_path / "own.safetensors")
    model, prior = PosteriorEstimator(str(path), device="cpu"), mixture((3,))
    assert_same(model.update(prior, {}), prior, rtol=1e-5, atol=1e-5)
    seen = {"output": np.linspace(-1, 1, 6).reshape(3, 2, 1)}
    posterior = model.update(prior, seen)
    assert (posterior.mean - prior.mean).abs().max() > 1e-3
    alone = model.update(mixture((3,)).expand(torch.Size([3])), {"output": seen["output"]})
    assert_same(alone, posterior)
    pickled = pickle.dumps(model)
    assert len(pickled) < path.stat().st_size / 2
    assert_same(pickle.loads(pickled).update(prior, seen), posterior)
    assert np.isnan(model.unfamiliarity_).all()  # the file has no check


def test_plots() -> None:
    from matplotlib import pyplot

    model, prior = estimator(), mixture((2,))
    figure = model.plot(model.update(prior, {"position": [1.0]}), prior, 1, ["place", "speed"], [0.5, 1.0])
    assert [axis.get_xlabel() for axis in figure.axes] == ["place", "speed"]
    assert figure.axes[0].get_legend_handles_labels()[1] == ["posterior", "prior", "truth"]
    grid, density = figure.axes[1].get_lines()[0].get_data()
    assert np.trapezoid(density, grid) == pytest.approx(0.999, abs=1e-3)
    with pytest.raises(ValueError, match="over 2 numbers"):
        model.plot(prior, names=["one"])
    law = InverseGamma(2.0, 2.0)
    drawn = families("log").plot(families("log").update(law, {}), law).axes[0].get_lines()
    assert drawn[0].get_xdata().min() > 0
    np.testing.assert_allclose(drawn[1].get_ydata(), law.log_prob(torch.tensor(drawn[1].get_xdata())).exp())
    partial = families("identity", "log", n_laws=1)
    first, last = partial.plot(partial.update(law, {}), law).axes
    assert [len(axis.get_lines()) for axis in (first, last)] == [1, 2]  # the law is the last number's
    pyplot.close("all")
