"""Training-time mitigations of memorization, combined freely with any adapter and mask."""

from memcontrol.mitigation.anchored import BaseAnchoredFilter
from memcontrol.mitigation.base import Mitigation
from memcontrol.mitigation.captions import MultipleCaptions
from memcontrol.mitigation.floor import LossFloor
from memcontrol.mitigation.noise import TextNoise
from memcontrol.mitigation.prior import PriorPreservation
from memcontrol.mitigation.threshold import NoiseNormThreshold
from memcontrol.mitigation.words import RandomNumberAddition, RandomWordAddition, WordRepetition

__all__ = [
    "BaseAnchoredFilter",
    "LossFloor",
    "Mitigation",
    "MultipleCaptions",
    "NoiseNormThreshold",
    "PriorPreservation",
    "RandomNumberAddition",
    "RandomWordAddition",
    "TextNoise",
    "WordRepetition",
]
