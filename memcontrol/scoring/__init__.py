"""Scoring: a model and real images in, measures with intervals and nulls out."""

from memcontrol.scoring.evidence import Evidence, collect, collect_drawn
from memcontrol.scoring.measures import Measure, measure
from memcontrol.scoring.model import ScoredModel
from memcontrol.scoring.options import ScoringOptions
from memcontrol.scoring.real import RealImages

__all__ = [
    "Evidence",
    "Measure",
    "RealImages",
    "ScoredModel",
    "ScoringOptions",
    "collect",
    "collect_drawn",
    "measure",
]
