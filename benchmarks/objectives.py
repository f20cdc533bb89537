r"""A trial that computes its objectives alone against the tree at an earlier revision, which measured all: CPU seconds.

Both trees run a search of one trial, with the same seeds and warm caches, by turns; their scores are compared bit for
bit. The same command once more, when nothing is left to train, says what the controller itself takes, which is
subtracted. The earlier tree is checked out of this repository into a temporary folder.

OMP_NUM_THREADS=1 python benchmarks/objectives.py f331452 --config compare/cxr_search.yaml --data.root FOLDER \
    --model.base FOLDER --data.where "seen == 0"
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print CPU seconds of a trial in both trees, their ratio, and whether the scores are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the earlier tree")
    parser.add_argument("--runs", type=int, default=1)
    options, arguments = parser.parse_known_args()
    folder = Path(tempfile.mkdtemp())
    before = folder / "before"
    subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", "-q", before, options.revision], check=True)
    trees = {"before": before, "now": ROOT}
    try:
        for name, tree in trees.items():
            _trial(
                tree, folder / f"warm-{name}", [*arguments, "--trainer.max_steps=1", "--trainer.val_check_interval=1"]
            )
        spent: dict[str, list[float]] = {name: [] for name in trees}
        scores = {}
        for number in range(options.runs):
            for name, tree in trees.items():
                seconds, scores[name] = _trial(tree, folder / f"{name}-{number}", arguments)
                spent[name].append(seconds)
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", before], check=True)
    for name, seconds in spent.items():
        print(f"{name}: a trial takes {sorted(seconds)[len(seconds) // 2]:.1f} CPU s (its worker whole)")
    ratio = sorted(a / b for a, b in zip(spent["now"], spent["before"], strict=True))[options.runs // 2]
    print(
        f"now against before: {ratio:.3f}; scores of the objectives are the same: {scores['now'] == scores['before']}"
    )


def _trial(tree: Path, study: Path, arguments: list[str]) -> tuple[float, list[list[float]]]:
    """Run a search of one trial; returns its CPU seconds and the rewards of its validations."""
    command = [
        sys.executable,
        "train.py",
        "search",
        *map(_absolute, arguments),
        "--search.trials=1",
        "--search.workers=1",
    ]
    command += ["--search.threads=1", "--search.rescore_factor=0", f"--search.study={study}"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    marks = [_cpu()]
    for _ in ("controller and trial", "controller"):
        subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True)
        marks.append(_cpu())
    whole, controller = marks[1] - marks[0], marks[2] - marks[1]
    events = [json.loads(line) for line in (study / "journal.jsonl").read_text().splitlines()]
    (finish,) = (event for event in events if event["event"] == "finish")
    return whole - controller, [point["rewards"] for point in finish["points"]]


def _absolute(argument: str) -> str:
    """Return a folder that exists here as an absolute path: the earlier tree runs elsewhere."""
    return str(Path(argument).resolve()) if "/" in argument and Path(argument).is_dir() else argument


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
