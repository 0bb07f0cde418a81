"""Methods that compute a reference for stored tasks, by name and by the prior that they are for.

A method is a function of a prior, B tasks and a seed. It returns arrays with a row per task: `log_prob` of the hidden
values, (B, S), in nats, and any diagnostics, (B, …): "effective_sample_size", "rhat", "acceptance", "seconds".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from priorfit.evaluation import bnn_mcmc, curve_mcmc, hmc, nuts, nuts_gp, nuts_linear
from priorfit.evaluation.scoring import Array, truth
from priorfit.priors import Prior, Task
from priorfit.registry import closest

ANY = "any"  # instead of a prior's name: the method is for all of them


@dataclass(frozen=True)
class ReferenceMethod:
    """One method for one prior.

    Attributes:
        compute: see the module.
        settings: all that its result depends on beside prior, tasks and seed, as JSON holds it; stored with the result.
    """

    compute: Callable[[Prior, Task, int], dict[str, Array]]
    settings: Mapping[str, Any] = field(default_factory=dict)


def posterior(prior: Prior, task: Task, seed: int) -> dict[str, Array]:
    """What the prior itself measures predictions against: its reference posterior or, without one, an oracle.

    Raises:
        ValueError: it has neither.
    """
    with torch.inference_mode():
        known = truth(prior, task)
    if known.log_prob is None:
        raise ValueError(f"The prior '{prior.registered_name}' knows neither a posterior nor a law of its tasks.")
    return {name: values for name, values in known._asdict().items() if values is not None}


def curves(prior: Prior, task: Task, seed: int) -> dict[str, Array]:
    """The ensemble sampler of `curve_mcmc`, one curve after the other, as published.

    Raises:
        ValueError: another prior than the published one.
    """
    length, observed = curve_mcmc.check_covered(prior).length, task.observed
    parts = (part.double().numpy() for part in (observed.values, observed.query_steps, task.hidden))
    rows = [
        curve_mcmc.score_curve(length, values, steps, hidden, curve_mcmc.Chain(), (seed, index))
        for index, (values, steps, hidden) in enumerate(zip(*parts, strict=True))
    ]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def networks(prior: Prior, task: Task, seed: int) -> dict[str, Array]:
    """Hamiltonian Monte Carlo over the weights of Bayesian neural networks, see `bnn_mcmc`.

    Raises:
        ValueError: a prior that is not covered.
    """
    return bnn_mcmc.score_tasks(prior, task, hmc.Chain(), seed)


def hyperparameters(prior: Prior, task: Task, seed: int) -> dict[str, Array]:
    """The No-U-Turn sampler over the hyperparameters of Gaussian processes, see `nuts_gp`.

    Raises:
        ImportError: numpyro is not installed.
        ValueError: a prior that is not covered.
    """
    return nuts_gp.score_tasks(prior, task, nuts.Chain(), seed)


def linear_networks(prior: Prior, task: Task, seed: int) -> dict[str, Array]:
    """The No-U-Turn sampler over the weights of networks without activation, see `nuts_linear`.

    Raises:
        ImportError: numpyro is not installed.
    """
    return nuts_linear.score_nuts(prior, task, nuts.Chain(), seed)


HMC = ReferenceMethod(networks, {"name": "bnn_hmc", **asdict(hmc.Chain())})
reference_methods: dict[str, dict[str, ReferenceMethod]] = {
    "posterior": {ANY: ReferenceMethod(posterior)},
    "mcmc": {
        "bnn": HMC,
        "linear_bnn": HMC,
        "learning_curve": ReferenceMethod(curves, {"name": "curve_mcmc", **asdict(curve_mcmc.Chain())}),
    },
    "nuts": {
        "gaussian_process": ReferenceMethod(hyperparameters, {"name": "gp_nuts", **asdict(nuts.Chain())}),
        "linear_bnn": ReferenceMethod(linear_networks, {"name": "linear_bnn_nuts", **asdict(nuts.Chain())}),
    },
}


def reference_method(name: str, prior: Prior) -> ReferenceMethod:
    """The method of this name for a prior.

    Raises:
        ValueError: no such method, or not for this prior.
    """
    if name not in reference_methods:
        raise ValueError(f"Unknown reference '{name}': {closest(name, reference_methods)}")
    known = reference_methods[name]
    method = known.get(prior.registered_name, known.get(ANY))
    if method is None:
        raise ValueError(
            f"The reference '{name}' is not for the prior '{prior.registered_name}': it is for {', '.join(known)}."
        )
    return method
