"""Selective fine-tuning: full, bias, norm and attention tuning, and unions of these."""

from memcontrol.adapters.registry import register
from memcontrol.adapters.selective.config import Selection, SelectiveConfig
from memcontrol.adapters.selective.layer import SelectiveLayer
from memcontrol.adapters.selective.method import SelectiveMethod
from memcontrol.adapters.selective.model import SelectiveModel

__all__ = ["Selection", "SelectiveConfig", "SelectiveLayer", "SelectiveMethod", "SelectiveModel"]

register("SELECTIVE", SelectiveConfig, SelectiveModel, SelectiveMethod)
