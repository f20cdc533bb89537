"""SVDiff's PEFT tuner."""

from __future__ import annotations

from memcontrol.adapters.layer import LeafModel
from memcontrol.adapters.svdiff.layer import SVDiffLayer

__all__ = ["SVDiffModel"]


class SVDiffModel(LeafModel):
    """Replaces target modules by `SVDiffLayer`."""

    prefix = "svdiff_"
    tuner_layer_cls = SVDiffLayer
