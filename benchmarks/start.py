"""How soon the second trial of a study trains, and what inject and eject leave in memory.

OMP_NUM_THREADS=1 python benchmarks/start.py [--base embedded] [--rounds 50]
OMP_NUM_THREADS=1 python benchmarks/start.py --base sd15 --rounds 4      # SD 1.5's size, random weights
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from memcontrol import MemControlModule
from memcontrol.adapters import SVDiffConfig
from memcontrol.adapters.inject import adapt, resolve_mask
from memcontrol.diffusion.bases import load_components
from memcontrol.jobs.job import Job, overlay_of
from memcontrol.jobs.run import run_job


def main() -> None:
    """Print seconds from a proposal to the first training step, and memory after rounds of inject and eject."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="embedded")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    for number, seconds in enumerate(_starts(options.base, options.trials)):
        print(f"trial {number}: first step {seconds:.2f} s after its proposal (wall)", flush=True)
    sizes = _memory(options.base, options.rounds)
    grown = 100 * (sizes[-1] / sizes[1] - 1)
    print(f"memory after 2 rounds {sizes[1]:.1f} MiB, after {len(sizes)} {sizes[-1]:.1f} MiB: {grown:+.2f} %")


def _config(base: str, folder: Path) -> dict[str, Any]:
    model = {"base": base, "adapter": {"class_path": "memcontrol.adapters.SVDiffConfig"}, "random_init": base == "sd15"}
    data = {
        "class_path": "memcontrol.data.phantom.datamodule.PhantomDataModule",
        "init_args": {
            "cache": {"folder": str(folder / "cache")},
            "transform": {"size": 64},
            "batch_size": 2,
            "num_subjects": 16,
        },
    }
    trainer = {"max_steps": 2, "limit_val_batches": 0, "accelerator": "cpu", "devices": 1, "callbacks": []}
    return {
        "seed_everything": 0,
        "model": {"class_path": "memcontrol.MemControlModule", "init_args": model},
        "data": data,
        "trainer": trainer,
    }


def _starts(base: str, trials: int) -> list[float]:
    folder = Path(tempfile.mkdtemp())
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(base, folder)))
    first_step: list[float] = []
    training_step = MemControlModule.training_step

    def clocked(self: MemControlModule, *args: Any) -> Any:
        first_step.append(time.monotonic())
        return training_step(self, *args)

    MemControlModule.training_step = clocked  # type: ignore[method-assign]
    found = []
    for number in range(trials):
        mask = [int(bit) for bit in f"{(0b1111111111111 >> number):013b}"]
        job = Job(
            folder=str(folder / "trials" / f"{number:03d}"),
            entry="memcontrol.cli:main",
            config=str(folder / "config.yaml"),
            overlay=overlay_of({"model.mask": mask, "model.optimizer.lr": 1e-3}),
            seed=0,  # which a random base depends on: another one would be another base
            threads=1,
        )
        first_step.clear()
        proposed = time.monotonic()
        result = run_job(job)
        if result.error is not None:
            raise SystemExit(result.error)
        found.append(first_step[0] - proposed)
    return found


def _memory(base: str, rounds: int) -> list[float]:
    unet = load_components(base, random_init=base == "sd15").unet
    sizes = []
    for number in range(rounds):
        layout, mask = resolve_mask(unet, "paper13", "all" if number % 2 else "bits:" + "10" * 6 + "1")
        adapted = adapt(unet, SVDiffConfig(), layout, mask)
        adapted.eject()
        del adapted
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        sizes.append(psutil.Process().memory_info().rss / 2**20)
    return sizes


if __name__ == "__main__":
    main()
