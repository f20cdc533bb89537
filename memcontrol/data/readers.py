"""Read images of any depth: what a file holds, and how it becomes an 8-bit picture."""

from __future__ import annotations

import hashlib
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from memcontrol.data.dicom import DicomPixels, is_dicom, read_dicom
from memcontrol.errors import DataError

__all__ = ["FileReader", "ImageReader", "Levels", "Look", "levels_of", "look_at", "read_image"]

FORMATS: Final = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats of medical and photographic images; some others start programs to read them (EPS, Ghostscript)."""
Image.init()  # else Pillow knows the commonest of them only
MOST_PIXELS: Final = 150_000_000
LONGEST: Final = 16
"""Longest side over shortest one, beyond which resizing would take memory that no picture is worth."""
DEEP_MODES: Final = ("I", "I;16", "I;16B", "I;16L", "F")
DEPTHS: Final = (8, 10, 12, 14, 16, 32)
"""Bits per pixel that detectors and files have."""
PHOTOMETRIC: Final = 262
"""Tag of a TIFF that says which end of the values is white."""


@dataclass(frozen=True)
class Levels:
    """Which values of images that are deeper than 8 bits are drawn black and white.

    Args:
        black: Value that becomes 0; lower ones too.
        white: Value that becomes 255; higher ones too.

    Raises:
        DataError: If white does not lie above black.
    """

    black: float
    white: float

    def __post_init__(self) -> None:
        """Check the order."""
        if not self.white > self.black:
            raise DataError(
                f"Argument `value_range` must be two numbers, black and white, the second one larger, but got "
                f"[{self.black}, {self.white}]."
            )

    def to_8_bit(self, values: np.ndarray) -> np.ndarray:
        """Return values as integers in [0, 255]."""
        share = (values.astype(np.float64) - self.black) / (self.white - self.black)
        return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)

    def __str__(self) -> str:
        """Return both values."""
        return f"[{self.black:g}, {self.white:g}]"


@dataclass(frozen=True)
class Look:
    """What a look at an image has told.

    Args:
        content: Hex digest of what it holds.
        problem: Why it cannot be used; empty if it can.
        size: Width and height in pixels.
        deep: Smallest and largest value of an image that is deeper than 8 bits, and whether all are whole; else None.
    """

    content: str = ""
    problem: str = ""
    size: tuple[int, int] = (0, 0)
    deep: tuple[float, float, bool] | None = None


class ImageReader(ABC):
    """Where images come from: files, or a program that draws them."""

    @abstractmethod
    def stamp(self, path: str) -> str:
        """Return something that changes with the image and is cheap to get.

        Raises:
            FileNotFoundError: If there is no such image.
        """

    @abstractmethod
    def content(self, path: str) -> str:
        """Return a hex digest of the image's content."""

    @abstractmethod
    def read(self, path: str) -> Image.Image:
        """Return the image as 8-bit RGB.

        Raises:
            OSError: If it is truncated or no image.
        """

    def look(self, path: str) -> Look:
        """Read the image once and tell what it is."""
        return Look(self.content(path), size=self.read(path).size)

    def with_levels(self, levels: Levels | None) -> ImageReader:
        """Return this reader for images of these levels; one that knows of none returns itself."""
        return self

    def describe(self) -> str:
        """Return what pixels depend on besides content, for caches; empty where that is nothing."""
        return ""


@dataclass(frozen=True)
class FileReader(ImageReader):
    """Reads image files.

    Args:
        levels: Levels of images deeper than 8 bits; by default each image has its own.
    """

    levels: Levels | None = None

    def stamp(self, path: str) -> str:
        """Return size and time of change."""
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{path} is no regular file")
        return f"{status.st_size}:{status.st_mtime_ns}"

    def content(self, path: str) -> str:
        """Return the SHA-256 of the file."""
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, path: str) -> Image.Image:
        """Decode the file."""
        return read_image(path, self.levels)

    def look(self, path: str) -> Look:
        """Decode the file once; several pages, and values that are not finite, are problems."""
        look = look_at(path)
        return look if look.problem else replace(look, content=self.content(path))

    def with_levels(self, levels: Levels | None) -> FileReader:
        """Return a reader for these levels."""
        return replace(self, levels=levels)

    def describe(self) -> str:
        """Return the levels."""
        return f"levels={self.levels}" if self.levels is not None else ""


def look_at(source: str | Path | bytes) -> Look:
    """Decode an image once and tell what it is, but for its digest.

    Args:
        source: A file, or what was read of one.

    Raises:
        OSError: If it is truncated or no image.
    """
    if is_dicom(source):
        return _look_at_dicom(read_dicom(source))
    with Image.open(_stream(source), formats=FORMATS) as file:
        size, pages = file.size, getattr(file, "n_frames", 1)
        problem = _problem_of_size(size)
        if problem:
            return Look(problem=problem, size=size)
        if pages > 1 and not _are_previews(file):
            return Look(problem=f"{pages} pages in one file", size=size)
        file.load()
        if file.mode in DEEP_MODES:
            return _look_at_values(np.asarray(file), size)
        is_constant = file.convert("RGB").getcolors(1) is not None
        return Look(problem="one value in all pixels" if is_constant else "", size=size)


