"""Planted truth: the detector that audits use by default finds copies and leaves clean sets alone."""

from __future__ import annotations

import pytest

from memcontrol.audit.planted import KINDS, Detector, clean_sets, found_shares, mixed_sets
from memcontrol.data.cache import CacheOptions
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.measures.encoders import ThumbnailEncoder

DETECTOR = Detector("thumbnail", ThumbnailEncoder(), views=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    found = PhantomDataModule(
        sites=["C"],
        num_subjects=400,
        images_per_subject=1,
        split_fractions=[0.1, 0.05, 0.85],
        transform=Transform(size=64),
        cache=CacheOptions(folder=str(tmp_path_factory.mktemp("cache"))),
    )
    found.setup("test")
    return found


def test_default_detector_finds_copies(data):
    shares = found_shares(data, [DETECTOR], alpha=0.01).iloc[0]
    assert shares["false alarms"] <= 0.05
    assert shares["exact"] >= 0.95
    assert all(shares[kind] >= 0.8 for kind in KINDS)


def test_verdict_on_clean_and_mixed_sets(data):
    assert clean_sets(data, DETECTOR, alpha=0.01, level=0.01) <= 2
    mixed = mixed_sets(data, DETECTOR, alpha=0.01, level=0.01, shares=(0.1,), num_sets=5)
    assert (mixed["10 %"] >= 0.8).all()
