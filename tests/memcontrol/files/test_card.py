"""Weights are refused under another mask, adapter or base, and said to be of other images."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from memcontrol.errors import CheckpointError
from memcontrol.files.card import Card, check_fits

CARD = Card(
    base="embedded",
    base_fingerprint="aa",
    random_init=False,
    seed=0,
    adapter={"peft_type": "SVDIFF"},
    mask={"layout": "attention", "names": ["x", "y"], "bits": [1, 0]},
    image_size=64,
    step=3,
    version="0.2",
    training_set="images",
)


def check(ours, names=("a", "b"), training_set="images", **others):
    theirs = replace(CARD, step=9, seed=7, training_set=training_set, **others)
    check_fits({"memcontrol": theirs.to_dict(), "state_dict": dict.fromkeys(names)}, ours, {"a", "b"})


def test_what_fits_passes_in_silence(caplog):
    check(CARD)
    check(CARD, training_set=None)
    assert caplog.text == ""


def test_without_a_record():
    with pytest.raises(CheckpointError, match="no `memcontrol` record: memcontrol did not write it"):
        check_fits({"state_dict": {"a": 0, "b": 0}}, CARD, {"a", "b"})


def test_a_newer_record():
    with pytest.raises(CheckpointError, match="no record of memcontrol that this version reads"):
        check(CARD, format=2)


def test_another_mask():
    ours = replace(CARD, mask={**CARD.mask, "layout": "block", "bits": [0, 1]})
    with pytest.raises(CheckpointError, match=r"slots `attention` and mask bits:10, .* says `block` and bits:01\."):
        check(ours)
    with pytest.raises(CheckpointError, match="and mask bits:10"):
        check(replace(CARD, mask={**CARD.mask, "names": ["x", "z"]}))


@pytest.mark.parametrize("names", [("a",), ("a", "c"), ("a", "b", "c")])
def test_other_tensors(names):
    message = f"holds {len(names)} trained tensors, but the config trains 2 others.*'peft_type': 'SVDIFF'"
    with pytest.raises(CheckpointError, match=message):
        check(CARD, names)


def test_another_base():
    with pytest.raises(CheckpointError, match=r"trained on the base 'mine', .* that of 'embedded'"):
        check(CARD, base="mine", base_fingerprint="bb")


def test_other_images_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING, "memcontrol"):
        check(CARD, training_set="others")
    assert "trained on other images" in caplog.text


def test_other_options_of_the_adapter():
    ours = replace(CARD, adapter={"peft_type": "LORA", "r": 4, "lora_alpha": 8, "peft_version": "2"})
    theirs = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "peft_version": "1"}
    with pytest.raises(CheckpointError, match=r"adapter's `lora_alpha` 4 \(the config says 8\)"):
        check(ours, adapter=theirs)
    check(replace(ours, adapter={**theirs, "peft_version": "2", "new_option": True}), adapter=theirs)
