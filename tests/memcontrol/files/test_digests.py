"""Options are told apart by what differs from their defaults."""

from __future__ import annotations

from dataclasses import field, make_dataclass

import pytest

from memcontrol.files.digests import changes_of, digest_of
from memcontrol.measures.encoders import PhantomEncoder, ThumbnailEncoder, TimmEncoder


def version(*further):
    """Options as a version of the code has them; all versions have one name."""
    fields = [("size", int), ("rate", float, 0.5), ("names", list, field(default_factory=lambda: ["a"])), *further]
    return make_dataclass("Options", fields)


Old, New = version(), version(("added", int, 3), ("inner", object, None))


def test_defaults_change_nothing():
    assert changes_of(Old(8)) == {"class": "Options", "size": 8}  # what has no default is always told
    assert changes_of(Old(8, 0.5, ["a"])) == {"class": "Options", "size": 8}
    assert changes_of(Old(8, 0.25, ["b"])) == {"class": "Options", "size": 8, "rate": 0.25, "names": ["b"]}


def test_added_option_leaves_the_digest():
    assert digest_of(New(8)) == digest_of(Old(8)) == digest_of(New(8, added=3))
    assert digest_of(New(8, rate=0.25)) == digest_of(Old(8, rate=0.25))
    assert digest_of({"options": [New(8)]}) == digest_of({"options": [Old(8)]})


def test_other_values_change_the_digest():
    options = [Old(8), Old(9), Old(8, rate=0.25), Old(8, names=["b"]), Old(8, names=["a", "a"]), New(8, added=4)]
    nested = [New(8, inner=Old(8)), New(8, inner=Old(9))]
    assert len({digest_of(o) for o in [*options, *nested]}) == 8


@pytest.mark.parametrize("added", [3, None])
def test_class_is_told(added):
    other = make_dataclass("Other", [("size", int), ("added", object, added)])
    assert digest_of(other(8)) != digest_of(Old(8))


def test_encoders_by_their_options():
    assert changes_of(ThumbnailEncoder()) == {"class": "ThumbnailEncoder"}
    assert changes_of(ThumbnailEncoder(side=16, size=32)) == {"class": "ThumbnailEncoder", "size": 32}
    assert changes_of(TimmEncoder("resnet18")) == {"class": "TimmEncoder", "model": "resnet18"}
    encoders = [ThumbnailEncoder(), ThumbnailEncoder(side=8), ThumbnailEncoder(size=32), PhantomEncoder()]
    assert len({digest_of(e) for e in encoders}) == 4
    assert digest_of(ThumbnailEncoder(side=8)) == digest_of(ThumbnailEncoder(side=8))


def test_order_counts_in_lists_only():
    assert digest_of({"a": 1, "b": (1, 2)}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
    assert digest_of(1, 2) != digest_of([1, 2])
