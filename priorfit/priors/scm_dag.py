"""Random directed acyclic graphs. Letters: B tasks, G nodes, P = 3 parents of a node."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

PARENTS = 3  # P, at most


def draw_parents(count: Tensor, roots: Tensor, more: Tensor, redirection: Tensor, generator: Generator) -> Tensor:
    """Parents of every node, (B, G, P) int64, -1 for none; a parent precedes its child, and none comes twice.

    A growing network with redirection (Krapivsky and Redner 2001): every node after the first attaches to an earlier
    one, uniform, or instead to that one's own first parent. With several such parents trees become graphs.

    Args:
        count: nodes of each task, (B,), int64; the rest has no parents.
        roots: probability that a node attaches to nothing, (B,).
        more: probability of each further parent, (B,).
        redirection: probability that a link goes to the first parent of the node that was drawn, (B,).
    """
    n_nodes = int(count.max())
    parents = torch.full((len(count), n_nodes, PARENTS), -1, device=count.device)
    levels = torch.rand(3, len(count), n_nodes, PARENTS, generator=generator, device=count.device)
    kept = levels[1] < torch.stack([1 - roots, *[more] * (PARENTS - 1)], -1)[:, None]
    kept = kept.cumprod(-1).bool() & (torch.arange(n_nodes, device=count.device) < count[:, None])[..., None]
    for node in range(1, n_nodes):
        drawn = (levels[0, :, node] * node).long().clamp(max=node - 1)  # (B, P)
        beyond = parents[..., 0].gather(1, drawn)
        drawn = torch.where((levels[2, :, node] < redirection[:, None]) & (beyond >= 0), beyond, drawn)
        twice = (drawn[:, :, None] == drawn[:, None]).tril(-1).any(-1)
        parents[:, node] = torch.where(kept[:, node] & ~twice, drawn, -1)
    return parents


def levels_of(parents: Tensor) -> Tensor:
    """The length of the longest path to each node from a root, (B, G), int64."""
    level = torch.zeros(parents.shape[:2], dtype=torch.int64, device=parents.device)
    for node in range(1, parents.shape[1]):
        own = parents[:, node]  # (B, P)
        level[:, node] = torch.where(own >= 0, level.gather(1, own.clamp(min=0)) + 1, 0).amax(1)
    return level


def ancestors_of(parents: Tensor) -> Tensor:
    """Whether node j is an ancestor of node i, or i itself: (B, G, G), bool, i before j."""
    batch_size, n_nodes = parents.shape[:2]
    above = torch.eye(n_nodes, dtype=torch.bool, device=parents.device).repeat(batch_size, 1, 1)
    for node in range(1, n_nodes):
        own = parents[:, node, :, None]  # (B, P, 1)
        above[:, node] |= (above.gather(1, own.clamp(min=0).expand(-1, -1, n_nodes)) & (own >= 0)).any(1)
    return above
