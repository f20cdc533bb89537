"""Let the signal by which SLURM announces the end of a job wait for the end of a step.

Lightning saves and asks for a new place at once, wherever in a step it is: a run that goes on from there would leave
out a batch that was read and not trained on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer

__all__ = ["RequeueSignal"]


class RequeueSignal:
    """Lightning's handler of the signal, to be called where a run can go on from."""

    def __init__(self) -> None:
        self._handler: Callable[[], object] | None = None
        self._has_come = False

    def defer(self, trainer: Trainer) -> None:
        """Take the signal over from Lightning, which puts everything back at the end of training."""
        environment = trainer._accelerator_connector.cluster_environment  # type: ignore[attr-defined]
        if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
            return
        number = environment.requeue_signal or signal.SIGUSR1
        handler = signal.getsignal(number)
        if not callable(handler):
            return

        def later(found: int, frame: object) -> None:
            self._has_come = True

        self._handler = partial(handler, number, None)
        signal.signal(number, later)

    def take(self, trainer: Trainer) -> None:
        """Save and ask for a new place, once and on all ranks at the same step, if the signal has come to any of them.

        In the middle of accumulated gradients it waits: these are in no checkpoint.
        """
        if self._handler is None or trainer.fit_loop._should_accumulate():
            return
        if trainer.strategy.reduce_boolean_decision(self._has_come, all=False):  # type: ignore[attr-defined]
            handler, self._handler = self._handler, None
            handler()
