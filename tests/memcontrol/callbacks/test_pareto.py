"""Checkpoints of the front are saved under rewards of the same weights."""

from __future__ import annotations

import json

import pytest

from memcontrol.cli import main
from tests.memcontrol.callbacks.test_rewards import FEW_REWARDS, PARETO, points, scored_run


@pytest.mark.whole
def test_a_validation_that_is_not_scored_is_no_point(tmp_path):
    every_other = FEW_REWARDS.replace("init_args: {", "init_args: {every_n_validations: 2, ", 1)
    main(scored_run(tmp_path, every_other, PARETO, extra=("--trainer.val_check_interval=1", "--trainer.max_steps=3")))
    run = tmp_path / "demo" / "version_0"
    scored = {p["step"]: p for p in points(run)}
    assert list(scored) == [0, 2, 3]
    front = json.loads((run / "pareto" / "front.json").read_text())
    assert front
    assert {point["step"] for point in front} <= {2, 3}
    assert {p.name for p in (run / "pareto").glob("*.ckpt")} == {f"step-{point['step']:07d}.ckpt" for point in front}
