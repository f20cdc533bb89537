"""Two processes follow one at the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd

from tests.conf import short_run


def losses(folder, *extra):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    args = short_run(folder, "--trainer.max_steps=20", "--trainer.val_check_interval=10", *extra)
    done = subprocess.run(
        [sys.executable, "train.py", *args], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = folder / "demo" / "version_0"
    assert [p.name for p in (folder / "demo").iterdir()] == ["version_0"]
    assert len(list((run / "samples").glob("*.png"))) == 2
    metrics = pd.read_csv(run / "metrics.csv")
    return metrics["train/loss"].dropna().to_numpy(), metrics["val/loss"].dropna().to_numpy()


def test_two_processes_follow_one(tmp_path):
    train, held_out = losses(tmp_path / "one")
    train_2, held_out_2 = losses(
        tmp_path / "two", "--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4"
    )
    assert len(train) == 20
    np.testing.assert_allclose(train_2, train, atol=1e-4)
    np.testing.assert_allclose(held_out_2, held_out, atol=1e-4)
