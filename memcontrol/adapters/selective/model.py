"""Selective fine-tuning's PEFT tuner."""

from __future__ import annotations

from memcontrol.adapters.layer import LeafModel
from memcontrol.adapters.selective.layer import SelectiveLayer

__all__ = ["SelectiveModel"]


class SelectiveModel(LeafModel):
    """Replaces target modules by `SelectiveLayer`."""

    prefix = "selective_"
    tuner_layer_cls = SelectiveLayer
