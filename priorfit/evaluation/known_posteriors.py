"""Which priors over networks have a posterior density of their weights that is known here, and what hinders others."""

from __future__ import annotations

from priorfit.evaluation.bnn_posterior import ClassPosterior, NumberPosterior
from priorfit.evaluation.linear_posterior import LinearPosterior
from priorfit.evaluation.weight_posterior import WeightPosterior
from priorfit.priors import BNN, LinearBNN, Prior, Task
from priorfit.priors.table_pieces import ClassTarget, NumberTarget

SETTING = "{kind: classes, number: 2, by_value: 1, balanced: 0} or {kind: number}"


def weight_posterior(prior: Prior, task: Task) -> WeightPosterior:
    """The posterior of the weights behind a batch of tasks.

    Raises:
        ValueError: a prior whose posterior is not known here; the message says what would be.
    """
    if isinstance(prior, LinearBNN):
        return LinearPosterior(prior, task)
    if not isinstance(prior, BNN):
        raise ValueError(f"HMC is for the priors 'bnn' and 'linear_bnn', not for '{prior.registered_name}'.")
    wrong = obstacles(prior)
    if wrong:
        raise ValueError(f"HMC needs a bnn with a fixed architecture; change: {'; '.join(wrong)}.")
    return (ClassPosterior if prior.target.most_classes else NumberPosterior)(prior, task)


def obstacles(prior: BNN) -> list[str]:
    """What stands in the way of a density: settings, each with what it should be."""
    laws = {name: getattr(prior, name) for name in ("depth", "width", "weight_scale", "noise")}
    wrong = [f"{name} must be a number" for name, law in laws.items() if law.law is None or not law.law.fixed]
    wrong += ["activations must be one"] * (len(prior.activations) > 1)
    wrong += ["sparsity must be 0"] * (prior.sparsity > 0)
    wrong += ["unit_noise must be None"] * (prior.unit_noise is not None)
    wrong += ["standardized must be False"] * prior.standardized
    wrong += ["columns must be None"] * bool(prior.pieces)
    return wrong + [f"the target must be {SETTING}"] * (not plain_target(prior))


def plain_target(prior: BNN) -> bool:
    """Whether the target is one whose law is known: see `SETTING`."""
    target = prior.target
    if target.noise is not None or target.warp:
        return False
    if not isinstance(target, ClassTarget):
        return isinstance(target, NumberTarget)
    cut_by_value = target.by_value == 1 and not (target.balanced or target.nearest or target.flip)
    return (target.low, target.high) == (2, 2) and cut_by_value
