"""A small network with random weights: as quick as can be, and no prediction follows from smoothness."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from priorfit import checkpoints
from priorfit.checkpoints import Checkpoint
from priorfit.models import PFN
from priorfit.priors import GaussianProcess

POINTS, FEATURES = 300, 10


def random_network() -> PFN:
    """Scales and borders of a prior whose inputs are uniform and whose targets are far from 0."""
    network = PFN(max_features=FEATURES, n_buckets=64, width=32, n_layers=2, n_heads=2).eval()
    generator = torch.Generator().manual_seed(0)
    prior = GaussianProcess(sizes={"points": 40, "features": 2, "context": 10}, output_scale=4.0)
    task = prior.sample(50, generator=generator)
    network.fit_to_prior([task.observed], [task.hidden + 7])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a random network whose checkpoint says that it was trained on 300 rows of 10 features."""
    prior = GaussianProcess(sizes={"points": [16, POINTS], "features": [1, FEATURES]})
    path = tmp_path_factory.mktemp("networks") / "random.safetensors"
    return checkpoints.save(path, random_network(), prior)


@pytest.fixture
def checkpoint(checkpoint_path: Path) -> Checkpoint:
    """The same, loaded."""
    return checkpoints.read(checkpoint_path)
