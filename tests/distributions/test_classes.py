"""Probabilities of classes."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, Normal

from priorfit.distributions import ClassDistribution
from tests.cases import assert_same, seeded


def test_classes_that_a_task_lacks_have_probability_zero_and_change_nothing_else() -> None:
    logits = torch.randn(5, 6, generator=seeded())
    some = ClassDistribution(logits, torch.tensor([2, 3, 4, 5, 6]))
    for row, count in enumerate(range(2, 7)):
        expected = Categorical(logits=logits[row, :count])
        assert_same(some.probs[row, :count], expected.probs, rtol=1e-6, atol=1e-7)
        assert (some.probs[row, count:] == 0).all()
    assert (some.sample((500,)).amax(0) < torch.tensor([2, 3, 4, 5, 6])).all()


def test_expected_log_probability_is_the_sum_over_classes() -> None:
    logits, law = torch.randn(7, 4, generator=seeded()), torch.rand(7, 4, generator=seeded(1))
    law = Categorical(probs=law)
    ours = ClassDistribution(logits)
    expected = sum(law.probs[:, k] * ours.log_prob(torch.full((7,), k)) for k in range(4))
    assert_same(ours.expected_log_prob(law), expected, rtol=1e-6, atol=1e-6)


def test_laws_without_mass_on_absent_classes_give_finite_gradients() -> None:
    logits = torch.randn(2, 4, generator=seeded(), requires_grad=True)
    law = Categorical(probs=torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.2, 0.2, 0.6, 0.0]]))
    loss = -ClassDistribution(logits, torch.tensor([2, 3])).expected_log_prob(law)
    assert loss.isfinite().all()
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.isfinite().all()
    assert (gradient[0, 2:] == 0).all()


def test_what_is_no_class_or_no_law_of_classes_is_refused() -> None:
    ours = ClassDistribution(torch.zeros(3))
    with pytest.raises(ValueError, match="from 0 to 2"):
        ours.log_prob(torch.tensor(3))
    with pytest.raises(TypeError, match="Categorical law, not Normal"):
        ours.expected_log_prob(Normal(0.0, 1.0))


def test_expand_repeats_and_draws_have_the_frequencies_of_the_probabilities() -> None:
    ours = ClassDistribution(torch.randn(3, 4, generator=seeded()), torch.tensor([4, 3, 2]))
    large = ours.expand(torch.Size((5, 3)))
    assert type(large) is ClassDistribution
    value = ours.sample()
    assert_same(large.log_prob(value), ours.log_prob(value).expand(5, 3), rtol=1e-6, atol=1e-6)
    torch.manual_seed(0)
    draws = ours.sample((20_000,))
    frequencies = torch.nn.functional.one_hot(draws, 4).double().mean(0)
    assert_same(frequencies, ours.probs.double(), rtol=0, atol=0.016)
