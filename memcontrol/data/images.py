"""Bring images to the size that is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from memcontrol.data.augment import Augment
from memcontrol.errors import DataError
from memcontrol.ranges import check_ranges
from memcontrol.seeds import derive_seed, generator

__all__ = ["Transform", "Variant", "to_pixels"]


@dataclass(frozen=True)
class Variant:
    """One deterministic way to cut an image.

    Args:
        crop: Which random crop (-1: the centre).
        flipped: Whether it is mirrored.
        change: Which small change (-1: none).
    """

    crop: int = -1
    flipped: bool = False
    change: int = -1


@dataclass(frozen=True)
class Transform:
    """How an image is resized, cropped and flipped.

    Args:
        size: Height and width in pixels, a multiple of 8.
        fit: What becomes of an image that is not square: `crop` cuts off what lies beyond the square, `pad` adds black
            beside it, `squash` changes its proportions.
        crop: `center`, or `random` for training images.
        crop_variants: With random crops: how many per image are encoded once and kept; 0 draws a new one
            each time and encodes as it goes.
        random_crop_scale: With random crops: the shorter side is resized to this multiple of `size`.
        flip: Whether training images are mirrored half of the time. Off by default: hearts lie on the left.
        augment: Small changes of training images.

    Raises:
        DataError: If the size is not a positive multiple of 8, or another number is out of range.
    """

    size: int = 512
    fit: Literal["crop", "pad", "squash"] = "crop"
    crop: Literal["center", "random"] = "center"
    crop_variants: int = 4
    random_crop_scale: float = 1.125
    flip: bool = False
    augment: Augment = Augment()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.size < 8 or self.size % 8:
            raise DataError(f"Argument `transform.size` must be a positive multiple of 8, but got {self.size}.")
        ranges = {"size": "[8, 8192]", "crop_variants": "[0, inf)", "random_crop_scale": "[1, 16]"}
        check_ranges(DataError, "transform", self, ranges)

    @property
    def is_cacheable(self) -> bool:
        """Whether there are finitely many variants."""
        return (self.crop == "center" or self.crop_variants > 0) and (
            not self.augment.is_on or self.augment.variants > 0
        )

    def variants(self) -> list[Variant]:
        """Return the variants of a training image that are encoded once; with changes, the first has none.

        Crops and changes are drawn together: there are as many variants as the larger of both numbers says.
        """
        crops = 1 if self.crop == "center" else self.crop_variants
        changes = self.augment.variants if self.augment.is_on else 1
        return [
            Variant(-1 if self.crop == "center" else number % crops, flip, number - 1 if self.augment.is_on else -1)
            for number in range(max(crops, changes))
            for flip in ((False, True) if self.flip else (False,))
        ]

    def describe(self, variant: Variant) -> str:
        """Return what the pixels of a variant depend on, besides the image."""
        scale = 1.0 if variant.crop < 0 else self.random_crop_scale
        fit = "" if self.fit == "crop" else f"fit={self.fit} "
        change = "" if variant.change < 0 else f" change={variant.change} {self.augment.describe()}"
        return f"{fit}size={self.size} scale={scale} crop={variant.crop} flipped={variant.flipped}{change}"

    def cut_off(self, width: int, height: int) -> float:
        """Return the share of an image's area that a centre crop cuts off, in [0, 1)."""
        return 1 - min(width, height) / max(width, height) if self.fit == "crop" else 0.0

    def fresh(self, seed: int) -> Variant:
        """Return a variant that is not kept: a fresh crop, a fresh change."""
        bits = derive_seed(seed, "variant")
        crop = bits >> 1 if self.crop == "random" else -1
        change = derive_seed(seed, "change") if self.augment.is_on else -1
        return Variant(crop, self.flip and bool(bits & 1), change)

    def apply(self, image: Image.Image, variant: Variant) -> Tensor:
        """Cut an image.

        Args:
            image: 8-bit RGB.
            variant: Which crop, flip and change.

        Returns:
            Pixels with shape `(3, size, size)`, values in [-1, 1].
        """
        shorter = self.size if variant.crop < 0 else round(self.size * self.random_crop_scale)
        image = self._resized(image, shorter)
        width, height = image.size
        left, top = self._corner(width - self.size, height - self.size, variant)
        image = image.crop((left, top, left + self.size, top + self.size))
        if variant.change >= 0:
            image = self.augment.apply(image, variant.change)
        return to_pixels(ImageOps.mirror(image) if variant.flipped else image)

    def _resized(self, image: Image.Image, shorter: int) -> Image.Image:
        """Return the image with its shorter side of so many pixels; a padded or squashed one is square."""
        if self.fit == "pad":
            return ImageOps.pad(image, (shorter, shorter), Image.Resampling.LANCZOS, color=0)
        if self.fit == "squash":
            return image.resize((shorter, shorter), Image.Resampling.LANCZOS)
        ratio = shorter / min(image.size)
        width, height = (max(self.size, round(side * ratio)) for side in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)

    def _corner(self, spare_x: int, spare_y: int, variant: Variant) -> tuple[int, int]:
        if variant.crop < 0:
            return spare_x // 2, spare_y // 2
        share = torch.rand(2, generator=generator(variant.crop, "crop"))
        return int(share[0] * (spare_x + 1)), int(share[1] * (spare_y + 1))


def to_pixels(image: Image.Image) -> Tensor:
    """Turn an RGB image into a tensor with shape `(3, H, W)`, values in [-1, 1]."""
    values = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return values.permute(2, 0, 1) / 127.5 - 1
