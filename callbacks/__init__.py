"""The door to memcontrol's callbacks, and a place for your own.

`callbacks.RewardsCallback` in a config or in Python is `memcontrol.callbacks.RewardsCallback`. A callback of your own
is a file here; a config that names it needs `--trust-config`.
"""

from memcontrol.callbacks import *  # noqa: F403 - the same names, from one list
from memcontrol.callbacks import __all__ as __all__
