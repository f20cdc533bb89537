"""The outer loop: search masks that trade memorization for quality."""

from memcontrol.search.bayes import PairwiseThompson
from memcontrol.search.options import SearchOptions
from memcontrol.search.space import Parameter

__all__ = ["PairwiseThompson", "Parameter", "SearchOptions"]
