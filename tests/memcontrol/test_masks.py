from __future__ import annotations

import pytest

from memcontrol.errors import MaskError
from memcontrol.masks import Mask

NAMES = ("down.0", "down.1", "mid", "up.0")


@pytest.mark.parametrize(
    ("spec", "bits"),
    [
        ("all", "1111"),
        ("none", "0000"),
        ([0, 1, 1, 0], "0110"),
        ("bits:0110", "0110"),
        ("down.*,mid", "1110"),
        (["up.0"], "0001"),
    ],
)
def test_parse(spec, bits):
    mask = Mask.parse(spec, "attention", NAMES)
    assert mask.bit_string == bits
    assert Mask.from_dict(mask.to_dict()) == mask


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (72, "octal"),
        ("0110", "Write `bits:0110`"),
        ([0, 1], "must have 4 bits"),
        ([0, 1, 2, 0], "0 and 1"),
        ("side.*", "matches no slot"),
        ("bits:01x0", "only 0 and 1"),
        ("absent.yaml", "does not exist"),
    ],
)
def test_errors_say_what_is_wrong(spec, message):
    with pytest.raises(MaskError, match=message):
        Mask.parse(spec, "attention", NAMES)


def test_file_as_overlay(tmp_path):
    path = tmp_path / "mask.yaml"
    path.write_text("model:\n  slots: attention\n  mask: [1, 0, 0, 1]\n")
    assert Mask.parse(str(path), "attention", NAMES).bit_string == "1001"
    with pytest.raises(MaskError, match="for the layout"):
        Mask.parse(str(path), "paper13", NAMES)


def test_digest_depends_on_bits():
    one, other = Mask.parse("all", "a", NAMES), Mask.parse("none", "a", NAMES)
    assert one.digest == Mask.parse("bits:1111", "a", NAMES).digest != other.digest
