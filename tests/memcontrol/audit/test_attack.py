"""The attack finds the same images whatever the blocks that it reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch.nn.functional import normalize

from memcontrol.audit import attack as module
from memcontrol.audit.options import ExtractionOptions


@dataclass
class Prompts:
    rows: list[int]


class Pixels:
    """Encodes images as they are."""

    def encode(self, images):
        return images.flatten(1)


class Nearest:
    """Names the training images in the order of their cosine."""

    def __init__(self, bank):
        self.bank = normalize(bank, dim=1)

    def candidates(self, queries, count):
        return (normalize(queries, dim=1) @ self.bank.T).topk(min(count, len(self.bank)), dim=1).indices


@dataclass
class Real:
    """Five training images and twenty held-out ones, of noise."""

    images: dict[str, torch.Tensor]
    data: object = None
    heldout_split: str = "validate"
    seed: int = 0
    contents: list[int] = field(default_factory=lambda: list(range(5)))
    copy_encoder: Pixels = field(default_factory=Pixels)

    @property
    def copies(self):
        return Nearest(self.images["train"].flatten(1))

    def texts(self, split):
        return [f"prompt {row}" for row in self.contents]

    def subjects(self, split):
        return list(map(str, range(20)))

    def prompts(self, split, count):
        return Prompts([1, 3, 1][:count])


class Memorizing:
    """Draws the training image of prompt 3 with some noise, and noise for the others, in batches of seven.

    What it draws has gone through its autoencoder, which darkens whatever it is given.
    """

    def __init__(self, images):
        self.images = images

    def reconstruct(self, images):
        return 0.6 * images

    def sample(self, prompts, seeds, progress):
        rng = torch.Generator().manual_seed(0)
        drawn = [
            self.reconstruct(self.images[3]) + 0.01 * torch.rand(3, 8, 8, generator=rng)
            if prompt == "prompt 3"
            else self.reconstruct(torch.rand(3, 8, 8, generator=rng))
            for prompt in prompts
        ]
        yield from torch.stack(drawn).split(7)


@pytest.mark.parametrize("block", [2, 1024])
@pytest.mark.parametrize("kept", [1, 4096])
def test_a_memorized_image_is_given_away(monkeypatch, block, kept):
    rng = torch.Generator().manual_seed(1)
    images = {split: torch.rand(n, 3, 8, 8, generator=rng) for split, n in (("train", 5), ("validate", 20))}
    real = Real(images)
    monkeypatch.setattr(module, "AT_ONCE", block)
    monkeypatch.setattr(module, "MOST_KEPT", kept)
    monkeypatch.setattr(module, "split_pixels", lambda data, split, rows: images[split][rows])
    found = module.attack(Memorizing(images["train"]), real, ExtractionOptions(prompts=3, samples=10), 0.01)
    assert (found.prompts, found.flagged, found.extracted, found.matched) == (2, 1, [3], 1)
    assert found.p == pytest.approx(1 / 21)  # one of twenty held-out images may be as near by chance
