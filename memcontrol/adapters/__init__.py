"""Masked adapters: PEFT tuners, slots of a U-Net, and reversible injection."""

from memcontrol.adapters.difffit import DiffFitConfig
from memcontrol.adapters.inject import AdaptedUNet, adapt, resolve_mask
from memcontrol.adapters.selective import SelectiveConfig
from memcontrol.adapters.slots import LayoutName, find_layout
from memcontrol.adapters.svdiff import SVDiffConfig

__all__ = [
    "AdaptedUNet",
    "DiffFitConfig",
    "LayoutName",
    "SVDiffConfig",
    "SelectiveConfig",
    "adapt",
    "find_layout",
    "resolve_mask",
]
