"""The contract of every network: add one line to `tests/cases.py` to put a new one through it."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from priorfit.models import Network, networks
from tests.cases import NETWORKS, REGRESSION_NETWORKS, NetworkCase, assert_same, leaves, regression, seeded

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=NETWORKS, ids=lambda case: case.id)
def case(request: pytest.FixtureRequest) -> NetworkCase:
    return request.param


@pytest.fixture(params=REGRESSION_NETWORKS, ids=lambda case: case.id)
def regressor(request: pytest.FixtureRequest) -> Network:
    return request.param.build().eval()


def predict(network: Network, observed: tuple[Tensor, ...]) -> Distribution:
    with torch.no_grad():
        return network(*observed)


def typical(prediction: Distribution) -> Tensor:
    """A value for each of the batch: the mean or, of classes, the most probable."""
    return prediction.probs.argmax(-1) if isinstance(prediction, Categorical) else prediction.mean.detach()


def test_every_network_has_a_case() -> None:
    ours = {name for name, cls in networks.classes.items() if cls.__module__.startswith("priorfit.")}
    assert ours == {case.name for case in NETWORKS}


def test_predicts_a_finite_distribution_in_float32(case: NetworkCase) -> None:
    observed = case.observe(seeded())
    prediction = predict(case.build(), observed)
    assert isinstance(prediction, Distribution)
    assert prediction.batch_shape[0] == len(observed[0])
    torch.manual_seed(0)
    draws = prediction.sample()
    tensors = [prediction.log_prob(draws)]
    if not isinstance(prediction, Categorical):  # classes have no mean
        tensors += [draws, prediction.mean, prediction.variance]
    for tensor in tensors:
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()


def test_computes_tensors_from_tensors(case: NetworkCase) -> None:
    network, observed = case.build(), case.observe(seeded())
    output = network.compute(*observed)
    tensors = list(leaves(output))
    assert tensors
    assert isinstance(output, Tensor) or all(isinstance(part, Tensor) for part in output)
    assert_same(network.distribution(output), network(*observed))


def test_predictions_depend_on_what_is_observed(case: NetworkCase) -> None:
    network = case.build()
    first, second = (next(leaves(network.compute(*case.observe(seeded(seed))))) for seed in (0, 1))
    assert (first - second).abs().max() > 1e-3


def test_predictions_repeat_exactly_and_draw_nothing(case: NetworkCase) -> None:
    network, observed = case.build().eval(), case.observe(seeded())
    before = torch.get_rng_state()
    assert_same(predict(network, observed), predict(network, observed))
    assert torch.equal(before, torch.get_rng_state())


def test_tasks_of_a_batch_do_not_mix(case: NetworkCase) -> None:
    network, observed = case.build().eval(), case.observe(seeded())
    together = network.compute(*observed)
    for i in range(len(observed[0])):
        alone = network.compute(*(part[i : i + 1] for part in observed))
        for whole, part in zip(leaves(together), leaves(alone), strict=True):
            assert_same(part, whole[i : i + 1], rtol=case.rounding, atol=case.rounding)


def test_gradients_reach_every_parameter(case: NetworkCase) -> None:
    network = case.build()
    wide = case.observe(seeded())
    torch.manual_seed(0)
    prediction = network(*wide)
    (-prediction.log_prob(typical(prediction)).mean() - prediction.log_prob(prediction.sample()).mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_few_steps_lower_the_loss(case: NetworkCase) -> None:
    torch.manual_seed(0)
    network, observed = case.build(trained=False), case.observe(seeded())
    hidden = network(*observed).sample()
    hidden = hidden * 0.1 + 0.5 if hidden.is_floating_point() else torch.zeros_like(hidden)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        loss = -network(*observed).log_prob(hidden).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.05


def test_same_seed_same_network(case: NetworkCase) -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(4)
        networks.append(case.build(trained=False))
    first, second = (list(network.state_dict().items()) for network in networks)
    assert [name for name, _ in first] == [name for name, _ in second]
    assert_same([tensor for _, tensor in first], [tensor for _, tensor in second])


def test_arguments_survive_json(case: NetworkCase) -> None:
    network, observed = case.build(), case.observe(seeded())
    text = json.dumps(network.arguments, sort_keys=True, allow_nan=False)
    twin = networks.build(case.name, json.loads(text)).eval()
    twin.load_state_dict(network.state_dict())
    assert twin.arguments == network.arguments
    assert_same(predict(twin, observed), predict(network.eval(), observed))


def test_copies_and_pickles(case: NetworkCase) -> None:
    network, observed = case.build(), case.observe(seeded())
    expected = predict(network, observed)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin.arguments == network.arguments
        assert_same(predict(twin, observed), expected)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
    assert_same(predict(network, observed), expected)


def test_bf16_autocast_is_close_and_returns_float32(case: NetworkCase) -> None:
    network, observed = case.build().eval(), case.observe(seeded())
    exact = predict(network, observed)
    with torch.autocast("cpu", torch.bfloat16):
        rough = predict(network, observed)
        torch.manual_seed(0)
        hidden = exact.sample()
        log_density = rough.log_prob(hidden)
    assert log_density.dtype == torch.float32
    assert (log_density - exact.log_prob(hidden)).abs().median() < 0.05  # few cross the border of a bucket
    assert log_density.isfinite().all()


def test_training_under_bf16_autocast_works(case: NetworkCase) -> None:
    network, observed = case.build(), case.observe(seeded())
    with torch.autocast("cpu", torch.bfloat16):
        prediction = network(*observed)
        loss = -prediction.log_prob(typical(prediction)).mean()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_observations_are_refused(case: NetworkCase, value: float) -> None:
    network, observed = case.build(), case.observe(seeded())
    for index, part in enumerate(observed):
        if part.is_floating_point() and part.numel() and not (index in case.may_miss and value != value):
            spoilt = part.clone()
            spoilt.view(-1)[-1] = value
            with pytest.raises(ValueError, match="infinite values"):
                network(*(spoilt if i == index else other for i, other in enumerate(observed)))


def test_observations_of_another_rank_or_number_of_tasks_are_refused(case: NetworkCase) -> None:
    network, observed = case.build(), case.observe(seeded())
    for index, part in enumerate(observed):
        for wrong in (part[0], part[None], part[:-1]):
            with pytest.raises(ValueError, match=r"[Ee]xpected|must agree"):
                network(*(wrong if i == index else other for i, other in enumerate(observed)))


def test_parameters_are_counted(case: NetworkCase) -> None:
    network = case.build()
    assert network.n_parameters == sum(tensor.numel() for tensor in network.parameters()) > 0


# Networks for regression


@pytest.mark.parametrize(("n", "m", "n_features"), [(0, 1, 1), (0, 4, 3), (1, 1, 2), (40, 7, 3)])
def test_any_number_of_rows_and_features(regressor: Network, n: int, m: int, n_features: int) -> None:
    prediction = predict(regressor, regression(n, m, n_features)(seeded()))
    assert prediction.batch_shape == (3, m)
    assert prediction.mean.isfinite().all()


def test_queries_do_not_influence_each_other(regressor: Network) -> None:
    x, y, x_query = regression(6, 5)(seeded())
    together = predict(regressor, (x, y, x_query))
    for i in range(5):
        alone = predict(regressor, (x, y, x_query[:, i : i + 1]))
        assert_same(alone.mean, together.mean[:, i : i + 1], **CLOSE)
        assert_same(alone.cdf(0.5), together.cdf(0.5)[:, i : i + 1], **CLOSE)


def test_order_of_rows_does_not_matter_but_pairing_does(regressor: Network) -> None:
    x, y, x_query = regression(6, 5)(seeded())
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    expected = predict(regressor, (x, y, x_query)).mean
    assert_same(predict(regressor, (x[:, order], y[:, order], x_query)).mean, expected, **CLOSE)
    assert_same(predict(regressor, (x, y, x_query.flip(1))).mean.flip(1), expected, **CLOSE)
    assert (predict(regressor, (x, y[:, order], x_query)).mean - expected).abs().max() > 1e-3


def test_repeating_the_context_changes_the_prediction(regressor: Network) -> None:
    """Attention alone averages, and would not see how often a row occurs; registers make it count."""
    x, y, x_query = regression(3, 5)(seeded())
    once = predict(regressor, (x, y, x_query)).mean
    thrice = predict(regressor, (x.repeat(1, 3, 1), y.repeat(1, 3), x_query)).mean
    assert (once - thrice).abs().max() > 1e-4


@pytest.mark.parametrize(("n", "n_features"), [(0, 1), (1, 3), (9, 2)])
def test_encoding_once_and_decoding_is_forward(regressor: Network, n: int, n_features: int) -> None:
    x, y, x_query = regression(n, 6, n_features)(seeded())
    expected = predict(regressor, (x, y, x_query))
    with torch.no_grad():
        cache = regressor.encode(x, y)
        parts = [regressor.decode(cache, part) for part in x_query.split(4, dim=1)]
    levels = torch.tensor([0.1, 0.5, 0.9])[:, None, None]
    assert_same(torch.cat([part.mean for part in parts], 1), expected.mean, **CLOSE)
    assert_same(torch.cat([part.icdf(levels) for part in parts], 2), expected.icdf(levels), **CLOSE)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 5, 4), (3, 5), (3, 2, 4)], "1 to 3 features, not 4"),
        ([(3, 5, 0), (3, 5), (3, 2, 0)], "features, not 0"),
        ([(3, 5, 2), (3, 4), (3, 2, 2)], "must agree in tasks and rows"),
        ([(3, 5, 2), (3, 5), (3, 2, 1)], "must agree in tasks and features"),
        ([(3, 5, 2), (3, 5), (2, 2, 2)], "must agree in tasks and features"),
        ([(5, 2), (5,), (2, 2)], "Expected x_context"),
        ([(3, 5, 2), (3, 5, 1), (3, 2, 2)], "Expected x_context"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(regressor: Network, shapes: list[tuple[int, ...]], message: str) -> None:
    x_context, y_context, x_query = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        regressor(x_context, y_context, x_query)
    if x_context.shape[:2] != y_context.shape or x_context.shape[-1] not in (1, 2, 3):
        with pytest.raises(ValueError, match=message.split(",")[0].replace("1 to 3 features", "features")):
            regressor.encode(x_context, y_context)


def test_decoding_refuses_queries_that_do_not_fit(regressor: Network) -> None:
    x, y, x_query = regression(5, 4)(seeded())
    cache = regressor.encode(x, y)
    nan = x_query.clone()
    nan[0, 0, 0] = torch.nan
    for wrong in (x_query[0], x_query[:2], torch.zeros(3, 4, 9), nan):
        with pytest.raises(ValueError, match=r"Expected|must agree|features|NaN"):
            regressor.decode(cache, wrong)
