"""Mean-field variational inference, by numpyro, on one task after the other.

Source: Kucukelbir et al. 2017, "Automatic Differentiation Variational Inference"; guide, optimiser and starting point
are those that the PFN paper compared with (Müller et al. 2022, section 5.3, and Pyro's defaults).
Letters: B tasks, S draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from priorfit.evaluation.nuts import Model, double_precision
from priorfit.evaluation.scoring import Array

STEP_SIZE = 1e-3  # of Adam
START_DRAWS = 15  # of the prior, whose median is the starting point


def fit_and_draw(model: Model, data: Sequence[Array], steps: int, draws: int, seed: int) -> dict[str, Array]:
    """Fits independent normal laws to the unconstrained parameters of every task, and draws from them.

    Args:
        model: as for `nuts.run`.
        data: its arguments, (B, …) each.
        steps: of Adam, one draw each.
        draws: S.
        seed: chooses all random numbers.

    Returns:
        Draws by the names of the model's sites, (B, S, …).

    Raises:
        ValueError: no steps or no draws.
        ImportError: jax or numpyro is not installed.
    """
    if steps < 1 or draws < 1:
        raise ValueError("steps and draws must be at least 1.")
    with double_precision() as jax:
        keys, fit = jax.random.split(jax.random.key(seed), len(data[0])), _fit(model, steps, draws)
        found = [jax.device_get(fit(*task)) for task in zip(keys, *data, strict=True)]
    return {name: np.stack([sites[name] for sites in found]) for name in found[0]}


@lru_cache(maxsize=16)
def _fit(model: Model, steps: int, draws: int) -> Callable[..., Any]:
    """From a key and the data of one task to draws by site, (S, …)."""
    import jax
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoDiagonalNormal
    from numpyro.infer.initialization import init_to_median
    from numpyro.optim import Adam

    def one(key: Any, *data: Any) -> Any:
        start, draw = jax.random.split(key)
        guide = AutoDiagonalNormal(model, init_loc_fn=init_to_median(num_samples=START_DRAWS))
        svi = SVI(model, guide, Adam(STEP_SIZE), Trace_ELBO())
        state = svi.init(start, *data)
        state, _ = jax.lax.scan(lambda state, _: svi.update(state, *data), state, None, length=steps)
        return guide.sample_posterior(draw, svi.get_params(state), sample_shape=(draws,))

    return jax.jit(one)
