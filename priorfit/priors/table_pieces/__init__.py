"""What is done to a table after it was drawn: pieces for its features, and what its target becomes."""

from priorfit.priors.table_pieces.categorical import CategoricalColumns
from priorfit.priors.table_pieces.class_target import ClassTarget
from priorfit.priors.table_pieces.irrelevant import Irrelevant
from priorfit.priors.table_pieces.missing import MissingValues
from priorfit.priors.table_pieces.number_target import NumberTarget
from priorfit.priors.table_pieces.outliers import Outliers
from priorfit.priors.table_pieces.piece import Piece, pieces
from priorfit.priors.table_pieces.raw import Raw
from priorfit.priors.table_pieces.soft_clip import SoftClip
from priorfit.priors.table_pieces.target import Labels, Target, targets
from priorfit.priors.table_pieces.warp import Warp

__all__ = [
    "CategoricalColumns",
    "ClassTarget",
    "Irrelevant",
    "Labels",
    "MissingValues",
    "NumberTarget",
    "Outliers",
    "Piece",
    "Raw",
    "SoftClip",
    "Target",
    "Warp",
    "pieces",
    "targets",
]
