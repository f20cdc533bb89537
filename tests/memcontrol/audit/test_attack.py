"""The attack finds the one image that a model knows, whatever the blocks that it reads, and accuses no other model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from memcontrol.audit import attack as module
from memcontrol.audit.options import ExtractionOptions
from memcontrol.measures import Evidence
from memcontrol.measures.copies import CopyEncoder, CopyFinder
from memcontrol.measures.real import RealImages


def clouds(count, seed):
    """Smooth random pictures with shape `(count, 3, 64, 64)`."""
    noise = torch.rand(count, 1, 24, 24, generator=torch.Generator().manual_seed(seed))
    return (0.1 + 0.8 * interpolate(noise, (64, 64), mode="bicubic").clamp(0, 1)).expand(-1, 3, -1, -1)


@dataclass
class Prompts:
    rows: list[int]
    seeds: list[int]


@dataclass
class Real:
    """Forty training images and eighty held-out ones."""

    images: dict[str, torch.Tensor]
    data: object = None
    heldout_split: str = "validate"
    seed: int = 0
    copy_encoder: CopyEncoder = field(default_factory=CopyEncoder)
    near_copies = RealImages.near_copies
    no_copies = RealImages.no_copies

    @property
    def contents(self):
        return list(range(len(self.images["train"])))

    @cached_property
    def copies(self):
        return CopyFinder(self.copy_encoder.encode(self.images["train"]))

    @cached_property
    def heldout_copies(self):
        return self.copies.match(self.copy_encoder.encode(self.images["validate"]))

    def texts(self, split):
        return [f"prompt {row}" for row in self.contents]

    def subjects(self, split):
        return list(map(str, range(len(self.images[split]))))

    def prompts(self, split, count):
        return Prompts(self.contents[::-1][:count], list(range(count)))


class Memorizing:
    """Draws the training image of one prompt with some noise, and clouds for the others, in batches of seven.

    What it draws has gone through its autoencoder, which darkens whatever it is given.
    """

    def __init__(self, images, known):
        self.images = images
        self.known = known

    def reconstruct(self, images):
        return 0.6 * images

    def sample(self, prompts, seeds, progress):
        for start in range(0, len(prompts), 7):
            pairs = zip(prompts[start : start + 7], seeds[start : start + 7], strict=True)
            yield torch.stack([self.reconstruct(self.draw(prompt, seed)) for prompt, seed in pairs])

    def draw(self, prompt, seed):
        rng = torch.Generator().manual_seed(seed % 2**31)
        cloud = clouds(1, seed % 2**31)[0]
        if prompt != f"prompt {self.known}":
            return cloud
        return (self.images[self.known] + 0.02 * torch.rand(3, 64, 64, generator=rng)).clamp(0, 1)


@pytest.fixture(scope="module")
def images():
    return {"train": clouds(40, 1), "validate": clouds(80, 2)}


@pytest.fixture(scope="module")
def real(images):
    return Real(images)


def attacked(monkeypatch, images, real, known, options):
    monkeypatch.setattr(module, "split_pixels", lambda data, split, rows: images[split][rows])
    return module.attack(Memorizing(images["train"], known), real, Evidence(), options, 0.01)


@pytest.mark.parametrize(("block", "kept"), [(2, 1), (64, 4096)])
def test_the_one_known_image_is_given_away(monkeypatch, images, real, block, kept):
    monkeypatch.setattr(module, "AT_ONCE", block)
    monkeypatch.setattr(module, "MOST_KEPT", kept)
    found = attacked(monkeypatch, images, real, 3, ExtractionOptions(prompts=2, samples=10))
    assert (found.screened, found.prompts, found.flagged, found.extracted) == (40, 2, 1, [3])
    assert found.p < 1e-4
    assert max(found.agreement, key=found.agreement.get) == 3


def test_a_prompt_that_was_not_screened_is_not_found(monkeypatch, images, real):
    found = attacked(monkeypatch, images, real, 3, ExtractionOptions(screened=20, prompts=2, samples=6))
    assert (found.screened, found.flagged, found.extracted) == (20, 0, [])
    assert found.p == 1.0


def test_none_is_accused(monkeypatch, images, real):
    found = attacked(monkeypatch, images, real, None, ExtractionOptions(prompts=3, samples=6))
    assert (found.flagged, found.extracted, found.p) == (0, [], 1.0)


@pytest.mark.whole
@pytest.mark.parametrize("copies", [1, 20])
def test_copies_among_held_out_images_are_left_out(images, copies):
    held = images["validate"].clone()
    held[:copies] = (0.9 * images["train"][:copies] + 0.03).clamp(0, 1)
    assert Real({**images, "validate": held}).near_copies == list(range(copies))
    assert Real(images).near_copies == []


def test_the_null_counts_each_patient_once(images):
    real = Real(images)
    np.testing.assert_allclose(np.sort(real.no_copies), np.sort(real.heldout_copies.similarity.numpy()))
    real.subjects = lambda split: [str(i // 2) for i in range(80)]
    assert len(Real.no_copies.func(real)) == 40
