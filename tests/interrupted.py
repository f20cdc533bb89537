"""The four long commands as a node that dies at night, a full disk and a second process meet them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from memcontrol.errors import CheckpointError
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.journal import Journal
from tests.conf import short_run
from tests.memcontrol.search.conf import arguments as search_arguments
from tests.memcontrol.search.conf import trials

TIMES = re.compile(r'"(time|date|seconds|started|wall|cpu|took)[a-z_]*": ("[^"]*"|[-0-9.e]+)')
"""What differs between two runs that are the same: when, and how long."""

DATA = ("--data.sites=[C]", "--data.num_subjects=80", "--data.split_fractions=[0.2,0.3,0.5]")
SCORING = (
    "num_images=8", "num_probes=8", "draws=1", "attacks=false", "sampling.steps=2",
    "encoder=memcontrol.measures.encoders.PhantomEncoder",
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command that can be interrupted.

    Args:
        begin: Arguments for a folder in which nothing has run.
        resume: Arguments for a folder in which it was interrupted.
        result: What it left, without times: equal for two runs of which one was interrupted.
    """

    begin: Callable[[Path], list[str]]
    resume: Callable[[Path], list[str]]
    result: Callable[[Path], Any]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_times(path: Path) -> str:
    return TIMES.sub("", path.read_text())


def fit(folder: Path) -> list[str]:
    steps = ("--trainer.max_steps=40", "--trainer.val_check_interval=10", "--trainer.callbacks.every_n_train_steps=3")
    return short_run(folder, *steps)


def fit_again(folder: Path) -> list[str]:
    run = folder / "demo" / "version_0"
    begun = True
    try:
        find_checkpoint(run)
    except CheckpointError:
        begun = False
        shutil.rmtree(run, ignore_errors=True)
    return [*fit(folder), *([f"--ckpt_path={run}"] if begun else [])]


def fitted(folder: Path) -> dict[str, Any]:
    run = folder / "demo" / "version_0"
    _, state = read_checkpoint(find_checkpoint(run))
    weights = {name: hashlib.sha256(v.numpy().tobytes()).hexdigest() for name, v in state.items()}
    metrics = pd.read_csv(run / "metrics.csv")
    logged = {}
    for name in ("train/loss", "val/loss", "val/gain"):
        rows = metrics.dropna(subset=[name]).set_index("step")[name]
        assert not rows.index.has_duplicates  # nothing twice
        logged[name] = rows.to_dict()
    pictures = {path.name: digest(path) for path in sorted((run / "samples").glob("*.png"))}
    adapter = digest(run / "adapter" / "adapter_model.safetensors")
    heldout = without_times(run / "heldout.json")
    return {"weights": weights, "logged": logged, "pictures": pictures, "adapter": adapter, "held": heldout}


def search(folder: Path) -> list[str]:
    return search_arguments(folder, 4)


def searched(folder: Path) -> dict[str, Any]:
    events = Counter(e["event"] for e in Journal(folder / "study" / "journal.jsonl").events())
    assert events["finish"] == events["ask"] == 4  # nothing lost, nothing twice
    found = trials(folder)
    scores = json.dumps([[t.number, t.digest, str(t.state), t.points[-1].rewards] for t in found])
    front = {p.name: digest(p) for p in sorted((folder / "study" / "front").rglob("adapter_model.safetensors"))}
    return {"scores": scores, "front": front}


def compare(folder: Path) -> list[str]:
    methods = folder / "methods"
    methods.mkdir(exist_ok=True, parents=True)
    (methods / "svdiff.yaml").write_text("model: {adapter: {class_path: memcontrol.adapters.SVDiffConfig}}\n")
    return [
        "compare", "--config=compare/smoke.yaml", f"--compare.folder={folder / 'compare'}",
        f"--compare.evidence={folder / 'evidence'}", f"--compare.methods=[{methods}]", "--compare.seeds=[0,1]",
        f"--data.cache.folder={folder / 'cache'}", "--trainer.max_steps=2", "--trainer.val_check_interval=1",
        "--compare.threads=1", "--compare.scoring.sampling.steps=2", "--compare.scoring.num_images=8",
    ]  # fmt: skip


def compared(folder: Path) -> dict[str, Any]:
    events = Journal(folder / "compare" / "journal.jsonl").events()
    assert sum(e["event"] == "run" and e["error"] is None for e in events) == 2  # nothing twice
    cells = {path.name: without_times(path) for path in sorted((folder / "evidence").glob("*.json"))}
    return {"cells": cells, "table": (folder / "compare" / "table.csv").read_text()}


def audit(run: Path) -> Callable[[Path], list[str]]:
    def arguments(folder: Path) -> list[str]:
        scoring = (f"--options.scoring.{option}" for option in SCORING)
        return [
            "audit", "--config", "demo.yaml", f"--ckpt_path={run}", f"--data.cache.folder={folder / 'cache'}",
            f"--output={folder / 'audit'}", *DATA, *scoring, "--options.extraction.prompts=2",
            "--options.extraction.samples=3",
        ]  # fmt: skip

    return arguments


def audited(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "audit" / "audit.json").read_text())
    pictures = {path.name: digest(path) for path in sorted((folder / "audit" / "draws").glob("*.png"))}
    return {"found": json.dumps(record["audited"]).replace(str(folder), ""), "pictures": pictures}


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "train.py", *arguments], stdout=file, stderr=file, start_new_session=True,
            env=env | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def finish(arguments: list[str], log: Path) -> None:
    process = start(arguments, log)
    assert process.wait(600) == 0, log.read_text()[-3000:]


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the workers that a command has started, and that live."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def kill(process: subprocess.Popen[bytes], kind: str) -> None:
    """Kill a command: all of it at once, its controller (whose workers must end by themselves), or a worker."""
    workers = workers_of(process)
    if kind == "worker" and workers:
        workers[-1].kill()
        time.sleep(3)
    if kind == "controller":
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def disturb(command: Command, folder: Path, kills: int, seconds: float, rng: random.Random) -> int:
    """Run a command that is killed at random moments until it has ended; and return how often it was.

    Args:
        command: The command.
        folder: Its folder.
        kills: How often to kill it; it may end before.
        seconds: How long an undisturbed run takes.
        rng: Chooses the moments and what is killed.
    """
    log = folder.parent / f"{folder.name}.log"
    for number in range(kills):
        process = start((command.resume if number else command.begin)(folder), log)
        try:
            process.wait(rng.uniform(0.3, 1.1) * seconds)
        except subprocess.TimeoutExpired:
            kill(process, rng.choice(["all", "controller", "worker"]))
        else:
            assert process.returncode == 0, log.read_text()[-3000:]
            return number
    finish(command.resume(folder), log)
    return kills
