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
from memcontrol.sizes import Size, check_size, height_and_width

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
        size: Height and width in pixels, a multiple of 8; of pictures that are not square, `[height, width]`.
        fit: What becomes of an image of another shape: `crop` cuts off what lies beyond, `pad` adds black beside it,
            `squash` changes its proportions.
        crop: `center`, or `random` for training images.
        crop_variants: With random crops: how many per image are encoded once and kept; 0 draws a new one
            each time and encodes as it goes.
        random_crop_scale: With random crops: the image is resized to cover this multiple of `size`.
        flip: Whether training images are mirrored half of the time. Off by default: hearts lie on the left.
        augment: Small changes of training images.

    Raises:
        DataError: If a side is not a positive multiple of 8, or another number is out of range.
    """

    size: Size = 512
    fit: Literal["crop", "pad", "squash"] = "crop"
    crop: Literal["center", "random"] = "center"
    crop_variants: int = 4
    random_crop_scale: float = 1.125
    flip: bool = False
    augment: Augment = Augment()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        """Check the ranges."""
        object.__setattr__(self, "size", check_size(DataError, "transform.size", self.size))
        ranges = {"crop_variants": "[0, inf)", "random_crop_scale": "[1, 16]"}
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
        if self.fit != "crop":
            return 0.0
        to_height, to_width = height_and_width(self.size)
        wide, wide_wanted = width * to_height, height * to_width
        return 1 - min(wide, wide_wanted) / max(wide, wide_wanted)

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
            Pixels with shape `(3, height, width)`, values in [-1, 1].
        """
        height, width = height_and_width(self.size)
        image = self._resized(image, 1.0 if variant.crop < 0 else self.random_crop_scale)
        left, top = self._corner(image.width - width, image.height - height, variant)
        image = image.crop((left, top, left + width, top + height))
        if variant.change >= 0:
            image = self.augment.apply(image, variant.change)
        return to_pixels(ImageOps.mirror(image) if variant.flipped else image)

    def _resized(self, image: Image.Image, scale: float) -> Image.Image:
        """Return the image so that it covers a multiple of the size; a padded or squashed one has just that size."""
        to_height, to_width = (round(side * scale) for side in height_and_width(self.size))
        if self.fit == "pad":
            return ImageOps.pad(image, (to_width, to_height), Image.Resampling.LANCZOS, color=0)
        if self.fit == "squash":
            return image.resize((to_width, to_height), Image.Resampling.LANCZOS)
        ratio = max(to_width / image.width, to_height / image.height)
        width, height = max(to_width, round(image.width * ratio)), max(to_height, round(image.height * ratio))
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
