"""Which links a Markov jump process has: random directed graphs with one recurrent class.

Source of the published graphs: the released draws of Berghaus et al. 2024, "Foundation Inference Models for Markov Jump
Processes". Letters: B processes, S states.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

COMPLETE = 0.5  # share of complete graphs in the published prior


def draw_graphs(weights: dict[str, float], batch_size: int, n_states: int, generator: Generator) -> Tensor:
    """Links i → j of each process, (B, S, S), bool, none from a state to itself.

    Args:
        weights: how often each kind of `GRAPHS` is drawn, up to a factor.
        batch_size: B.
        n_states: S.
        generator: source of all randomness.
    """
    kind = torch.multinomial(_vector(weights.values(), generator), batch_size, True, generator=generator)
    links = torch.zeros(batch_size, n_states, n_states, dtype=torch.bool, device=generator.device)
    for index, name in enumerate(weights):
        mine = kind == index
        links[mine] = GRAPHS[name](int(mine.sum()), n_states, generator)
    return links


def published(batch_size: int, n_states: int, generator: Generator) -> Tensor:
    """Complete graphs or, as often, `incomplete` ones."""
    links = off_diagonal(n_states, generator).repeat(batch_size, 1, 1)
    some = torch.rand(batch_size, generator=generator, device=generator.device) >= COMPLETE
    links[some] = incomplete(int(some.sum()), n_states, generator)
    return links


def incomplete(batch_size: int, n_states: int, generator: Generator) -> Tensor:
    """Upper and lower triangle are undirected graphs, each link with probability 1/2, that must be connected.

    Drawn again until also every state can be left, and there is one recurrent class.
    """
    links = torch.zeros(batch_size, n_states, n_states, dtype=torch.bool, device=generator.device)
    todo = torch.arange(batch_size, device=generator.device)
    while len(todo):
        links[todo] = _coins((len(todo), n_states, n_states), generator) < 0.5
        links[todo] &= off_diagonal(n_states, generator)
        todo = todo[~acceptable(links[todo])]
    return links


def sparse(batch_size: int, n_states: int, generator: Generator) -> Tensor:
    """A random tree, and every further pair of states with a probability of its own per process, uniform on [0, 1].

    Linked pairs are linked both ways, as by detailed balance.
    """
    links = torch.zeros(batch_size, n_states, n_states, dtype=torch.bool, device=generator.device)
    rows = torch.arange(batch_size, device=generator.device)
    for state in range(1, n_states):  # a recursive tree: each state hangs on one that came before it
        links[rows, state, torch.randint(state, (batch_size,), generator=generator, device=generator.device)] = True
    chance = _coins((batch_size, 1, 1), generator)
    links |= (_coins(links.shape, generator) < chance).tril(-1)
    return _relabelled(links | links.mT, generator)


def ring(batch_size: int, n_states: int, generator: Generator) -> Tensor:
    """A ring, run round one way in half of the processes and both ways in the others."""
    state = torch.arange(n_states, device=generator.device)
    links = torch.zeros(batch_size, n_states, n_states, dtype=torch.bool, device=generator.device)
    links[:, state, (state + 1) % n_states] = True
    both = _coins((batch_size, 1, 1), generator) < 0.5
    return _relabelled(links | (links.mT & both), generator)


def hub(batch_size: int, n_states: int, generator: Generator) -> Tensor:
    """One state linked with all others, both ways, and no other links."""
    links = torch.zeros(batch_size, n_states, n_states, dtype=torch.bool, device=generator.device)
    links[:, 0, 1:] = links[:, 1:, 0] = True
    return _relabelled(links, generator)


GRAPHS: dict[str, Callable[[int, int, Generator], Tensor]] = {
    "published": published,
    "incomplete": incomplete,
    "sparse": sparse,
    "ring": ring,
    "hub": hub,
}


def reachable(links: Tensor) -> Tensor:
    """Whether state j can be reached from state i by any number of links, none included, (B, S, S)."""
    n_states = links.shape[-1]
    paths = links.float() + torch.eye(n_states, device=links.device)
    for _ in range((n_states - 1).bit_length()):
        paths = ((paths @ paths) > 0).float()
    return paths > 0


def off_diagonal(n_states: int, generator: Generator) -> Tensor:
    """True off the diagonal, (S, S)."""
    return ~torch.eye(n_states, dtype=torch.bool, device=generator.device)


def acceptable(links: Tensor) -> Tensor:
    """Whether both triangles are connected, every state can be left, and some state is reached from all, (B,)."""
    connected = [reachable(part | part.mT).all(2).all(1) for part in (links.triu(), links.tril())]
    return connected[0] & connected[1] & links.any(2).all(1) & reachable(links).all(1).any(1)


def _relabelled(links: Tensor, generator: Generator) -> Tensor:
    """The same graphs with their states in random order."""
    order = _coins(links.shape[:2], generator).argsort(1)  # (B, S)
    rows = links.gather(1, order[:, :, None].expand_as(links))
    return rows.gather(2, order[:, None, :].expand_as(links))


def _coins(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Uniform numbers in [0, 1)."""
    return torch.rand(shape, generator=generator, device=generator.device)


def _vector(values: object, generator: Generator) -> Tensor:
    """Numbers as a tensor on the generator's device."""
    return torch.tensor(list(values), dtype=torch.float64, device=generator.device)  # type: ignore[call-overload]
