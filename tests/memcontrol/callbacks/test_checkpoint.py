"""Which checkpoints are kept, through the command line, which passes every argument explicitly."""

from __future__ import annotations

import pytest

from memcontrol.cli import main
from tests.conf import short_run


def kept(folder, options):
    args = [a for a in short_run(folder) if "callbacks" not in a]
    saver = f"{{class_path: callbacks.AdapterCheckpoint, init_args: {{{options}}}}}"
    main([*args, f"--trainer.callbacks=[{saver}]"])
    return sorted(p.name for p in (folder / "demo" / "version_0" / "checkpoints").glob("*.ckpt"))


@pytest.mark.whole
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("every_n_train_steps: 2", [6]),
        ("every_n_train_steps: 1, save_top_k: 3", [4, 5, 6]),
        ("every_n_train_steps: 2, save_top_k: -1", [2, 4, 6]),
        ("every_n_train_steps: 2, save_top_k: 2, filename: null, monitor: null, mode: min", [4, 6]),  # an old config
    ],
)
def test_the_newest_are_kept(tmp_path, options, expected):
    assert kept(tmp_path, options) == ["last.ckpt", *(f"step-{step:07d}.ckpt" for step in expected)]


def test_the_best_are_kept_under_a_name_of_choice(tmp_path):
    options = "every_n_train_steps: 3, monitor: val/loss, filename: 'best-{step}', save_top_k: 1"
    assert len([name for name in kept(tmp_path, options) if name.startswith("best-step=")]) == 1
