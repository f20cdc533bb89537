r"""A trial against one of the tree at an earlier revision: CPU seconds, what they go to, and what a reward costs.

Both trees run a search of one trial, with the same seeds and warm caches, by turns, each by its own file of a config
that both have; their scores are compared bit for bit. What a reward costs is sampling and scoring, times what more
pictures and probes it would take (the square of its standard error over `--error`). The same command once more, when
nothing is left to train, says what the controller itself takes, which is subtracted. The earlier tree is checked out
of this repository into a temporary folder.

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
    parser.add_argument("--error", type=float, default=0.1, help="standard error of the quality that is paid for")
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
        ends: dict[str, dict] = {}
        for number in range(options.runs):
            for name, tree in trees.items():
                seconds, ends[name] = _trial(tree, folder / f"{name}-{number}", arguments)
                spent[name].append(seconds)
    finally:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", before], check=True)
    for name, seconds in spent.items():
        print(f"{name}: a trial takes {sorted(seconds)[len(seconds) // 2]:.1f} CPU s (its worker whole)")
        _say_parts(ends[name], options.error)
    scores = {name: [point["rewards"] for point in end["points"]] for name, end in ends.items()}
    ratio = sorted(a / b for a, b in zip(spent["now"], spent["before"], strict=True))[options.runs // 2]
    print(
        f"now against before: {ratio:.3f}; scores of the objectives are the same: {scores['now'] == scores['before']}"
    )


def _say_parts(end: dict, error: float) -> None:
    """Print what a trial's seconds go to, and what a reward costs whose quality has a standard error."""
    seconds, points = end["seconds"], end["points"]
    scoring = seconds["sampling"] + seconds["scoring"]
    shares = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if name != "total")
    print(f"  {shares}; sampling and scoring take {scoring / seconds['training']:.2f} of training")
    for name in points[0]["measures"]:
        found = [(p["measures"][name]["high"] - p["measures"][name]["low"]) / (2 * 1.96) for p in points]
        print(f"  {name}: standard error {sum(found) / len(found):.3f}")
    quality = list(points[0]["measures"])[-1]
    spread = sum((p["measures"][quality]["high"] - p["measures"][quality]["low"]) / (2 * 1.96) for p in points)
    each = scoring / len(points) * (spread / len(points) / error) ** 2
    print(f"  a reward whose {quality} has a standard error of {error:g} costs {each:.1f} CPU s (one thread)")


def _trial(tree: Path, study: Path, arguments: list[str]) -> tuple[float, dict]:
    """Run a search of one trial; returns its CPU seconds and what the journal says of its end."""
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
    return whole - controller, finish


def _absolute(argument: str) -> str:
    """Return a folder that exists here as an absolute path: the earlier tree runs elsewhere."""
    return str(Path(argument).resolve()) if "/" in argument and Path(argument).is_dir() else argument


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
