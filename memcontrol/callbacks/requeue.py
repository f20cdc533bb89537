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
        self._pending: Callable[[], object] | None = None
        self._is_deferred = False

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
            self._pending = partial(handler, found, None)

        signal.signal(number, later)
        self._is_deferred = True

    def take(self, trainer: Trainer) -> None:
        """Save and ask for a new place, on all ranks at the same step, if the signal has come to any."""
        if not self._is_deferred:
            return
        has_come = trainer.strategy.reduce_boolean_decision(self._pending is not None, all=False)  # type: ignore[attr-defined]
        if has_come:
            pending, self._pending = self._pending, None
            if pending is not None:
                pending()
