"""How many patients private training needs: what is learnt of phantoms at an epsilon, over the number of patients.

    python benchmarks/private_curve.py [--patients 100 1000 10000] [--epsilons 10 1] [--folder runs/private-curve]

Batch, steps and rates are fixed, and chosen by nothing that is printed: more patients only mean that each is taken more
rarely, and so less noise for the same bound. What is printed is by how much the loss on 200 held-out patients lies
under the untouched base's, with its interval over them (above 0: something was learnt). What is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from private import ROWS
from private import run as run_command

HELD_OUT = 200
RATES = {"svdiff": 5e-3, "lora_r4": 1e-3, "full": 1e-4}


def learnt(row: str, patients: int, epsilon: float, options: argparse.Namespace) -> tuple[dict[str, float], float]:
    """Train one model, unless that was done; return what it has learnt, and the noise multiplier."""
    name = f"{row}-{patients}-{epsilon:g}"
    run = options.folder / name / "version_0"
    if not (run / "privacy.json").is_file():
        whole = patients + 2 * HELD_OUT
        shares = [patients / whole, HELD_OUT / whole, HELD_OUT / whole]
        bound = ["--model.privacy.epsilon", str(epsilon)] if epsilon else ["--model.privacy.noise_multiplier", "0"]
        command = [
            "fit", "--config", "demo.yaml", "--config", ROWS[row][0], *bound,
            "--model.privacy.delta", "1e-5", "--model.privacy.draws", "2", "--model.privacy.microbatch", "32",
            "--model.optimizer.lr", str(RATES[row]), "--data.batch_size", str(options.batch),
            "--data.num_subjects", str(whole),
            "--data.images_per_subject", "1", "--data.split_fractions", str(shares), "--data.max_train_images", "null",
            "--data.memorization.num_images", "0", "--trainer.max_steps", str(options.steps),
            "--trainer.val_check_interval", str(options.steps), "--model.eval_draws", "4",
            "--trainer.callbacks", "[{class_path: callbacks.BaselineCallback}]",
            "--trainer.logger.save_dir", str(options.folder), "--trainer.logger.name", name,
            "--trainer.enable_progress_bar", "false",
        ]  # fmt: skip
        log = options.folder / f"{name}.txt"
        if run_command(command, log):
            raise SystemExit(f"{name} failed: see {log}")
    guarantee = json.loads((run / "privacy.json").read_text())["guarantee"]
    return json.loads((run / "heldout.json").read_text()), guarantee["noise_multiplier"]


def main() -> None:
    """Run the curve and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", nargs="+", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--epsilons", nargs="+", type=float, default=[10, 1], help="0 is clipping without noise")
    parser.add_argument("--rows", nargs="+", choices=list(RATES), default=list(RATES))
    parser.add_argument("--batch", type=int, default=32, help="patients in a step, on average")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--folder", type=Path, default=Path("runs/private-curve"))
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options.folder.mkdir(parents=True, exist_ok=True)
    print(
        "| patients | epsilon | noise | method | loss under the base's |\n| --- | --- | --- | --- | --- |", flush=True
    )
    for patients in options.patients:
        for epsilon in options.epsilons:
            for row in options.rows:
                found, noise = learnt(row, patients, epsilon, options)
                gain = f"{found['val/gain']:.4f} [{found['val/gain_low']:.4f}, {found['val/gain_high']:.4f}]"
                said = f"{epsilon:g}" if epsilon else "none (clipped)"
                print(f"| {patients:,} | {said} | {noise:.3g} | {row} | {gain} |", flush=True)


if __name__ == "__main__":
    main()
