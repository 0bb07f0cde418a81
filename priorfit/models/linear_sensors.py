"""The update that linear observations with Gaussian noise bring, with everything about the observations learned.

Letters: B tasks, k components, d latent dimensions, N rows, V values per row.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from priorfit.models.mixture_tensors import MixtureTensors, multiplied

LEAST_VARIANCE = 1e-4  # of a standardised value that is no function of the latents


class LinearSensors(nn.Module):
    """Multiplies a mixture by exp(-|M x - W v - b|² / 2) for every row with values v.

    For z = H x + e with e ~ N(0, R) that is right with M = R^(-1/2) H and W = R^(-1/2), so such observations are
    learned exactly, for any number of components. Before `fit` M is zero, and nothing changes.

    Args:
        owner: the source of each value, (V,); values of one source are not mixed with those of another.
        d: latent dimensions.
    """

    owner: Tensor
    same: Tensor

    def __init__(self, owner: Tensor, d: int) -> None:
        super().__init__()
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("same", (owner[:, None] == owner).float(), persistent=False)
        self.matrix = nn.Parameter(torch.zeros(len(owner), d))
        self.whitening = nn.Parameter(torch.eye(len(owner)))
        self.offset = nn.Parameter(torch.zeros(len(owner)))

    @torch.no_grad()
    def fit(self, values: Tensor, indicators: Tensor, latents: Tensor) -> None:
        """Starts from the linear regression of each source's values on the latents, and its residuals' covariance.

        Args:
            values: of rows, (n, V).
            indicators: of their sources, (n, S).
            latents: behind them, (n, d).
        """
        for source in range(indicators.shape[-1]):
            rows, mine = indicators[:, source] > 0, self.owner == source
            if rows.sum() <= latents.shape[-1] + mine.sum():  # too few
                continue
            x, v = latents[rows].double(), values[rows][:, mine].double()
            x = torch.cat([x, torch.ones_like(x[:, :1])], -1)
            slopes = torch.linalg.lstsq(x, v).solution  # (d + 1, V of the source)
            covariance = (v - x @ slopes).mT.cov().reshape(len(slopes.mT), -1)
            covariance.diagonal().add_(LEAST_VARIANCE)  # values may be constant, or functions of one another
            tril = torch.linalg.cholesky(covariance)
            whitening = torch.linalg.inv(tril).float()
            place = mine.nonzero()[:, 0]
            self.whitening[place[:, None], place] = whitening
            found = whitening @ slopes.mT.float()
            self.matrix[place], self.offset[place] = found[:, :-1], -found[:, -1]

    def forward(self, mixture: MixtureTensors, values: Tensor, indicators: Tensor) -> MixtureTensors:
        """The mixture after all rows with values (B, N, V) and indicators of their sources (B, N, S)."""
        own = indicators[..., self.owner]
        places = own * (values @ (self.same * self.whitening).mT + self.offset)  # (B, N, V)
        precision = torch.einsum("bv,vi,vj->bij", own.sum(1), self.matrix, self.matrix)
        return multiplied(mixture, precision, places.sum(1) @ self.matrix)
