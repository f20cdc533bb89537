"""SVDiff: train the singular values of weights (Han et al., ICCV 2023)."""

from memcontrol.adapters.registry import register
from memcontrol.adapters.svdiff.config import SVDiffConfig
from memcontrol.adapters.svdiff.layer import SVDiffLayer
from memcontrol.adapters.svdiff.method import SVDiffMethod
from memcontrol.adapters.svdiff.model import SVDiffModel

__all__ = ["SVDiffConfig", "SVDiffLayer", "SVDiffMethod", "SVDiffModel"]

register("SVDIFF", SVDiffConfig, SVDiffModel, SVDiffMethod)
