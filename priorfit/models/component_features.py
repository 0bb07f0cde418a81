"""Numbers that describe the components of a mixture to a network.

Letters: B tasks, k components, d latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from priorfit.models.mixture_tensors import MixtureTensors, below_diagonal, overall

FINER = 8.0  # places near the origin are told apart on this finer scale too
LEAST_LOG_WEIGHT = -20.0


def n_component_features(d: int) -> int:
    """The width of `component_features`."""
    return 1 + 6 * d + d * (d - 1) // 2


def component_features(mixture: MixtureTensors) -> Tensor:
    """Components relative to their whole mixture, and both in absolute terms: (B, k, 1 + 6 d + d (d - 1) / 2)."""
    log_weights, means, scale_trils = mixture
    mean, std = overall(mixture)
    relative = scale_trils / std[..., None]  # rows in units of the whole's deviations, (B, k, d, d)
    row, column = below_diagonal(means.shape[-1], means.device)
    parts = [
        log_weights.clamp(min=LEAST_LOG_WEIGHT)[..., None] / 4,
        (means - mean) / std,
        relative.diagonal(dim1=-2, dim2=-1).log(),
        relative[..., row, column],
        means.asinh(),
        (FINER * means).asinh(),
        (FINER * mean).asinh().expand_as(means),
        std.log().expand_as(means),
    ]
    return torch.cat(parts, -1)
