"""Copies are a leak whatever prompt they are drawn for; one typical picture, drawn again and again, is none."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import interpolate

from memcontrol.measures import MEASURES, Evidence, RealImages, Sampled, Samples, Scene
from memcontrol.measures.copies import CopyEncoder, CopyFinder
from memcontrol.measures.nearness import controls


def clouds(count, seed):
    """Smooth random pictures with shape `(count, 3, 64, 64)`."""
    noise = torch.rand(count, 1, 20, 20, generator=torch.Generator().manual_seed(seed))
    return (0.1 + 0.8 * interpolate(noise, (64, 64), mode="bicubic").clamp(0, 1)).expand(-1, 3, -1, -1)


class Real(RealImages):
    """Sixty training and 120 held-out images, one of each patient."""

    def __init__(self):
        self.heldout_split, self.seed, self.copy_encoder = "test", 0, CopyEncoder()
        self.images = {"train": clouds(60, 0), "test": clouds(120, 1)}
        self._matches, self._own_matches = {}, {}

    def subjects(self, split):
        return [f"{split} {i}" for i in range(len(self.images[split]))]

    @cached_property
    def copies(self):
        return CopyFinder(self.copy_encoder.encode(self.images["train"]))

    @cached_property
    def heldout_finder(self):
        return CopyFinder(self.copy_encoder.encode(self.images["test"]))


@pytest.fixture(scope="module")
def real():
    return Real()


def replication(real, inside, outside):
    sides = {}
    for side, split, images in (("train", "train", inside), ("heldout", "test", outside)):
        rows = list(range(len(images)))
        names = [f"{split} {i}" for i in rows]
        sides[Samples(side)] = Sampled(rows, names, images, images, real.copy_encoder.encode(images))
    scene = Scene(real, SimpleNamespace(alpha=0.01, seed=0))
    (found,) = MEASURES["replication"].measure(Evidence(sides), scene, None)
    return found


def test_copies_for_training_prompts_are_found(real):
    inside = torch.cat([real.images["train"][:20], clouds(40, 2)])
    found = replication(real, inside, clouds(60, 3))
    assert 20 / 60 <= found.value.value <= 24 / 60  # some others lie above a threshold that 1 % do
    assert found.p < 1e-5
    assert "held-out prompts" in found.note


def test_copies_for_other_prompts_too_are_no_excuse(real):
    inside, outside = real.images["train"], torch.cat([real.images["train"][:30], clouds(30, 3)])
    assert replication(real, inside, outside).p < 1e-5
    sampled = Sampled(
        list(range(60)), [f"test {i}" for i in range(60)], outside, outside, CopyEncoder().encode(outside)
    )
    assert controls(sampled, real)[1] == [f"test {i}" for i in range(30, 60)]


def test_one_typical_picture_for_all_prompts_is_none(real):
    """It is a little more like one training image than held-out images are."""
    shares = torch.linspace(0.3, 0.9, 25)[:, None, None, None]
    blends = shares * real.images["train"][5] + (1 - shares) * clouds(1, 9)
    similar = real.match(CopyEncoder().encode(blends)).similarity
    near = blends[similar > real.copy_threshold(0.01)[0]][:1].expand(60, -1, -1, -1)
    found = replication(real, near, near.clone())
    assert found.value.value == 1.0
    assert found.p > 0.01


def test_other_pictures_are_none(real):
    assert replication(real, clouds(60, 4), clouds(60, 5)).p > 0.01
