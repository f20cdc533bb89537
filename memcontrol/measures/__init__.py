"""Measures: a model and real images in, measurements with intervals and nulls out.

`score` is the one path from a model to its measurements. A measure says all about itself in one file (`measure.py`
tells how); the imports below are the list of those that come with memcontrol, in the order of reports.
"""

from memcontrol.measures.measure import MEASURES, Measure, Scene, chosen_measures, directions, register
from memcontrol.measures.measurement import Measurement, Point
from memcontrol.measures.model import ScoredModel
from memcontrol.measures.needs import Evidence, Shadow
from memcontrol.measures.options import ScoringOptions
from memcontrol.measures.real import RealImages
from memcontrol.measures.samples import Sampled, Samples
from memcontrol.measures.score import Score, collect, measure, score

# isort: split
from memcontrol.measures import membership, fitted, shadow, worst, reaction, nearness, distance, decoded, overlaps  # isort: skip  # noqa: F401

__all__ = [
    "MEASURES",
    "Evidence",
    "Measure",
    "Measurement",
    "Point",
    "RealImages",
    "Sampled",
    "Samples",
    "Scene",
    "Score",
    "ScoredModel",
    "ScoringOptions",
    "Shadow",
    "chosen_measures",
    "collect",
    "directions",
    "measure",
    "register",
    "score",
]
