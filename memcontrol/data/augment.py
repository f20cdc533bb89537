"""Small changes of training images: as another exposure, or a patient who stood a little otherwise, would give."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, affine

from memcontrol.errors import DataError
from memcontrol.ranges import check_ranges
from memcontrol.seeds import generator

__all__ = ["Augment"]


@dataclass(frozen=True)
class Augment:
    """How far training images are changed at random; a model that never sees an image twice alike learns it later.

    Args:
        rotation: Largest angle, in degrees.
        shift: Largest shift, as a share of the image's height and width.
        scale: Largest change of size, as a share.
        brightness: Largest change of brightness, as a share.
        contrast: Largest change of contrast, as a share.
        variants: Variants of each image that are encoded once and kept, the image as it is among them; 0 draws a new
            one each time and encodes as it goes.

    Raises:
        DataError: If a number is out of range.
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    variants: int = 8

    def __post_init__(self) -> None:
        """Check the ranges."""
        ranges = {"rotation": "[0, 45]", "shift": "[0, 0.5]", "scale": "[0, 0.5]", "variants": "[0, inf)"}
        ranges |= {"brightness": "[0, 1)", "contrast": "[0, 1)"}
        check_ranges(DataError, "transform.augment", self, ranges)

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        return any((self.rotation, self.shift, self.scale, self.brightness, self.contrast))

    def describe(self) -> str:
        """Return what a variant's pixels depend on, besides its number."""
        return (
            f"rotation={self.rotation} shift={self.shift} scale={self.scale} brightness={self.brightness} "
            f"contrast={self.contrast}"
        )

    def apply(self, image: Image.Image, number: int) -> Image.Image:
        """Change an image as the number of the variant says; what lies beyond its border is black.

        Args:
            image: 8-bit RGB.
            number: Number of the variant, from 0.
        """
        angle, x, y, size, light, range_ = (2 * torch.rand(6, generator=generator(number, "augment")) - 1).tolist()
        moved = affine(
            image,
            angle=self.rotation * angle,
            translate=[round(self.shift * x * image.width), round(self.shift * y * image.height)],
            scale=1 + self.scale * size,
            shear=[0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        lit = adjust_brightness(moved, 1 + self.brightness * light)
        changed: Image.Image = adjust_contrast(lit, 1 + self.contrast * range_)
        return changed
