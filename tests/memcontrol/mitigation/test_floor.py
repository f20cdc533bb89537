"""What is known better than held-out images is not learnt further; the floor survives a resume."""

from __future__ import annotations

import pytest
import torch

from memcontrol.cli import main
from memcontrol.errors import MemControlError
from memcontrol.files.checkpoints import read_checkpoint
from memcontrol.files.digests import changes_of
from memcontrol.mitigation import LossFloor
from tests.conf import short_run


def test_samples_below_their_timestep_s_floor_do_not_count():
    floor = LossFloor(share=0.5, parts=2)
    floor.prepare(lambda images, parts: torch.tensor([1.0, 0.2]), 0)  # 1 at a quarter of the schedule, 0.2 at three
    shares = torch.tensor([0.0, 0.25, 0.5, 0.75, 0.99])
    held = torch.tensor([1.0, 1.0, 0.6, 0.2, 0.2])
    assert floor.counts(0.49 * held, shares).tolist() == [False] * 5
    assert floor.counts(0.51 * held, shares).tolist() == [True] * 5


def test_one_part_is_one_floor():
    floor = LossFloor(share=1.0, parts=1)
    floor.prepare(lambda images, parts: torch.tensor([0.3]), 0)
    assert floor.counts(torch.tensor([0.31, 0.29]), torch.tensor([0.1, 0.9])).tolist() == [True, False]


def test_the_reference_is_taken_anew_from_time_to_time():
    floor, taken = LossFloor(every=10, images=4, parts=3), []

    def heldout(images, parts):
        taken.append((images, parts))
        return torch.ones(parts)

    before = changes_of(floor)
    for step in (0, 0, 5, 9, 10, 11, 20):
        floor.prepare(heldout, step)
    assert taken == [(4, 3)] * 3
    assert changes_of(floor) == before  # a digest of the config does not know how far training has come


@pytest.mark.parametrize(
    "state", [{}, {"reference": torch.ones(7), "taken_at": 3}, {"reference": None, "taken_at": -1}]
)
def test_a_state_that_does_not_fit_is_taken_anew(state):
    floor, taken = LossFloor(parts=2, every=100), []
    floor.load_state_dict(state)
    floor.prepare(lambda images, parts: taken.append(parts) or torch.ones(parts), 4)
    assert taken == [2]


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.1}, {"parts": 0}, {"every": 0}, {"images": 0}])
def test_impossible_numbers_are_refused(options):
    with pytest.raises(MemControlError, match=f"LossFloor.{next(iter(options))}"):
        LossFloor(**options)


@pytest.mark.whole
def test_a_resumed_run_is_undisturbed(tmp_path):
    """With a floor that half of the samples lie below, the seventh step is the same after a resume."""
    option = "{class_path: LossFloor, init_args: {share: 1.0, images: 4, parts: 4, every: 3}}"
    weights = []
    for name, stops in (("whole", [6]), ("parts", [4, 6]), ("free", [6])):
        mitigations = "[]" if name == "free" else f"[{option}]"
        for stop in stops:
            args = short_run(tmp_path / name, f"--trainer.max_steps={stop}", f"--model.mitigations={mitigations}")
            args = [a for a in args if "cache.folder" not in a] + [f"--data.cache.folder={tmp_path / 'cache'}"]
            run = tmp_path / name / "demo" / "version_0"
            main(args if stop == stops[0] else [*args, f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"])
        newest = max((tmp_path / name / "demo").glob("version_*/checkpoints/step-0000006.ckpt"))
        weights.append(read_checkpoint(newest)[1])
    whole, parts, free = weights
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert not all(torch.equal(whole[key], free[key]) for key in whole)


def test_a_second_training_takes_its_own_reference():
    floor, taken = LossFloor(every=10), []
    for step in (0, 5, 15, 0, 3):
        floor.prepare(lambda images, parts: taken.append(step) or torch.ones(parts), step)  # noqa: B023
    assert taken == [0, 15, 0]


@pytest.mark.whole
@pytest.mark.parametrize("mitigation", ["LossFloor", "PriorPreservation"])
def test_those_that_look_at_images_of_their_own_train_in_half_precision(tmp_path, mitigation):
    option = f"--model.mitigations=[{{class_path: {mitigation}}}]"
    main(short_run(tmp_path, option, "--trainer.max_steps=2", "--trainer.precision=bf16-true"))
    assert (tmp_path / "demo" / "version_0" / "adapter").is_dir()
