"""A trial on several devices: a process of its own, which Lightning starts again for each further rank.

    MEMCONTROL_TRIAL=FOLDER python -m memcontrol.search.ranks fit --config ...

A worker cannot be that process: its arguments are the controller's, and Lightning would start a second controller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from memcontrol.errors import SearchError
from memcontrol.search.private import LOG, open_private
from memcontrol.search.trial import TrialResult, run_fit

__all__ = ["run_ranks"]

FOLDER: Final = "MEMCONTROL_TRIAL"


def run_ranks(args: list[str], log: Path, threads: int | None) -> TrialResult:
    """Run `fit` on several devices.

    Args:
        args: Arguments of the command line.
        log: `trial.log` in the trial's folder, which the output of all ranks is appended to.
        threads: CPU threads of each rank, or None to leave them alone.

    Returns:
        The first rank's result, or that of another one whose memory ran out.

    Raises:
        SearchError: If they died without a word, as a worker does.
    """
    for old in log.parent.glob("result-*.json"):
        old.unlink()
    environment = {**os.environ, FOLDER: str(log.parent)}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with open_private(log) as file:
        command = [sys.executable, "-m", __name__, *args]
        code = subprocess.run(command, env=environment, stdout=file, stderr=file, check=False).returncode
    results = {p.stem: TrialResult(**json.loads(p.read_text())) for p in log.parent.glob("result-*.json")}
    full = [result for result in results.values() if result.out_of_memory]
    if not full and "result-0" not in results:
        raise SearchError(f"The ranks of the trial ended with exit code {code}; see {log}")
    return full[0] if full else results["result-0"]


def _end_with_parent() -> None:
    """End when the parent does: without it, nobody waits for what is written here."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(os.environ[FOLDER])
    found = run_fit(sys.argv[1:], folder / LOG)
    rank = os.environ.get("LOCAL_RANK", "0")
    if rank == "0" or found.error is not None:
        with open_private(folder / f"result-{rank}.json", "w") as file:
            file.write(json.dumps(asdict(found)))
    if rank != "0" and found.error is not None:
        sys.exit(1)  # Lightning then stops the first rank, which would wait


if __name__ == "__main__":
    _main()