def _look_at_dicom(found: DicomPixels) -> Look:
    problem = found.problem or _problem_of_size(found.size)
    if problem or found.shown is None:
        return Look(problem=problem, size=found.size) if problem else _look_at_values(found.values, found.size)
    is_constant = found.shown.min() == found.shown.max()
    return Look(problem="one value in all pixels" if is_constant else "", size=found.size)


def _look_at_values(values: np.ndarray | None, size: tuple[int, int]) -> Look:
    """Look at values deeper than 8 bits."""
    assert values is not None
    if not np.isfinite(values).all():
        return Look(problem="values that are no finite numbers", size=size)
    deep = _range_of(values)
    return Look(problem="one value in all pixels" if deep[0] == deep[1] else "", size=size, deep=deep)


def _problem_of_size(size: tuple[int, int]) -> str:
    if size[0] * size[1] > MOST_PIXELS:
        return f"more than {MOST_PIXELS // 10**6} million pixels"
    if max(size) > LONGEST * min(size):
        return f"one side more than {LONGEST} times the other"
    return ""


def _stream(source: str | Path | bytes) -> Any:
    return BytesIO(source) if isinstance(source, bytes) else source


def levels_of(looks: Iterable[tuple[float, float, bool]]) -> Levels | None:
    """Choose one pair of levels for all deep images of a source: pictures of one detector stay comparable.

    Args:
        looks: Smallest and largest value of each deep image, and whether all values are whole.

    Returns:
        For whole values that are not negative, 0 and the largest value of the smallest of 8, 10, 12, 14, 16 or 32 bits
        that holds them all (detectors write 12 bits into 16); else the smallest and largest value of all; None where
        there are no deep images.

    Example:
        >>> print(levels_of([(3, 4090, True), (0, 4100, True)]))
        [0, 16383]
    """
    found = list(looks)
    if not found:
        return None
    low, high = min(look[0] for look in found), max(look[1] for look in found)
    if low >= 0 and all(look[2] for look in found):
        return Levels(0.0, float(2 ** next(bits for bits in DEPTHS if high < 2**bits) - 1))
    return Levels(low, high if high > low else low + 1)


def read_image(source: str | Path | bytes, levels: Levels | None = None) -> Image.Image:
    """Read an image as 8-bit RGB, turned upright, with black under what is transparent.

    Args:
        source: The file, or what was read of one.
        levels: Which values are black and white, for an image deeper than 8 bits; by default those of the image alone
            (see `levels_of`).

    Raises:
        OSError: If the file is truncated or no image.
    """
    if is_dicom(source):
        return _from_dicom(read_dicom(source), levels)
    with Image.open(_stream(source), formats=FORMATS) as file:
        is_inverted = _is_inverted(file)
        image: Image.Image = ImageOps.exif_transpose(file)
        image.load()
    if image.mode in DEEP_MODES:
        image = _from_values(np.asarray(image), levels, is_inverted)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")


def _from_dicom(found: DicomPixels, levels: Levels | None) -> Image.Image:
    if found.problem:
        raise OSError(found.problem)
    if found.shown is not None:
        return Image.fromarray(found.shown).convert("RGB")
    assert found.values is not None
    return _from_values(found.values, levels, found.is_inverted).convert("RGB")


def _from_values(values: np.ndarray, levels: Levels | None, is_inverted: bool) -> Image.Image:
    chosen = levels or levels_of([_range_of(values)])
    assert chosen is not None
    shown = chosen.to_8_bit(values)
    return Image.fromarray(255 - shown if is_inverted else shown)


def _range_of(values: np.ndarray) -> tuple[float, float, bool]:
    """Return smallest and largest value, and whether all are whole."""
    return float(values.min()), float(values.max()), bool(np.array_equal(values, np.rint(values)))


def _is_inverted(file: Any) -> bool:
    """Whether a deep TIFF says that its smallest value is white; Pillow turns 8-bit ones by itself."""
    tags = getattr(file, "tag_v2", None)
    return tags is not None and file.mode in DEEP_MODES and tags.get(PHOTOMETRIC) == 0


def _are_previews(file: Image.Image) -> bool:
    """Whether all further pages are smaller versions of the first, as some scanners add."""
    if file.format == "MPO":  # a camera's JPEG
        return True
    sizes = [page.size for page in ImageSequence.Iterator(file)]
    file.seek(0)
    return file.format == "TIFF" and all(size < sizes[0] for size in sizes[1:])
