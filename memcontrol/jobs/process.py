"""What `processes.py` starts: the first of a job's processes, and by Lightning the others."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from memcontrol.files.redaction import open_private
from memcontrol.files.run_folder import LOG
from memcontrol.jobs.processes import ENTRY, FOLDER
from memcontrol.jobs.run import run_fit

__all__: list[str] = []


def _end_with_parent() -> None:
    """End when the parent does: without it, nobody waits for what is written here."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(os.environ[FOLDER])
    found = run_fit(os.environ[ENTRY], sys.argv[1:], folder / LOG)
    rank = os.environ.get("LOCAL_RANK", "0")
    if rank == "0" or found.error is not None:
        with open_private(folder / f"result-{rank}.json", "w") as file:
            file.write(json.dumps(asdict(found)))
    if rank != "0" and found.error is not None:
        sys.exit(1)  # Lightning then stops the first process, which would wait


if __name__ == "__main__":
    _main()
