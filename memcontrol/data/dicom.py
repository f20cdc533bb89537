"""DICOM: of a file's content the pixels alone, as its display would show them. No field of the header travels on."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import numpy as np

from memcontrol.errors import DataError

__all__ = ["DicomPixels", "is_dicom", "patient_digest", "read_dicom"]

Source: TypeAlias = str | Path | bytes

MAGIC_AT: Final = 128
MAGIC: Final = b"DICM"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
"""Transfer syntax of a data set that is compressed as a whole: it cannot be looked at without unpacking all of it."""
MOST_PIXELS: Final = 150_000_000
EXTREME: Final = 1e9
"""A value beyond all that detectors give."""
MALFORMED: Final = (
    AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OverflowError, RecursionError, RuntimeError,
    TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What the library raises for a file that is damaged, or packed in a way that it cannot undo."""


@dataclass(frozen=True)
class DicomPixels:
    """What a file shows.

    Args:
        shown: 8-bit values as the file's own window or table displays them, or colours, of shape `(H, W)` or
            `(H, W, 3)`; None where the file has no window.
        values: Values in the units of the detector or scanner, of shape `(H, W)`, where the file has no window.
        is_inverted: Whether the smallest of `values` is white (MONOCHROME1).
        problem: Why there is nothing to show; empty if there is.
        size: Width and height in pixels.
    """

    shown: np.ndarray | None = None
    values: np.ndarray | None = None
    is_inverted: bool = False
    problem: str = ""
    size: tuple[int, int] = (0, 0)


def is_dicom(source: Source) -> bool:
    """Whether a file, or what was read of one, begins as DICOM files do.

    Raises:
        OSError: If it cannot be read.
    """
    if isinstance(source, bytes):
        return source[MAGIC_AT : MAGIC_AT + 4] == MAGIC
    with Path(source).open("rb") as file:
        return file.read(MAGIC_AT + 4)[MAGIC_AT:] == MAGIC


def read_dicom(source: Source) -> DicomPixels:
    """Read the pixels of a file: rescaled, and through its table or window where it has one.

    Args:
        source: The file, or its bytes.

    Raises:
        DataError: If pydicom is not installed.
        OSError: If the file is damaged.
    """
    pydicom = _library()
    size, syntax = (0, 0), ""
    try:
        if _is_deflated(source):
            return DicomPixels(problem="a deflated DICOM file (save it without that)")
        with _opened(source) as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            size, problem = _look(header)
            if problem:
                return DicomPixels(problem=problem, size=size)
            syntax = header.file_meta.TransferSyntaxUID.name
            file.seek(0)
            dataset = pydicom.dcmread(file)
        return _pixels(dataset, size)
    except (pydicom.errors.InvalidDicomError, *MALFORMED) as error:
        if "missing dependencies" in str(error) or "plugins are missing" in str(error):
            return DicomPixels(problem=f"packed as {syntax} (pip install 'pylibjpeg[all]')", size=size)
        raise OSError(f"no proper DICOM ({type(error).__name__}: {error})") from error


def patient_digest(source: Source) -> str:
    """Return sixteen hex digits that stand for the patient that a file names; empty where it names none.

    Raises:
        DataError: If pydicom is not installed.
        OSError: If the file is damaged.
    """
    pydicom = _library()
    try:
        if _is_deflated(source):
            return ""
        with _opened(source) as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID", "IssuerOfPatientID"])
        patient = str(header.get("PatientID", "")).strip()
        issuer = str(header.get("IssuerOfPatientID", "")).strip()
    except (pydicom.errors.InvalidDicomError, *MALFORMED) as error:
        raise OSError(f"no proper DICOM ({type(error).__name__}: {error})") from error
    return hashlib.sha256(f"{issuer}\n{patient}".encode()).hexdigest()[:16] if patient else ""


def _library() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise DataError("Reading DICOM needs an extra: pip install 'memcontrol[dicom]'.") from error
    return pydicom


def _opened(source: Source) -> IO[bytes]:
    return BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _is_deflated(source: Source) -> bool:
    """Whether a data set is compressed as a whole, by the few fields before it, which are not."""
    from pydicom.filereader import _read_file_meta_info as read_meta
    from pydicom.filereader import read_preamble

    with _opened(source) as file:
        read_preamble(file, force=False)
        return str(read_meta(file).get("TransferSyntaxUID", "")) == DEFLATED


def _look(header: Any) -> tuple[tuple[int, int], str]:
    """Return width and height, and why the pixels are not for us, from the header alone."""
    if "Rows" not in header or "Columns" not in header:
        return (0, 0), "a DICOM file without pixels"
    size = int(header.Columns), int(header.Rows)
    if size[0] * size[1] > MOST_PIXELS:
        return size, f"more than {MOST_PIXELS // 10**6} million pixels"
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        return size, f"{frames} frames in one DICOM file"
    return size, ""


def _pixels(dataset: Any, size: tuple[int, int]) -> DicomPixels:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        return DicomPixels(problem="a DICOM file without pixels", size=size)
    stored = pixel_array(dataset)
    if stored.ndim == 3:
        return DicomPixels(shown=_in_8_bits(stored, 0, 2 ** int(dataset.get("BitsStored", 8)) - 1), size=size)
    if stored.shape != size[::-1] or dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        kind = dataset.get("PhotometricInterpretation")
        return DicomPixels(problem=f"DICOM pixels of shape {stored.shape} and kind {kind}", size=size)
    is_inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    values = apply_modality_lut(_without_padding(stored, dataset, is_inverted), dataset)
    if dataset.get("VOILUTSequence"):
        low, high = 0.0, float(2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    elif _has_window(dataset):
        low, high = (float(v) for v in apply_voi_lut(np.array([-EXTREME, EXTREME]), dataset))
    else:
        return DicomPixels(values=values, is_inverted=is_inverted, size=size)
    shown = _in_8_bits(apply_voi_lut(values, dataset), low, high)
    return DicomPixels(shown=255 - shown if is_inverted else shown, size=size)


def _has_window(dataset: Any) -> bool:
    """Whether a file says which values to show; who takes names out of files may leave these fields blank."""
    values = [dataset.get("WindowCenter"), dataset.get("WindowWidth")]
    first = [value[0] if isinstance(value, list | tuple) or hasattr(value, "append") else value for value in values]
    return all(value not in (None, "") for value in first) and float(first[1]) > 0


def _without_padding(stored: np.ndarray, dataset: Any, is_inverted: bool) -> np.ndarray:
    """Replace what stands for no value by the real one that is black, else it would stretch the range, or be white."""
    padding = dataset.get("PixelPaddingValue")
    if padding is None:
        return stored
    far = dataset.get("PixelPaddingRangeLimit", padding)
    is_padding = (stored >= min(padding, far)) & (stored <= max(padding, far))
    if is_padding.all():
        return stored
    real = stored[~is_padding]
    return np.where(is_padding, real.max() if is_inverted else real.min(), stored)


def _in_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    share = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)
