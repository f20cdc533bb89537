"""DiffFit: train biases, norms and output scales (Xie et al., ICCV 2023)."""

from memcontrol.adapters.difffit.config import DiffFitConfig
from memcontrol.adapters.difffit.layer import DiffFitLayer
from memcontrol.adapters.difffit.method import DiffFitMethod
from memcontrol.adapters.difffit.model import DiffFitModel
from memcontrol.adapters.registry import register

__all__ = ["DiffFitConfig", "DiffFitLayer", "DiffFitMethod", "DiffFitModel"]

register("DIFFFIT", DiffFitConfig, DiffFitModel, DiffFitMethod)
