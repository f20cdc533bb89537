"""Callbacks that configs name: they observe, log and write files."""

from callbacks.baseline import BaselineCallback
from callbacks.checkpoint import AdapterCheckpoint
from callbacks.ema import EMACallback
from callbacks.pareto import ParetoCheckpoint
from callbacks.pruning import PruningCallback
from callbacks.rewards import RewardsCallback
from callbacks.samples import SampleGridCallback
from callbacks.timing import TimingCallback

__all__ = [
    "AdapterCheckpoint",
    "BaselineCallback",
    "EMACallback",
    "ParetoCheckpoint",
    "PruningCallback",
    "RewardsCallback",
    "SampleGridCallback",
    "TimingCallback",
]
