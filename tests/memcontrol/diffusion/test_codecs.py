"""What the text encoder reads of a caption, and what it says of one that is too long."""

from __future__ import annotations

import logging

import pytest
import torch

from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.texts import TextCodec

LONG = "no acute finding " * 60
PAIR = [LONG + "edema", LONG + "no edema"]


@pytest.fixture
def parts():
    return load_components("embedded")


def test_captions_that_are_cut_are_counted(parts, caplog):
    codec = TextCodec(parts.tokenizer, parts.text_encoder)
    with caplog.at_level(logging.WARNING, "memcontrol"):
        codec.say_what_is_cut(["short", *PAIR, PAIR[0]])
    room = codec.record_shape[0] - 2
    assert f"3 of 4 captions have more than the {room} tokens" in caplog.text
    assert "what is left of 1 of them is the same as of another. The end is cut off" in caplog.text
    caplog.clear()
    codec.say_what_is_cut(["short", "shorter"])
    assert caplog.text == ""


def test_the_end_can_be_kept(parts):
    codec = TextCodec(parts.tokenizer, parts.text_encoder)
    right, first = codec.tokenize(PAIR), codec.digest
    assert torch.equal(right[0], right[1])
    parts.truncate("left")
    codec = TextCodec(parts.tokenizer, parts.text_encoder)
    left = codec.tokenize(PAIR)
    assert not torch.equal(left[0], left[1])
    assert (left[:, 0] == right[0, 0]).all()  # the mark of the beginning stays
    assert torch.equal(codec.edited(PAIR, lambda _, content: content), left)
    assert codec.digest != first  # states of the other end are no states of these


def test_a_pipeline_cuts_where_its_run_did(parts):
    parts.truncate("left")
    codec = TextCodec(parts.tokenizer, parts.text_encoder)
    states = parts.pipeline().encode_prompt(PAIR[0], "cpu", 1, False)[0]
    torch.testing.assert_close(states, codec.encode(PAIR[:1]))


def test_captions_in_other_scripts_are_measured_too(parts, caplog):
    codec = TextCodec(parts.tokenizer, parts.text_encoder)
    room = codec.record_shape[0] - 2
    text = "\u6b63\u5e38\u306a\u80f8\u90e8" * 6
    assert len(text) < room < len(parts.tokenizer(text, add_special_tokens=False).input_ids)
    with caplog.at_level(logging.WARNING, "memcontrol"):
        codec.say_what_is_cut([text])
    assert "1 of 1 captions have more than" in caplog.text
