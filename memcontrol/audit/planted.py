"""Plant copies where the truth is known: what would an audit of these data find?"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.features import split_features, split_pixels
from memcontrol.errors import RewardError
from memcontrol.measures.copies import ViewsEncoder, match_views
from memcontrol.measures.encoders import Encoder
from memcontrol.measures.functional.memorization import replication_threshold
from memcontrol.measures.statistics.pvalues import p_exceed, rank_of
from memcontrol.seeds import derive_seed

__all__ = ["KINDS", "Detector", "clean_sets", "found_shares", "mixed_sets"]


def _crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    left, top = round(width * 0.05), round(height * 0.05)
    return image.crop((left, top, width - left, height - top)).resize((width, height), Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("RGB")


def _noise(image: Image.Image) -> Image.Image:
    values = np.asarray(image, dtype=float)
    rng = np.random.default_rng(derive_seed(0, image.tobytes().hex()[:64]))
    grain = rng.normal(0, 12, values.shape[:2])[..., None]
    return Image.fromarray(np.clip(values + grain, 0, 255).round().astype(np.uint8))


KINDS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "exact": lambda image: image,
    "crop 90 %": _crop,
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 64)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "flip": ImageOps.mirror,
    "noise 12/255": _noise,
    "JPEG 60": _jpeg,
}
"""Kinds of copies, by name."""


def changed(images: Tensor, kind: str) -> Tensor:
    """Apply a kind of change to images with shape `(n, 3, H, W)`, values in [0, 1]."""
    change = KINDS[kind]
    return torch.stack([pil_to_tensor(change(to_pil_image(image))).float() / 255 for image in images])


@dataclass(frozen=True)
class Detector:
    """An encoder, with or without views of the training images.

    Args:
        name: Name for tables.
        encoder: Encodes images.
        views: Whether training images are also entered mirrored and cropped.
    """

    name: str
    encoder: Encoder
    views: bool

    def bank(self, data: CaptionedImageDataModule) -> tuple[Tensor, int]:
        """Return the features of training images and how many views of each they hold."""
        viewer = ViewsEncoder(self.encoder) if self.views else ViewsEncoder(self.encoder, (1.0,), mirror=False)
        return split_features(data, "train", viewer), viewer.num_views


def _halves(data: CaptionedImageDataModule, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the patient of each held-out row, and the rows of two halves of the patients."""
    subjects = data.table("test")["subject_id"].astype(str).to_numpy()
    names = np.unique(subjects)
    if len(names) < 8:
        raise RewardError(f"The test split has {len(names)} patients; planting needs at least 8. Raise its share.")
    chosen = np.random.default_rng(derive_seed(seed, "halves")).permutation(names)[: len(names) // 2]
    inside = np.isin(subjects, chosen)
    return subjects, np.flatnonzero(inside), np.flatnonzero(~inside)


def found_shares(
    data: CaptionedImageDataModule, detectors: list[Detector], alpha: float, seed: int = 0
) -> pd.DataFrame:
    """Return the share of planted copies of each kind that a threshold from half of the held-out patients finds.

    Args:
        data: The data, set up; copies are planted of all training images.
        detectors: What is compared.
        alpha: Share of false alarms at which the threshold is set.
        seed: Seed of the halves.

    Returns:
        One row per detector: `false alarms` on the other half (lower is better), and the found share of each kind
        (higher is better), in [0, 1].
    """
    training = split_pixels(data, "train", list(range(len(data.table("train")))))
    _, calibration, control = _halves(data, seed)
    rows = []
    for detector in detectors:
        bank, views = detector.bank(data)
        held = match_views(split_features(data, "test", detector.encoder), bank, views).similarity
        threshold = replication_threshold(held[calibration], max(alpha, 1 / (len(calibration) + 1)))
        row = {"detector": detector.name, "false alarms": float((held[control] > threshold).double().mean())}
        for kind in KINDS:
            features = detector.encoder.encode(changed(training, kind))
            row[kind] = float((match_views(features, bank, views).similarity > threshold).double().mean())
        rows.append(row)
    return pd.DataFrame(rows).set_index("detector")


def _p_of_set(
    held: Tensor, planted: Tensor, subjects: np.ndarray, rows: tuple[np.ndarray, np.ndarray], alpha: float
) -> float:
    """Return the p-value of a set of control images with some copies among them."""
    calibration, control = rows
    values = torch.cat([held[control], planted])
    names = [*subjects[control], *(f"copy {i}" for i in range(len(planted)))]
    rank = rank_of(alpha, len(set(subjects[calibration])))
    return p_exceed(values, names, held[calibration], list(subjects[calibration]), rank)


def clean_sets(
    data: CaptionedImageDataModule, detector: Detector, alpha: float, level: float, num_sets: int = 40, size: int = 100
) -> int:
    """Return how many of a number of clean sets are wrongly said to leak; each has patients of its own."""
    bank, views = detector.bank(data)
    held = match_views(split_features(data, "test", detector.encoder), bank, views).similarity
    wrong = 0
    for number in range(num_sets):
        subjects, calibration, control = _halves(data, number)
        control = np.random.default_rng(derive_seed(number, "clean")).permutation(control)[:size]
        wrong += _p_of_set(held, torch.empty(0), subjects, (calibration, control), alpha) < level
    return wrong


def mixed_sets(
    data: CaptionedImageDataModule,
    detector: Detector,
    alpha: float,
    level: float,
    shares: tuple[float, ...] = (0.05, 0.1, 0.5),
    num_sets: int = 20,
    size: int = 100,
) -> pd.DataFrame:
    """Return the share of sets that are said to leak, by kind of copy and share of copies in the set."""
    bank, views = detector.bank(data)
    training = split_pixels(data, "train", list(range(len(data.table("train")))))
    held = match_views(split_features(data, "test", detector.encoder), bank, views).similarity
    rows = []
    for kind in KINDS:
        copies = match_views(detector.encoder.encode(changed(training, kind)), bank, views).similarity
        row: dict[str, float | str] = {"copies": kind}
        for share in shares:
            right = 0
            for number in range(num_sets):
                subjects, calibration, control = _halves(data, number)
                rng = np.random.default_rng(derive_seed(number, kind, str(share)))
                planted = copies[torch.from_numpy(rng.permutation(len(copies))[: round(share * size)])]
                rest = rng.permutation(control)[: size - len(planted)]
                right += _p_of_set(held, planted, subjects, (calibration, rest), alpha) < level
            row[f"{100 * share:g} %"] = right / num_sets
        rows.append(row)
    return pd.DataFrame(rows).set_index("copies")
