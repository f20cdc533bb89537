"""DiffFit's PEFT tuner."""

from __future__ import annotations

from memcontrol.adapters.difffit.layer import DiffFitLayer
from memcontrol.adapters.layer import LeafModel

__all__ = ["DiffFitModel"]


class DiffFitModel(LeafModel):
    """Replaces target modules by `DiffFitLayer`."""

    prefix = "difffit_"
    tuner_layer_cls = DiffFitLayer
