"""A search of the wide space against one of the paper's masks and against random search, at equal compute.

    python benchmarks/spaces.py [--trials 24] [--seeds 0 1 2] [--workers 2] [--folder runs/spaces]

Each is a study on phantoms of a site that the base has never seen: `search/wide.yaml` by our proposer, the same space
at random, and `search/demo.yaml` (SVDiff, the 13 bits of the paper, a learning rate) by our proposer. Fronts are scored
again, and seen as hypervolume under a reference that was fixed beforehand (docs/PROTOCOL.md, version 9): a leak of 0.75
in `membership_calibrated` and a `kid` of 2. Equal compute: of each study those trials count, in order of their
proposals, whose seconds together reach no more than all of the cheapest study's. What is there is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import ttest_ind

from memcontrol.files.journal import Journal
from memcontrol.search.front import FrontPoint, archive, hypervolume_of
from memcontrol.search.records import TrialRecord, read_rescored, read_trials

ARMS = {
    "wide": ["--config=search/wide.yaml"],
    "random": ["--config=search/wide.yaml", "--search.optimizer=RandomSearch", "--search.anchors=[]"],
    "paper13": [],
}
REFERENCE = np.array([-0.75, -2.0])
"""Rewards that a point must be better than, to count: the negated leak and the negated distance."""
ACCEPTED = 0.6
"""The leak under which the best quality is said beside the hypervolume."""
STEPS = 80


def study_of(arm: str, seed: int, options: argparse.Namespace) -> Path:
    """Run a study, or go on with it; return its folder."""
    folder: Path = options.folder / f"{arm}-{seed}"
    command = [
        "search", "--config=demo.yaml", "--config=search/demo.yaml", *ARMS[arm], f"--search.study={folder}",
        f"--search.seed={seed}", f"--search.trials={options.trials}", f"--search.workers={options.workers}",
        "--search.threads=1", f"--trainer.max_steps={STEPS}", f"--trainer.val_check_interval={STEPS // 2}",
    ]  # fmt: skip
    log = options.folder / f"{arm}-{seed}.txt"
    with log.open("a") as file:
        done = subprocess.run([sys.executable, "-m", "memcontrol", *command], stdout=file, stderr=file)
    if done.returncode:
        raise SystemExit(f"{folder} failed: see {log}")
    return folder


def affordable(records: Sequence[TrialRecord], seconds: float) -> list[TrialRecord]:
    """Return the first trials that take no more than so many seconds together."""
    spent = itertools.accumulate(record.seconds.get("total", 0.0) for record in records)
    return [record for record, so_far in zip(records, spent, strict=True) if so_far <= seconds]


def volume(front: Sequence[FrontPoint]) -> float:
    """Return the hypervolume of a front above the reference."""
    return hypervolume_of(np.array([point.rewards for point in front]), REFERENCE)


def best_quality(front: Sequence[FrontPoint]) -> float:
    """Return the smallest `kid` under the accepted leak (NaN if nothing keeps to it)."""
    kept = [-point.rewards[1] for point in front if -point.rewards[0] <= ACCEPTED]
    return min(kept, default=float("nan"))


def main() -> None:
    """Run the studies; print what each found, and how the wide space's search compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/spaces"))
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options.folder.mkdir(parents=True, exist_ok=True)
    journals = {
        (arm, seed): Journal(study_of(arm, seed, options) / "journal.jsonl") for seed in options.seeds for arm in ARMS
    }
    trials = {key: read_trials(journal) for key, journal in journals.items()}
    seconds = {key: sum(r.seconds.get("total", 0.0) for r in records) for key, records in trials.items()}
    budget = min(seconds.values())
    found: dict[str, list[float]] = {arm: [] for arm in ARMS}
    print(f"equal compute: {budget:.0f} s of trials\n")
    print("| search | seed | s of all trials | trials that count | hypervolume | the same, of all trials | `kid` at a "
          f"leak of at most {ACCEPTED} |\n" + "| --- " * 7 + "|")  # fmt: skip
    for (arm, seed), records in trials.items():
        again = read_rescored(journals[arm, seed])
        counted = affordable(records, budget)
        front = archive(counted, again)
        found[arm].append(volume(front))
        print(
            f"| {arm} | {seed} | {seconds[arm, seed]:.0f} | {len(counted)} of {len(records)} | {found[arm][-1]:.4f} | "
            f"{volume(archive(records, again)):.4f} | {best_quality(front):.3f} |"
        )
    for arm in ("random", "paper13"):
        test = ttest_ind(found["wide"], found[arm], equal_var=False, alternative="greater")
        gap = np.mean(found["wide"]) - np.mean(found[arm])
        print(f"wide against {arm}: {gap:+.4f} in the mean, p = {test.pvalue:.2g} (Welch, one-sided)")


if __name__ == "__main__":
    main()
