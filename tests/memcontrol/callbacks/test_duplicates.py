"""Training images that are copies of each other share the weight of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memcontrol.callbacks.duplicates import DuplicateWeights
from memcontrol.cli import main
from memcontrol.data.features import split_pixels
from memcontrol.errors import DataError
from memcontrol.measures.copies import CopyEncoder, groups_of_copies
from tests.conf import short_run


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    cli = main(short_run(tmp_path_factory.mktemp("duplicates"), "--trainer.max_steps=1"))
    data = cli.datamodule
    subjects = data.table("train")["subject_id"].tolist()
    firsts = [subjects.index(name) for name in dict.fromkeys(subjects)]
    return split_pixels(data, "train", firsts)


def test_changed_copies_are_one_group(images):
    crop = torch.nn.functional.interpolate(images[2:3, :, 3:61, 3:61], 64, mode="bilinear")
    more = torch.cat([images, images[:1].flip(-1), 0.8 * images[:1] + 0.1, crop])
    groups = groups_of_copies(CopyEncoder().encode(more), 0.98)
    n = len(images)
    assert groups[0] == groups[n] == groups[n + 1]
    assert groups[2] == groups[n + 2]
    assert len(np.unique(groups)) == n  # different patients are none of each other's


def test_one_image_is_its_own_group(images):
    assert groups_of_copies(CopyEncoder().encode(images[:1]), 0.98).tolist() == [0]


@pytest.mark.whole
def test_their_errors_count_for_less(tmp_path):
    """With all images in one group of k, the loss of a step is a k-th of what it was."""
    losses = []
    for agreement in (None, 1e-6):
        callbacks = [] if agreement is None else [DuplicateWeights(agreement)]
        found = [
            {"class_path": "callbacks.DuplicateWeights", "init_args": {"agreement": c.agreement}} for c in callbacks
        ]
        cli = main(short_run(tmp_path / str(agreement), "--trainer.max_steps=1", f"--trainer.callbacks={found}"))
        losses.append(float(cli.trainer.callback_metrics["train/loss"]))
    rows = len(cli.datamodule.table("train"))
    weights = cli.datamodule.datasets["train"].weights
    assert weights.max() < 1
    assert losses[1] < losses[0] / 2
    assert 1 / rows <= weights.min() <= losses[1] / losses[0] <= weights.max()


def test_impossible_agreements_are_refused():
    with pytest.raises(DataError, match=r"`DuplicateWeights\.agreement`"):
        DuplicateWeights(1.0)
