"""Callbacks that configs name: they observe, log and write files."""

from memcontrol.callbacks.baseline import BaselineCallback
from memcontrol.callbacks.checkpoint import AdapterCheckpoint
from memcontrol.callbacks.duplicates import DuplicateWeights
from memcontrol.callbacks.ema import EMACallback
from memcontrol.callbacks.forecast import AuditForecast
from memcontrol.callbacks.pareto import ParetoCheckpoint
from memcontrol.callbacks.progress import StepProgressBar
from memcontrol.callbacks.record import PatientRecord
from memcontrol.callbacks.rewards import RewardsCallback
from memcontrol.callbacks.samples import SampleGridCallback
from memcontrol.callbacks.timing import TimingCallback

__all__ = [
    "AdapterCheckpoint",
    "AuditForecast",
    "BaselineCallback",
    "DuplicateWeights",
    "EMACallback",
    "ParetoCheckpoint",
    "PatientRecord",
    "RewardsCallback",
    "SampleGridCallback",
    "StepProgressBar",
    "TimingCallback",
]
