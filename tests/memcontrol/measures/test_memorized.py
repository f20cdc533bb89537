"""A model that was trained to memorize a few images is told from its base, by the default reward and others."""

from __future__ import annotations

import json

import pytest

from memcontrol.cli import main
from tests.conf import short_run


@pytest.mark.whole
def test_default_reward_separates(tmp_path):
    scoring = "{num_images: 8, num_probes: 0, measures: [membership_auc, own_prompt, kid]}"
    rewards = f"{{class_path: callbacks.RewardsCallback, init_args: {{scoring: {scoring}}}}}"
    args = [a for a in short_run(tmp_path) if "callbacks" not in a]
    main(
        [
            *args, "--config=adapter/full.yaml", "--data.max_train_images=8", "--model.optimizer.lr=2e-3",
            "--trainer.max_steps=80", "--trainer.val_check_interval=80", "--data.memorization.num_images=0",
            f"--trainer.callbacks=[{rewards}]",
        ]
    )  # fmt: skip
    lines = (tmp_path / "demo" / "version_0" / "rewards.jsonl").read_text().splitlines()
    base, tuned = ({m["name"]: m for m in json.loads(line)["measures"]} for line in lines)
    auc = tuned["membership_auc"]
    assert auc["value"]["value"] > 0.9
    assert auc["value"]["value"] > base["membership_auc"]["value"]["value"] + 0.2
    assert auc["p"] < 0.01
    assert tuned["own_prompt"]["value"]["value"] > base["own_prompt"]["value"]["value"]
