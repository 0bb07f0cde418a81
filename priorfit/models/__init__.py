"""Networks: one per file, each registered under a name that checkpoints record."""

if __name__ != "priorfit.models":
    raise ImportError("Import 'priorfit.models', not 'models': the link at the root is for reading only.")

from priorfit.models.base import Network, networks
from priorfit.models.curve_pfn import CurvePFN
from priorfit.models.jump_network import JumpNetwork
from priorfit.models.mixture_transformer import MixtureTransformer
from priorfit.models.pfn import PFN
from priorfit.models.table_pfn import TablePFN

__all__ = ["PFN", "CurvePFN", "JumpNetwork", "MixtureTransformer", "Network", "TablePFN", "networks"]
