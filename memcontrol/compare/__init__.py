"""`compare`: methods side by side, under one protocol."""

from memcontrol.compare.options import CompareOptions

__all__ = ["CompareOptions"]
