"""Trials per hour of two local workers against one, one CPU thread each, on the demo's study with random masks.

python benchmarks/workers.py [--trials 8] [--steps 60]

The clock runs from the first proposal to the last result, so the start of the workers counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

from memcontrol.cli import main as memcontrol
from memcontrol.files.journal import Journal


def main() -> None:
    """Print trials per hour with one and with two workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    rates = {}
    for workers in (1, 2):
        study = folder / f"study-{workers}"
        arguments = [
            "search",
            "--config=demo.yaml",
            "--config=search/demo.yaml",
            f"--search.study={study}",
            f"--search.trials={options.trials}",
            f"--search.workers={workers}",
            "--search.threads=1",
            "--search.optimizer=RandomSearch",
            "--search.rescore_factor=0",
            f"--trainer.max_steps={options.steps}",
            f"--trainer.val_check_interval={options.steps}",
            f"--data.cache.folder={folder / 'cache'}",
        ]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            memcontrol(arguments)
        events = Journal(study / "journal.jsonl").events()
        finished = [event for event in events if event["event"] == "finish"]
        if any(event["state"] != "COMPLETE" for event in finished) or len(finished) != options.trials:
            raise SystemExit(f"not all trials are complete: {[event['state'] for event in finished]}")
        first = min(event["time"] for event in events if event["event"] == "ask")
        hours = (max(event["time"] for event in finished) - first) / 3600
        rates[workers] = options.trials / hours
        print(f"{workers} worker(s), one thread each: {rates[workers]:.1f} trials per hour", flush=True)
    print(f"two against one: {rates[2] / rates[1]:.2f}")


if __name__ == "__main__":
    main()
