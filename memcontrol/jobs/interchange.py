"""Parsl's interchange, which hands trials to jobs, for as long as its controller lives.

Parsl's own outlives a controller that was killed, and keeps the jobs alive with it: they would hold their GPUs until
their time is up.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
from typing import Final

__all__ = ["launch_command"]

SECONDS: Final = 2
"""Between two looks at whether the controller lives."""


def launch_command() -> list[str]:
    """Return the command that starts the interchange of this process."""
    return [sys.executable, "-m", "memcontrol.jobs.interchange", str(os.getpid())]


def _end_with(controller: int) -> None:
    while os.getppid() == controller:
        time.sleep(SECONDS)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")
