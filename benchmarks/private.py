"""What a proven bound costs in quality, by method: private fine-tunings at several epsilons, each audited.

    python benchmarks/private.py --root FOLDER --base FOLDER --where "seen == 0" --folder runs/private

Nothing is chosen by any of the figures: rates are those of the rows without a bound, batch and steps are fixed, and
what is printed is measured once, on held-out patients who chose nothing. What is there is not run again. `--plan`
prints the runs, `--compare` also by how much svdiff and found lie above attention and LoRA at equal epsilon, paired.

Rows: full, attention, LoRA of rank 4, SVDiff, and the mask that a search without a bound found (LoRA 2, 21 of 24
slots).
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

ROWS: dict[str, tuple[list[str], float]] = {
    "svdiff": (["adapter/svdiff.yaml"], 5e-3),
    "lora_r4": (["compare/methods/lora_r4.yaml"], 1e-3),
    "found": (["compare/found/cxr_wide.yaml"], 1e-3),
    "attention": (["adapter/attention.yaml"], 3e-4),
    "full": (["adapter/full.yaml"], 1e-4),
}
"""Overlays and learning rate of each row."""
MASKED = ("svdiff", "found")
RIVALS = ("attention", "lora_r4")
"""What trains less by a mask or by singular values, and what it is to be better than."""
MEASURES = ("kid_decoded", "heldout_loss", "membership_calibrated")


def run(command: list[str], log: Path) -> int:
    """Run a command of memcontrol, and keep what it says."""
    with log.open("a") as file:
        done = subprocess.run([sys.executable, "-m", "memcontrol", *command], stdout=file, stderr=file)
    return done.returncode


def cell(row: str, epsilon: float | None, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and audit one fine-tuning, unless that was done; return its measures."""
    name = f"{row}-{'none' if epsilon is None else f'{epsilon:g}'}-{seed}"
    folder = options.folder / name
    data = data_options(options)
    audit = folder / "audit" / "audit.json"
    if not audit.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        overlays, lr = ROWS[row]
        config = [part for overlay in overlays for part in ("--config", overlay)]
        bound = (
            ["--model.privacy.noise_multiplier", "0"] if epsilon is None else ["--model.privacy.epsilon", str(epsilon)]
        )
        fit = [
            "fit", *data, *config, *bound, "--model.privacy.delta", str(options.delta), "--model.privacy.draws",
            str(options.draws), "--model.privacy.microbatch", "32", "--model.optimizer.lr", str(lr),
            "--data.batch_size", str(options.patients), "--data.transform", "{size: 64}", "--trainer.max_steps",
            str(options.steps), "--trainer.val_check_interval", str(options.steps), "--model.caption_dropout", "0.1",
            "--trainer.callbacks", "[{class_path: callbacks.AdapterCheckpoint}]", "--trainer.logger",
            f"{{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: {folder}, name: run}}}}",
            "--trainer.enable_progress_bar", "false", "--seed_everything", str(seed), "--model.eval_draws", "0",
        ]  # fmt: skip
        ask = ["audit", *data, *audit_options(options), "--ckpt_path", str(folder / "run"), "--output",
               str(folder / "audit")]  # fmt: skip
        log = folder / "log.txt"
        codes = [run(fit, log), run(ask, log)]
        if codes[0] or codes[1] not in (0, 3, 4):
            raise SystemExit(f"{name} failed: see {log}")
    found = json.loads(audit.read_text())["audited"][0]
    values = {m["name"]: m["value"] for m in found["measures"] if m["value"]}
    base = {m["name"]: m["null"] for m in found["measures"] if m["null"]}
    return {"row": row, "epsilon": epsilon, "guarantee": found["guarantee"], "base": base, **values}


def data_options(options: argparse.Namespace) -> list[str]:
    """Return what says the data and the base."""
    data = ["--config", "cxr.yaml", "--config", "compare/wide_data.yaml", "--data.search_fraction", "0"]
    data += ["--data.root", str(options.root), "--model.base", str(options.base), "--data.test_pool", "0"]
    return data + (["--data.where", options.where] if options.where else [])


def audit_options(options: argparse.Namespace) -> list[str]:
    """Return what an audit measures."""
    scoring = f"{{measures: [{', '.join(MEASURES)}], num_images: {options.images}, num_probes: 0, draws: 4}}"
    sampling = "{steps: 10, guidance_scale: 2.0, scheduler: DPMSolverMultistepScheduler, batch_size: 64}"
    return ["--data.transform", "{size: 64}", "--options.scoring", scoring, "--options.scoring.sampling", sampling,
            "--options.extraction.prompts", "0"]  # fmt: skip


def compared(rival: str, epsilon: float | None, seed: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return by how much the masked rows lie above a rival at equal epsilon, paired, in what both were measured by."""
    names = [f"{row}-{'none' if epsilon is None else f'{epsilon:g}'}-{seed}" for row in (rival, *MASKED)]
    output = options.folder / f"{rival}-compared-{names[0].partition('-')[2]}"
    if not (output / "audit.json").is_file():
        runs = [str(options.folder / name / "run") for name in names]
        ask = ["audit", *data_options(options), *audit_options(options), "--ckpt_path", *runs, "--output", str(output)]
        if run(ask, options.folder / "compared.txt") not in (0, 3, 4):
            raise SystemExit(f"An audit failed: see {options.folder / 'compared.txt'}")
    found: list[dict[str, Any]] = json.loads((output / "audit.json").read_text())["differences"]
    of_row = len(found) // len(MASKED)  # one row after the other
    return [{**gap, "row": MASKED[number // of_row]} for number, gap in enumerate(found)]


def main() -> None:
    """Run the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--where")
    parser.add_argument("--folder", type=Path, default=Path("runs/private"))
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1, 4, 10, 0], help="0 is clipping without noise")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--patients", type=int, default=64, help="in a step, on average")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--delta", type=float, default=1e-3)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--compare", action="store_true", help="compare masked rows with their rivals, paired")
    parser.add_argument("--plan", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cells = [(row, e or None, seed) for seed in options.seeds for e in options.epsilons for row in options.rows]
    if options.plan:
        print("\n".join(map(str, cells)))
        return
    print(f"| method | epsilon | noise | {' | '.join(MEASURES)} |\n" + "| --- " * (3 + len(MEASURES)) + "|", flush=True)
    for row, epsilon, seed in cells:
        found = cell(row, epsilon, seed, options)
        values = [f"{found[m]['value']:.3f} [{found[m]['low']:.3f}, {found[m]['high']:.3f}]" for m in MEASURES]
        noise = found["guarantee"]["noise_multiplier"]
        print(f"| {row} | {epsilon or 'none'} | {noise:.3g} | {' | '.join(values)} |", flush=True)
    print("base:", dict(found["base"].items()))
    if options.compare:
        print("\n| epsilon | row | against | measure | difference |\n| --- | --- | --- | --- | --- |")
        for seed, epsilon, rival in itertools.product(options.seeds, options.epsilons, RIVALS):
            for gap in compared(rival, epsilon or None, seed, options):
                value = gap["value"]
                said = f"{value['value']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]"
                print(f"| {epsilon or 'none'} | {gap['row']} | {rival} | {gap['name']} | {said} |", flush=True)


if __name__ == "__main__":
    main()
