"""A table of 100,000 rows in MIMIC-CXR's layout: start of `fit` with a warm cache, memory, and reading latents back.

OMP_NUM_THREADS=1 python benchmarks/table.py [--rows 100000]

Filling the cache is not what is measured, so the encoders are replaced by zeros while it is filled.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import machine
from lightning.pytorch import Callback, Trainer
from PIL import Image
from tqdm import tqdm

from memcontrol import MemControlModule
from memcontrol.adapters import SVDiffConfig
from memcontrol.data.cache import CacheOptions
from memcontrol.data.images import Transform
from memcontrol.data.mimic import MimicCxrDataModule
from memcontrol.diffusion.codecs import LatentCodec
from memcontrol.diffusion.texts import TextCodec


def main() -> None:
    """Make the table and its cache, then measure in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--measure", help="folder of a table that was made before")
    options = parser.parse_args()
    if options.measure:
        _measure(Path(options.measure))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), options.rows)
        _fill(Path(folder))
        started = time.monotonic()
        command = [sys.executable, __file__, "--measure", folder]
        child = subprocess.run(command, check=True, capture_output=True, text=True)
        first_step, peak, rate = child.stdout.split()[-3:]
        begun = float(first_step) - started
        print(f"\n{options.rows:,} rows ({machine('cpu')})")
        print(f"  process start to first step   {begun:8.2f} s wall, peak memory {float(peak):.2f} GiB")
        print(f"  latents read back in random order {float(rate):8,.0f} / s")


def _write(root: Path, num_rows: int) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in tqdm(range(num_rows), desc="writing images", unit="image"):
        subject, study, name = 10_000_000 + number // 3, 50_000_000 + number, f"{number:08x}"
        path = root / "files" / "p10" / f"p{subject}" / f"s{study}" / f"{name}.jpg"
        path.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).resize((64, 64)).save(path)
        split = "validate" if number // 3 >= (num_rows - 300) // 3 else "train"
        rows.append((name, study, subject, split, "PA", f"Lungs clear, number {number}."))
    table = pd.DataFrame(rows, columns=["dicom_id", "study_id", "subject_id", "split", "ViewPosition", "impression"])
    keys = ["dicom_id", "study_id", "subject_id"]
    table[[*keys, "split"]].to_csv(root / "mimic-cxr-2.0.0-split.csv.gz", index=False)
    table[[*keys, "ViewPosition"]].to_csv(root / "mimic-cxr-2.0.0-metadata.csv.gz", index=False)
    labels = table[["subject_id", "study_id"]].assign(Edema=1.0)
    labels.to_csv(root / "mimic-cxr-2.0.0-chexpert.csv.gz", index=False)
    reports = pd.DataFrame({"study": "s" + table["study_id"].astype(str), "impression": table["impression"]})
    reports = reports.assign(findings="", last_paragraph="", comparison="")
    reports.to_csv(root / "mimic_cxr_sectioned.csv", index=False)


def _data(root: Path) -> MimicCxrDataModule:
    return MimicCxrDataModule(
        str(root),
        str(root / "mimic_cxr_sectioned.csv"),
        cache=CacheOptions(folder=str(root / "cache")),
        transform=Transform(size=64),
        batch_size=16,
    )


class _Stop(Callback):
    """Notes when the first batch comes, and ends there."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> int:
        self.at = time.monotonic()
        return -1


def _fit(root: Path) -> tuple[float, MimicCxrDataModule]:
    stop, data = _Stop(), _data(root)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=1,
        limit_val_batches=0,
        logger=False,
        callbacks=[stop],
        enable_checkpointing=False,
    )
    trainer.fit(MemControlModule("embedded", SVDiffConfig()), data)
    return stop.at, data


def _fill(root: Path) -> None:
    images, texts = LatentCodec.encode, TextCodec.encode
    states = {}

    def text_zeros(self: TextCodec, captions: list[str]) -> torch.Tensor:
        if "shape" not in states:
            states["shape"] = texts(self, [""]).shape[1:]
        return torch.zeros(len(captions), *states["shape"])

    def image_zeros(self: LatentCodec, pixels: torch.Tensor) -> torch.Tensor:
        if "latents" not in states:
            states["latents"] = images(self, pixels[:1]).shape[1:]
        return torch.zeros(len(pixels), *states["latents"])

    LatentCodec.encode, TextCodec.encode = image_zeros, text_zeros  # type: ignore[method-assign]
    try:
        _fit(root)
    finally:
        LatentCodec.encode, TextCodec.encode = images, texts  # type: ignore[method-assign]


def _measure(root: Path) -> None:
    at, data = _fit(root)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    dataset = data.datasets["train"]
    assert dataset.latents is not None
    rows = np.random.default_rng(0).permutation(len(dataset.latents.positions))[:20_000]
    started = time.monotonic()
    for row in rows:
        dataset.latents.read(int(row), 0)
    rate = len(rows) / (time.monotonic() - started)
    print(at, peak, rate)


if __name__ == "__main__":
    main()
