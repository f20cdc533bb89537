"""The base's own pictures are drawn once, and their loss is added."""

from __future__ import annotations

import pytest
import torch

from memcontrol.cli import main
from memcontrol.errors import MemControlError
from memcontrol.files.checkpoints import read_checkpoint
from memcontrol.mitigation import PriorPreservation
from tests.conf import short_run


class _Learner:
    def __init__(self):
        self.seen = []

    def drawn_by_base(self, count, sampling):
        numbers = torch.arange(float(count))
        return numbers[:, None, None], numbers[:, None, None, None]

    def errors_on(self, latents, states, seeds):
        assert latents.flatten().tolist() == states.flatten().tolist()  # each picture with its own caption
        self.seen.append((states.flatten().tolist(), seeds.tolist()))
        return latents.flatten()


def test_the_weighted_mean_error_of_some_pictures_is_added():
    prior, learner = PriorPreservation(pictures=5, weight=0.5, batch=3), _Learner()
    prior.begin(learner)
    added = [float(prior.added(learner, torch.tensor([seed, 7]))) for seed in (1, 1, 2)]
    texts, seeds = zip(*learner.seen, strict=True)
    assert added[0] == 0.5 * sum(texts[0]) / 3
    assert (texts[0], seeds[0]) == (texts[1], seeds[1])  # the same seed sees the same pictures and noise
    assert seeds[0] != seeds[2]
    assert len(set(seeds[0])) == 3


@pytest.mark.parametrize("options", [{"pictures": 0}, {"weight": -1.0}, {"batch": 0}])
def test_impossible_numbers_are_refused(options):
    with pytest.raises(MemControlError, match=f"PriorPreservation.{next(iter(options))}"):
        PriorPreservation(**options)


@pytest.mark.whole
def test_a_run_learns_from_them_and_the_base_draws_them(tmp_path):
    weights, losses = [], []
    for weight in (0.0, 1.0, 1.0):
        args = f"{{pictures: 4, batch: 2, weight: {weight}, sampling: {{steps: 2}}}}"
        option = f"{{class_path: PriorPreservation, init_args: {args}}}"
        folder = tmp_path / str(len(weights))
        cli = main(short_run(folder, "--trainer.max_steps=2", f"--model.mitigations=[{option}]"))
        weights.append(read_checkpoint(next(folder.rglob("step-*.ckpt")))[1])
        losses.append(float(cli.trainer.callback_metrics["train/loss"]))
    assert all(torch.equal(weights[1][key], weights[2][key]) for key in weights[1])
    assert not all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
    assert losses[0] < losses[1]
    # trained weights do not show in what the base draws
    texts, drawn = cli.model.mitigations[0]._drawn
    cli.model.null_states = cli.model.text_codec.encode([""])
    again = cli.model.drawn_by_base(4, cli.model.mitigations[0].sampling)
    torch.testing.assert_close(again[0], texts)
    torch.testing.assert_close(again[1], drawn)
