"""Changes that leave an image a copy: what plants of copies are made by."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from memcontrol.seeds import derive_seed

__all__ = ["KINDS", "changed"]

Change = Callable[[Image.Image, Image.Image, np.random.Generator], Image.Image]
"""Takes an image, another patient's image, and what is drawn at random."""


def _of_tone(change: Callable[[Image.Image], Image.Image]) -> Change:
    return lambda image, other, rng: change(image)


def _placed(image: Image.Image, scale: float, left: float, top: float) -> Image.Image:
    """Return what a frame of a size sees, with its corner at a place; all as shares of the image's height and width."""
    matrix = (scale, 0, left * image.width, 0, scale, top * image.height)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _crop_off_centre(image: Image.Image, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _placed(image, 0.8, 0.2 * rng.uniform(), 0.2 * rng.uniform())


def _shift(image: Image.Image, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _placed(image, 1.0, 0.05 * rng.choice([-1, 1]), 0.05 * rng.choice([-1, 1]))


def _rotation(degrees: float) -> Change:
    return lambda image, other, rng: image.rotate(degrees * rng.choice([-1, 1]), Image.Resampling.BICUBIC)


def _half(image: Image.Image, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    second, turned = rng.integers(2), rng.integers(2)  # which half; an upper or lower one instead
    if turned:
        image, other = image.transpose(Image.Transpose.ROTATE_90), other.transpose(Image.Transpose.ROTATE_90)
    half = image.width // 2
    box = (half, 0, image.width, image.height) if second else (0, 0, half, image.height)
    mixed = other.copy()
    mixed.paste(image.crop(box), box[:2])
    return mixed.transpose(Image.Transpose.ROTATE_270) if turned else mixed


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("RGB")


def _noise(image: Image.Image, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    values = np.asarray(image, dtype=float)
    grain = rng.normal(0, 12, values.shape[:2])[..., None]
    return Image.fromarray(np.clip(values + grain, 0, 255).round().astype(np.uint8))


def _gamma(exponent: float) -> Change:
    return _of_tone(lambda image: image.point(lambda value: round(255 * (value / 255) ** exponent)))


KINDS: Final[dict[str, Change]] = {
    "exact": _of_tone(lambda image: image),
    "flip": _of_tone(ImageOps.mirror),
    "crop 90 %": lambda image, other, rng: _placed(image, 0.9, 0.05, 0.05),
    "crop 80 % off centre": _crop_off_centre,
    "shift 5 %": _shift,
    "rotation 3°": _rotation(3),
    "rotation 5°": _rotation(5),
    "half": _half,
    "brighter": _of_tone(lambda image: ImageEnhance.Brightness(image).enhance(1.25)),
    "darker": _of_tone(lambda image: ImageEnhance.Brightness(image).enhance(0.8)),
    "contrast 0.6": _of_tone(lambda image: ImageEnhance.Contrast(image).enhance(0.6)),
    "contrast 1.5": _of_tone(lambda image: ImageEnhance.Contrast(image).enhance(1.5)),
    "gamma 0.6": _gamma(0.6),
    "gamma 1.7": _gamma(1.7),
    "inverted": _of_tone(ImageOps.invert),
    "blur": _of_tone(lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 64))),
    "strong blur": _of_tone(lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 32))),
    "noise 12/255": _noise,
    "JPEG 60": _of_tone(_jpeg),
}
"""Kinds of copies, by name; "half" has the other half of another patient's image."""


def changed(images: Tensor, kind: str, others: Tensor, seed: int = 0) -> Tensor:
    """Apply a kind of change.

    Args:
        images: Images with shape `(n, 3, H, W)`, values in [0, 1].
        kind: Name of the change.
        others: Images of other patients, of the same size, which are used again where there are fewer.
        seed: Seed of what is drawn at random, image by image.

    Returns:
        Images with the shape of `images`.
    """
    rows = []
    for number, image in enumerate(images):
        rng = np.random.default_rng(derive_seed(seed, kind, number))
        found = KINDS[kind](to_pil_image(image), to_pil_image(others[number % len(others)]), rng)
        rows.append(pil_to_tensor(found).float() / 255)
    return torch.stack(rows)
