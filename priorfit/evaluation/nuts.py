"""The No-U-Turn sampler, by numpyro, on one task after the other.

Source: Hoffman and Gelman 2014, "The No-U-Turn Sampler"; numpyro: Phan, Pradhan and Jankowiak 2019. jax and numpyro are
an extra of this package, and imported only when they are needed.
Letters: B tasks, C chains, S draws of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from priorfit.evaluation.chain_checks import effective_sample_size, split_rhat
from priorfit.evaluation.scoring import Array

Model = Callable[..., None]  # a numpyro model of one task


@dataclass(frozen=True)
class Chain:
    """How chains are run.

    Attributes:
        chains: C, one after the other, from different starts.
        warmup: iterations that find step size and mass matrix, and are dropped.
        draws: S, iterations after that, all of which are kept.
        acceptance: mean acceptance that step sizes aim at.

    Raises:
        ValueError: a setting outside its range.
    """

    chains: int = 4
    warmup: int = 256
    draws: int = 256
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        if self.chains < 1 or self.warmup < 1 or self.draws < 4:
            raise ValueError("Needs chains >= 1, warmup >= 1 and draws >= 4.")
        if not 0 < self.acceptance < 1:
            raise ValueError(f"acceptance must lie between 0 and 1, not {self.acceptance!r}.")


class Draws(NamedTuple):
    """What the chains of B tasks visited."""

    sites: dict[str, Array]  # by the names of the model's sites, (B, C, S, …)
    divergent: Array  # share of draws whose trajectory diverged, (B,)


@contextmanager
def double_precision() -> Iterator[Any]:
    """Gives jax, on the CPU and with 64 bits for as long as the block lasts.

    Raises:
        ImportError: jax or numpyro is not installed.
    """
    try:
        import jax
        import numpyro  # noqa: F401
    except ImportError as error:
        raise ImportError("NUTS and variational inference need numpyro: pip install 'priorfit[mcmc]'") from error
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        yield jax


def run(model: Model, data: Sequence[Array], chain: Chain, seed: int) -> Draws:
    """Runs the chains of every task.

    Args:
        model: equal models are compiled once for every shape of the data, so that it should be a frozen dataclass.
        data: its arguments, (B, …) each.
        chain: how to run them.
        seed: chooses all random numbers.

    Raises:
        ImportError: jax or numpyro is not installed.
    """
    with double_precision() as jax:
        keys, sampler = jax.random.split(jax.random.key(seed), (len(data[0]), chain.chains)), _sampler(model, chain)
        found = [jax.device_get(sampler(*task)) for task in zip(keys, *data, strict=True)]
    sites = {name: np.stack([draws[name] for draws, _ in found]) for name in found[0][0]}
    return Draws(sites, np.stack([divergent.mean() for _, divergent in found]))


@lru_cache(maxsize=16)
def _sampler(model: Model, chain: Chain) -> Callable[..., Any]:
    """From keys (C,) and the data of one task to draws by site, (C, S, …), and whether each diverged, (C, S)."""
    import jax
    from numpyro.infer import MCMC, NUTS

    def one(key: Any, data: Any) -> Any:
        kernel = NUTS(model, target_accept_prob=chain.acceptance)
        mcmc = MCMC(kernel, num_warmup=chain.warmup, num_samples=chain.draws, progress_bar=False)
        mcmc.run(key, *data, extra_fields=("diverging",))
        return mcmc.get_samples(), mcmc.get_extra_fields()["diverging"]

    return jax.jit(lambda keys, *data: jax.lax.map(lambda key: one(key, data), keys))


def checks(quantities: Array, divergent: Array) -> dict[str, Array]:
    """Whether to trust the chains of B tasks, (B,) each.

    Args:
        quantities: any of interest along the chains, (B, C, S, Q).
        divergent: as in `Draws`.

    Returns:
        `rhat` and `effective_sample_size` (of all chains together) of each task's worst quantity, and `divergent`.
    """
    draws = quantities.transpose(2, 1, 0, 3)  # (S, C, B, Q)
    return {
        "rhat": split_rhat(draws).max(-1),
        "effective_sample_size": effective_sample_size(draws).min(-1),
        "divergent": divergent,
    }
