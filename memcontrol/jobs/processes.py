"""A job on several devices: a process of its own, which Lightning starts again for each further device.

    MEMCONTROL_JOB=FOLDER MEMCONTROL_ENTRY=memcontrol.cli:main python -m memcontrol.jobs.process fit --config ...

A worker cannot be that process: its arguments are the controller's, and Lightning would start a second controller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from memcontrol.errors import SearchError
from memcontrol.files.redaction import open_private

__all__ = ["ENTRY", "FOLDER", "run_processes"]

FOLDER: Final = "MEMCONTROL_JOB"
"""Variable of the environment that names the run folder."""
ENTRY: Final = "MEMCONTROL_ENTRY"
"""Variable that names what runs the job; Lightning gives further processes the arguments of the command line alone."""


def run_processes(entry: str, args: list[str], log: Path, threads: int | None) -> dict[str, Any]:
    """Run `fit` on several devices.

    Args:
        entry: What runs it, as `module:function`.
        args: Arguments of the command line.
        log: `trial.log` in the job's folder, which the output of all processes is appended to.
        threads: CPU threads of each process, or None to leave them alone.

    Returns:
        The fields of the first process's `JobResult`, or that of another one whose memory ran out.

    Raises:
        SearchError: If they died without a word, as a worker does.
    """
    for old in log.parent.glob("result-*.json"):
        old.unlink()
    environment = {**os.environ, FOLDER: str(log.parent), ENTRY: entry}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with open_private(log) as file:
        command = [sys.executable, "-m", "memcontrol.jobs.process", *args]
        code = subprocess.run(command, env=environment, stdout=file, stderr=file, check=False).returncode
    files = log.parent.glob("result-*.json")
    results: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in files}
    full = [result for result in results.values() if result["out_of_memory"]]
    if not full and "result-0" not in results:
        raise SearchError(f"The processes of the job ended with exit code {code}; see {log}")
    return full[0] if full else results["result-0"]
