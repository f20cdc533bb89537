"""Several agents of a W&B sweep without its server: do they push the front outwards from both sides?

    pip install sweeps
    python benchmarks/sweep.py [--runs 8] [--agents 2] [--weights 0.3 0.7] [--folder runs/sweep-benchmark]

Carries out `configs/sweep.yaml` with the method `bayes`, by W&B's own proposals (the package `sweeps`, which their
server runs), once for each weight of quality in `reward/both`; agents run its command with an offline client. Printed
are, run by run in turns of both sweeps, the front's extremes (gains over the untouched base, in units of it) and its
hypervolume, as a share of the last one. The folder must be new.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from tqdm import tqdm

from memcontrol.files.configs import find_config
from memcontrol.search.front import hypervolume_of


class Controller:
    """What W&B's server does for a sweep: proposes runs, and takes their results.

    Args:
        weight: Weight of quality.
        folder: Where runs lie.
        bar: Progress over runs.
    """

    def __init__(self, weight: float, folder: Path, bar: Any) -> None:
        self.config = yaml.safe_load(Path(find_config("sweep.yaml")).read_text())
        self.config["method"] = "bayes"
        self.config["parameters"]["trainer.callbacks.weight"] = {"value": weight}
        self.command = [part for part in self.config.pop("command") if part not in ("${env}", "${args}")]
        self.folder, self.bar = folder, bar
        self.runs: list[Any] = []
        self.found: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def agent(self, number: int) -> None:
        """Take one proposal and run it."""
        from sweeps import RunState, next_run

        with self._lock:
            run = next_run(self.config, self.runs)
            run.name, run.state = f"run-{number}", RunState.running
            self.runs.append(run)
        values = {name: setting["value"] for name, setting in run.config.items()}
        room = self.folder / str(number)
        room.mkdir(parents=True, exist_ok=True)
        arguments = [f"--{name}={value}" for name, value in values.items()]
        own = ["--trainer.enable_progress_bar=false"]
        environment = {**os.environ, "WANDB_MODE": "offline"}
        command = [sys.executable, "-m", *self.command, *arguments, *own]
        with (room / "log.txt").open("w") as log:
            ended = subprocess.run(command, cwd=room, env=environment, stdout=log, stderr=log)
        if ended.returncode:
            raise SystemExit(f"A run failed: see {room / 'log.txt'}")
        scores = read_scores(room)
        with self._lock:
            run.summary_metrics = {"reward/both": scores["both"]}
            run.history, run.state = [{"reward/both": scores["both"]}], RunState.finished
            self.found.append({**values, **scores})
            self.bar.update()


def read_scores(room: Path) -> dict[str, float]:
    """Return `reward/both` of a run's last validation, and what it gained over the base on each side."""
    logged = pd.read_csv(next(room.rglob("metrics.csv")))["reward/both"].dropna()
    (path,) = room.rglob("rewards.jsonl")
    last = json.loads(path.read_text().splitlines()[-1])
    gains = {}
    for found in last["measures"]:
        if found["name"] == last[found["group"]]:
            sign = 1 if found["higher_is_better"] else -1
            base = found["null"]["value"]
            gains[found["group"]] = sign * (found["value"]["value"] - base) / abs(base)
    return {"both": float(logged.iloc[-1]), **gains}


def report(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Return extremes and hypervolume of the front after each run, taken from the sweeps in turn."""
    gains = np.array([[run["memorization"], run["quality"]] for run in found])
    reference = np.minimum(gains.min(axis=0), 0) - 1e-3
    total = hypervolume_of(gains, reference)
    rows = []
    for number in range(1, len(found) + 1):
        front = gains[:number]
        rows.append(
            {
                "runs": number,
                "least memorization (gain over the base)": front[:, 0].max(),
                "best quality (gain over the base)": front[:, 1].max(),
                "hypervolume": hypervolume_of(front, reference) / total,
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Run the sweeps and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8, help="of each sweep")
    parser.add_argument("--agents", type=int, default=2, help="at once, of each sweep in turn")
    parser.add_argument("--weights", nargs="+", type=float, default=[0.3, 0.7])
    parser.add_argument("--folder", type=Path, default=Path("runs/sweep-benchmark"))
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder} is there already; give a new folder")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tqdm(total=options.runs * len(options.weights), unit="run") as bar:
        sweeps = [Controller(weight, options.folder / f"{weight:g}", bar) for weight in options.weights]
        with ThreadPoolExecutor(options.agents) as agents:
            waiting = [agents.submit(sweep.agent, n) for n in range(options.runs) for sweep in sweeps]
            for one in waiting:
                one.result()
    for sweep, weight in zip(sweeps, options.weights, strict=True):
        table = pd.DataFrame(sweep.found).drop(columns="trainer.callbacks.weight")
        print(f"\nSweep with weight {weight:g} of quality:\n{table.round(3).to_string(index=False)}")
    taken_in_turn = [run for pair in zip(*(sweep.found for sweep in sweeps), strict=True) for run in pair]
    print(f"\n{report(taken_in_turn).round(3).to_string(index=False)}")


if __name__ == "__main__":
    main()
