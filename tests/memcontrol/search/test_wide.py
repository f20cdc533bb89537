"""A study over methods, conditions and scales, from the config that comes with memcontrol to a run under its pick."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from memcontrol.cli import main
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.search.records import TrialState
from tests.conf import short_run
from tests.memcontrol.search.conf import KEEP, SCORING, arguments, inline_workers, trials

pytestmark = pytest.mark.whole

SCALES = SCORING.replace("init_args: {", "init_args: {scales: [0.5], ", 1)


def wide(folder, count, *more):
    args = [a for a in arguments(folder, count) if not a.startswith("--trainer.callbacks")]
    place = args.index("demo.yaml") + 1
    return [*args[:place], "--config", "search/wide.yaml", *args[place:], f"--trainer.callbacks=[{SCALES},{KEEP}]",
            "--search.rescore_factor=1", *more]  # fmt: skip


def test_a_wide_study(tmp_path):
    with inline_workers():
        main(wide(tmp_path, 4))
        found = trials(tmp_path)
        assert [t.state for t in found] == [TrialState.COMPLETE] * 4, [t.error for t in found]
        assert [t.values["model.adapter"] for t in found] == ["svdiff", "difffit", "lora", "full"]  # the anchors
        assert all([(p.step, p.scale) for p in t.points] == [(1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0)] for t in found)
        assert all(t.points[0].rewards != t.points[1].rewards for t in found)
        main(wide(tmp_path, 6))  # resumed: choices, conditions and scales are read back
    assert trials(tmp_path)[:4] == found
    table = pd.read_csv(tmp_path / "study" / "pareto.csv")
    assert set(table.get("scale", [1.0])) <= {0.5, 0.75, 1.0}  # of the callback and of the space
    assert table["rescored"].all()
    for path in (tmp_path / "study" / "masks").glob("*.yaml"):
        model = yaml.safe_load(path.read_text())["model"]
        assert model.get("scale", 1) == 0.5 if "-x0.5" in path.name else model.get("scale", 1) in (0.5, 0.75, 1)
    best = tmp_path / "study" / "best.yaml"
    overlay = yaml.safe_load(best.read_text())
    cli = main([*short_run(tmp_path, f"--config={best}"), "--trainer.max_steps=1"])
    assert cli.model.scale == overlay["model"].get("scale", 1.0)
    card, _ = read_checkpoint(find_checkpoint(tmp_path / "demo" / "version_0"))
    assert card.scale == cli.model.scale
    assert "Parallel coordinates" in (tmp_path / "study" / "report.html").read_text()


def test_bounds_that_nothing_meets_pick_nothing(tmp_path, caplog):
    with inline_workers():
        main(wide(tmp_path, 2, "--search.rescore_factor=0"))
        front = pd.read_csv(tmp_path / "study" / "pareto.csv")
        bound = float(front["noise_norm"].max())
        main(
            wide(
                tmp_path,
                2,
                "--search.rescore_factor=0",
                f"--search.pick={json.dumps({'at_most': {'noise_norm': bound}})}",
            )
        )
        overlay = yaml.safe_load((tmp_path / "study" / "best.yaml").read_text())
        best = front.loc[front["kid"].idxmin()]
        assert overlay["trainer"]["max_steps"] == best["step"]
        main(wide(tmp_path, 2, "--search.rescore_factor=0", "--search.pick={at_most: {noise_norm: 0.0}}"))
    assert not (tmp_path / "study" / "best.yaml").exists()
    assert "No point of the front has noise_norm at most 0" in caplog.text
    assert "No point of the front has noise_norm at most 0" in (tmp_path / "study" / "report.html").read_text()


def test_a_front_of_calibrated_rewards_is_scored_again(tmp_path):
    with inline_workers():
        main(arguments(tmp_path, 2, "--search.rescore_factor=1", "--search.objectives=[membership_calibrated,kid]"))
    assert pd.read_csv(tmp_path / "study" / "pareto.csv")["rescored"].all()
