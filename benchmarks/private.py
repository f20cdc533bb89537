"""What a proven bound costs in quality, by method: private fine-tunings at several epsilons, audited side by side.

    python benchmarks/private.py --root FOLDER --base FOLDER --where "seen == 0" [--epsilons 10 0] [--seeds 0 1 2]

Rates, steps and clip are those of docs/PROTOCOL.md (private table, version 2), chosen on validation patients; what is
printed is measured on test patients, who chose nothing. Rows of one epsilon and seed are audited together, paired with
the first. What is there is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROWS = {
    "attention": ("adapter/attention.yaml", 3e-4),
    "lora_r4": ("compare/methods/lora_r4.yaml", 3e-3),
    "svdiff": ("adapter/svdiff.yaml", 2e-2),
    "bias": ("adapter/bias.yaml", 1e-2),
    "full": ("adapter/full.yaml", 3e-4),
}
"""Overlay and learning rate of each row."""
MEASURES = ("kid_decoded", "heldout_loss", "membership_calibrated")


def run(command: list[str], log: Path) -> int:
    """Run a command of memcontrol, and keep what it says."""
    with log.open("a") as file:
        done = subprocess.run([sys.executable, "-m", "memcontrol", *command], stdout=file, stderr=file)
    return done.returncode


def fit(row: str, epsilon: float, seed: int, options: argparse.Namespace) -> Path:
    """Train one fine-tuning, unless that was done; return its run folder."""
    folder: Path = options.folder / f"{row}-{epsilon:g}-{seed}"
    done = folder / "fitted"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        overlay, lr = ROWS[row]
        bound = ["--model.privacy.epsilon", str(epsilon)] if epsilon else ["--model.privacy.noise_multiplier", "0"]
        command = [
            "fit", "--config", "cxr.yaml", "--config", options.division, "--data.search_fraction", "0", "--config",
            overlay, *bound, "--model.optimizer.lr", str(lr),
            "--model.privacy.delta", str(options.delta), "--model.privacy.draws", str(options.draws),
            "--model.privacy.microbatch", "32", "--model.privacy.clip", str(options.clip), *where(options),
            *steps(options), "--model.caption_dropout", "0.1",
            "--trainer.callbacks", "[{class_path: callbacks.AdapterCheckpoint}]", "--trainer.logger",
            f"{{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: {folder}, name: run}}}}",
            "--trainer.enable_progress_bar", "false", "--seed_everything", str(seed), "--model.eval_draws", "0",
            "--data.cache.folder", str(options.folder / "cache"),
        ]  # fmt: skip
        if run(command, folder / "log.txt"):
            raise SystemExit(f"{folder} failed: see {folder / 'log.txt'}")
        done.touch()
    return folder / "run"


def audit(rows: tuple[str, ...], epsilon: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Audit the runs of rows side by side, unless that was done; the first is what the others are paired with."""
    runs = [str(fit(row, epsilon, seed, options)) for row in rows]
    output: Path = options.folder / f"audit-{'-'.join(rows)}-{epsilon:g}-{seed}"
    if not (output / "audit.json").is_file():
        scoring = f"{{measures: [{', '.join(MEASURES)}], num_images: {options.images}, num_probes: 0, draws: 4}}"
        sampling = "{steps: 10, guidance_scale: 2.0, scheduler: DPMSolverMultistepScheduler, batch_size: 64}"
        command = [
            "audit", "--config", "cxr.yaml", "--config", options.division, "--data.search_fraction", "0",
            *where(options), "--data.test_pools", "1", "--options.scoring", scoring,
            "--options.scoring.sampling", sampling,
            "--options.extraction.prompts", "0", "--ckpt_path", *runs, "--output", str(output),
            "--data.cache.folder", str(options.folder / "cache"),
        ]  # fmt: skip
        if run(command, options.folder / "audits.txt") not in (0, 3, 4):
            raise SystemExit(f"An audit failed: see {options.folder / 'audits.txt'}")
    found: dict[str, Any] = json.loads((output / "audit.json").read_text())
    return found


def differences(found: dict[str, Any], rows: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return by how much each row but the first lies above the first, in what both were measured by."""
    gaps: list[dict[str, Any]] = found["differences"]
    of_row = len(gaps) // (len(rows) - 1)  # one row after the other
    return [{**gap, "row": rows[1 + number // of_row]} for number, gap in enumerate(gaps)]


def where(options: argparse.Namespace) -> list[str]:
    """Return what says the images and the base."""
    found = ["--data.root", str(options.root), "--model.base", str(options.base), "--data.transform", "{size: 64}"]
    return found + (["--data.where", options.where] if options.where else [])


def steps(options: argparse.Namespace) -> list[str]:
    """Return what says how long is trained, and on how many patients at once."""
    return ["--data.batch_size", str(options.patients), "--trainer.max_steps", str(options.steps),
            "--trainer.val_check_interval", str(options.steps)]  # fmt: skip


def show(interval: dict[str, float], signed: bool = False) -> str:
    """Return a value with its interval."""
    return "{value:{s}.3f} [{low:{s}.3f}, {high:{s}.3f}]".format(**interval, s="+" if signed else "")


def main() -> None:
    """Run the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--where")
    parser.add_argument("--division", default="compare/wide_data.yaml", help="config that divides the patients")
    parser.add_argument("--folder", type=Path, default=Path("runs/private"))
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--epsilons", nargs="+", type=float, default=[10, 0], help="0 is clipping without noise")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--patients", type=int, default=179, help="in a step, on average")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--clip", type=float, default=0.01)
    parser.add_argument("--delta", type=float, default=1e-3)
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options.folder.mkdir(parents=True, exist_ok=True)
    rows, gaps = tuple(options.rows), []
    print(
        f"| seed | method | epsilon | noise | {' | '.join(MEASURES)} |\n" + "| --- " * (4 + len(MEASURES)) + "|",
        flush=True,
    )
    for epsilon, seed in itertools.product(options.epsilons, options.seeds):
        found = audit(rows, epsilon, seed, options)
        for row, audited in zip(rows, found["audited"], strict=True):
            values = {m["name"]: m for m in audited["measures"] if m["value"]}
            noise = audited["guarantee"]["noise_multiplier"]
            shown = " | ".join(show(values[name]["value"]) for name in MEASURES)
            print(f"| {seed} | {row} | {epsilon or 'none'} | {noise:.3g} | {shown} |", flush=True)
        nulls = {m["name"]: show(m["null"]) for m in found["audited"][0]["measures"] if m["null"]}
        print(f"| {seed} | base | | | {' | '.join(nulls.get(name, '') for name in MEASURES)} |", flush=True)
        gaps += [(epsilon, seed, gap) for gap in differences(found, rows)]
    print(f"\n| seed | epsilon | row | measure | above {rows[0]} |\n" + "| --- " * 5 + "|")
    for epsilon, seed, gap in gaps:
        print(f"| {seed} | {epsilon or 'none'} | {gap['row']} | {gap['name']} | {show(gap['value'], True)} |")


if __name__ == "__main__":
    main()
