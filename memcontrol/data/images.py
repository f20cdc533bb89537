"""Read images of any depth and bring them to the size that is trained on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from memcontrol.errors import DataError
from memcontrol.seeds import derive_seed, generator

__all__ = ["FileReader", "ImageReader", "Transform", "Variant", "read_image", "to_pixels"]

DEEP_MODES: Final = ("I", "I;16", "I;16B", "I;16L", "F")


class ImageReader(Protocol):
    """Where images come from: files, or a program that draws them."""

    def stamp(self, path: str) -> str:
        """Return what changes when the image may have changed, without reading it.

        Raises:
            FileNotFoundError: If there is no such image.
        """

    def content(self, path: str) -> str:
        """Return a hex digest of the image's content."""

    def read(self, path: str) -> Image.Image:
        """Return the image as 8-bit RGB.

        Raises:
            OSError: If it is truncated or no image.
        """


class FileReader:
    """Reads image files."""

    def stamp(self, path: str) -> str:
        """Return size and time of change."""
        status = Path(path).stat()
        return f"{status.st_size}:{status.st_mtime_ns}"

    def content(self, path: str) -> str:
        """Return the SHA-256 of the file."""
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, path: str) -> Image.Image:
        """Decode the file."""
        return read_image(path)


def read_image(path: str | Path) -> Image.Image:
    """Read an image as 8-bit RGB, turned upright.

    Integers deeper than 8 bits are scaled from the smallest depth of 8, 10, 12, 14 or 16 bits that holds
    their largest value (detectors write 12 bits into 16), floats from their range.

    Raises:
        OSError: If the file is truncated or no image.
    """
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        image.load()
    if image.mode in DEEP_MODES:
        image = Image.fromarray(_to_8_bit(np.asarray(image)))
    return image.convert("RGB")


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    if float(values.min()) < 0 or not np.array_equal(values, np.rint(values)):
        low, high = float(values.min()), float(values.max())
    else:
        depths = [bits for bits in (8, 10, 12, 14, 16, 32) if values.max() < 2**bits]
        low, high = 0.0, float(2 ** depths[0] - 1)
    return np.rint(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)


@dataclass(frozen=True)
class Variant:
    """One deterministic way to cut an image: which random crop (-1: the centre), and whether mirrored."""

    crop: int = -1
    flipped: bool = False


@dataclass(frozen=True)
class Transform:
    """How an image is resized, cropped and flipped.

    Args:
        size: Height and width in pixels, a multiple of 8.
        crop: `center`, or `random` for training images.
        crop_variants: With random crops: how many per image are encoded once and kept; 0 draws a new one
            each time and encodes as it goes.
        random_crop_scale: With random crops: the shorter side is resized to this multiple of `size`.
        flip: Whether training images are mirrored half of the time. Off by default: hearts lie on the left.

    Raises:
        DataError: If the size is not a positive multiple of 8, or another number is out of range.
    """

    size: int = 512
    crop: Literal["center", "random"] = "center"
    crop_variants: int = 4
    random_crop_scale: float = 1.125
    flip: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.size < 8 or self.size % 8:
            raise DataError(f"Argument `transform.size` must be a positive multiple of 8, but got {self.size}.")
        if self.crop_variants < 0 or self.random_crop_scale < 1:
            raise DataError(
                "Arguments `transform.crop_variants` >= 0 and `transform.random_crop_scale` >= 1 are needed, "
                f"but got {self.crop_variants} and {self.random_crop_scale}."
            )

    @property
    def is_cacheable(self) -> bool:
        """Whether there are finitely many variants."""
        return self.crop == "center" or self.crop_variants > 0

    def variants(self) -> list[Variant]:
        """Return the variants of a training image that are encoded once."""
        crops = [-1] if self.crop == "center" else list(range(self.crop_variants))
        return [Variant(crop, flip) for crop in crops for flip in ((False, True) if self.flip else (False,))]

    def describe(self, variant: Variant) -> str:
        """Return what the pixels of a variant depend on, besides the image."""
        scale = 1.0 if variant.crop < 0 else self.random_crop_scale
        return f"size={self.size} scale={scale} crop={variant.crop} flipped={variant.flipped}"

    def fresh(self, seed: int) -> Variant:
        """Return a variant that is not kept: a fresh crop."""
        bits = derive_seed(seed, "variant")
        return Variant(bits >> 1, self.flip and bool(bits & 1))

    def apply(self, image: Image.Image, variant: Variant) -> Tensor:
        """Cut an image.

        Args:
            image: 8-bit RGB.
            variant: Which crop and flip.

        Returns:
            Pixels with shape `(3, size, size)`, values in [-1, 1].
        """
        shorter = self.size if variant.crop < 0 else round(self.size * self.random_crop_scale)
        ratio = shorter / min(image.size)
        width, height = (max(self.size, round(side * ratio)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
        left, top = self._corner(width - self.size, height - self.size, variant)
        image = image.crop((left, top, left + self.size, top + self.size))
        return to_pixels(ImageOps.mirror(image) if variant.flipped else image)

    def _corner(self, spare_x: int, spare_y: int, variant: Variant) -> tuple[int, int]:
        if variant.crop < 0:
            return spare_x // 2, spare_y // 2
        share = torch.rand(2, generator=generator(variant.crop, "crop"))
        return int(share[0] * (spare_x + 1)), int(share[1] * (spare_y + 1))


def to_pixels(image: Image.Image) -> Tensor:
    """Turn an RGB image into a tensor with shape `(3, H, W)`, values in [-1, 1]."""
    values = torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32))
    return values.permute(2, 0, 1) / 127.5 - 1
