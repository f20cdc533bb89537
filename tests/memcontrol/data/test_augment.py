"""Changes are as small as asked for, follow from the variant's number, and are kept like crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from memcontrol.data.augment import Augment
from memcontrol.data.cache import CacheOptions
from memcontrol.data.encoding import encoded_images
from memcontrol.data.images import Transform, Variant
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.errors import DataError


@pytest.fixture
def dot():
    """A grey square on darker grey, off the centre."""
    values = np.full((64, 64, 3), 60, dtype=np.uint8)
    values[20:28, 40:48] = 160
    return Image.fromarray(values)


def centre(image):
    values = np.asarray(image.convert("L"), dtype=float)
    rows, columns = np.nonzero(values > 0.7 * values.max())
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize(
    ("options", "reach"),
    [({"shift": 0.05}, 0.05 * 64 * 2**0.5 + 1), ({"rotation": 5.0}, 15 * np.deg2rad(5) + 1), ({"scale": 0.1}, 2.5)],
)
def test_pose_changes_by_no_more_than_asked_for(dot, options, reach):
    moved = np.array([np.linalg.norm(centre(Augment(**options).apply(dot, n)) - centre(dot)) for n in range(40)])
    assert moved.max() <= reach
    assert moved.max() > 0.5 * reach - 1
    assert np.unique(moved.round(2)).size > 3


@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_tone_changes_by_no_more_than_asked_for(dot, name):
    images = [np.asarray(Augment(**{name: 0.2}).apply(dot, n), dtype=float) for n in range(40)]
    bright = np.array([image[24, 44, 0] for image in images])
    gap = np.array([image[24, 44, 0] - image[5, 5, 0] for image in images]) / 100
    change = bright / 160 if name == "brightness" else gap
    assert change.min() >= 0.79
    assert change.max() <= 1.21
    assert change.std() > 0.05
    np.testing.assert_allclose(images[0][20:28, 40:48, 0], images[0][24, 44, 0])  # nothing has moved


def test_a_variant_is_the_same_whenever_it_is_made(dot):
    transform = Transform(size=32, augment=Augment(rotation=3, shift=0.05, brightness=0.1))
    one, again, other = (transform.apply(dot, Variant(change=n)) for n in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_image_itself_is_among_the_variants():
    transform = Transform(size=32, crop="random", crop_variants=3, augment=Augment(rotation=3, variants=5))
    assert [(v.crop, v.change) for v in transform.variants()] == [(0, -1), (1, 0), (2, 1), (0, 2), (1, 3)]
    descriptions = {transform.describe(v) for v in transform.variants()}
    assert len(descriptions) == 5
    assert Transform(size=32).describe(Variant()) == "size=32 scale=1.0 crop=-1 flipped=False"  # as in older caches
    assert not Transform(augment=Augment(shift=0.1, variants=0)).is_cacheable


@pytest.mark.parametrize("variants", [4, 0])
def test_training_sees_changes_and_validation_does_not(tmp_path, variants):
    data = PhantomDataModule(
        num_subjects=20, transform=Transform(size=32, augment=Augment(shift=0.1, variants=variants)),
        cache=CacheOptions(folder=str(tmp_path)),
    )  # fmt: skip
    data.setup("fit")
    train, held = data.datasets["train"], data.datasets["validate"]
    seen = {train[(0, seed)]["pixels"].sum().item() for seed in range(30)}
    assert len(seen) == variants or (variants == 0 and len(seen) > 20)
    assert torch.equal(held[0]["pixels"], held.pixels(0, Variant()))
    assert torch.equal(train.plain(0)["pixels"], train.pixels(0, Variant()))


@pytest.mark.parametrize(("name", "value"), [("shift", 0.9), ("brightness", 1.0), ("rotation", -1.0), ("variants", -1)])
def test_large_changes_are_refused(name, value):
    with pytest.raises(DataError, match=f"transform.augment.{name}"):
        Augment(**{name: value})


class Pictures:
    """An encoder that keeps the pixels' means."""

    digest = "means"

    def record_shape(self, height, width):
        return (1, 3, 8, 8)

    def encode(self, pixels):
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 8)[:, None]


@pytest.mark.parametrize("enabled", [True, False])
def test_training_images_are_scored_in_the_view_of_held_out_ones(tmp_path, enabled):
    """Else attacks would tell members by how their images are cut, and models would seem to leak or not to."""
    options = CacheOptions(folder=str(tmp_path), enabled=enabled, dtype="float32")
    data = PhantomDataModule(num_subjects=20, transform=Transform(size=32, crop="random"), cache=options)
    data.setup("fit")
    train, encoder = data.datasets["train"], Pictures()
    if enabled:
        train.latents = encoded_images(train, options, encoder, 16)
        seen = {train[(0, seed)]["latents"].sum().item() for seed in range(30)}
        plain = train.plain(0)["latents"]
        assert len(seen) > 1
        assert plain.sum().item() not in seen  # training draws from crops alone
    else:
        plain = encoder.encode(train.plain(0)["pixels"][None])[0]
    torch.testing.assert_close(plain, encoder.encode(train.pixels(0, Variant())[None])[0])
