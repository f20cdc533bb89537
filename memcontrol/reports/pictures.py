"""Images as small pictures of a page, as PNG bytes."""

from __future__ import annotations

import io

from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

__all__ = ["grid_of", "picture"]


def picture(image: Tensor, blurred: bool, side: int = 128) -> bytes:
    """Return an image with shape `(3, H, W)`, values in [0, 1], as a small picture whose longer side is `side`."""
    height, width = image.shape[-2:]
    ratio = side / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    drawn = to_pil_image(image.clamp(0, 1)).resize(size, Image.Resampling.BICUBIC)
    if blurred:
        drawn = drawn.filter(ImageFilter.GaussianBlur(side / 16))
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG")
    return buffer.getvalue()


def grid_of(images: Tensor, blurred: bool, columns: int = 8) -> bytes:
    """Return images with shape `(n, 3, H, W)` as one picture."""
    drawn = to_pil_image(make_grid(images.clamp(0, 1), nrow=columns, padding=2, pad_value=1.0))
    if blurred:
        drawn = drawn.filter(ImageFilter.GaussianBlur(max(images.shape[-2:]) / 16))
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG")
    return buffer.getvalue()
