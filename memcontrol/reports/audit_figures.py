"""Figures of an audit, as PNG bytes."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from memcontrol.reports.figures import png

__all__ = ["distance_histogram", "grid_of", "picture", "roc_curves"]

COLOURS = {"drawn": "#c0392b", "heldout": "#2c7fb8", "base": "#7f8c8d"}


def distance_histogram(drawn: Tensor, heldout: Tensor, threshold: float) -> bytes:
    """Plot how near drawn and held-out images come to training images; similarities with shape `(n,)` and `(k,)`."""
    figure, axes = plt.subplots(figsize=(6, 3))
    distances = 1 - drawn.numpy(), 1 - heldout.numpy()
    bins = np.linspace(0, max(1e-3, float(np.concatenate(distances).max())), 40)
    axes.hist(
        distances[1], bins, density=True, alpha=0.6, color=COLOURS["heldout"], label="held-out patients (yardstick)"
    )
    axes.hist(distances[0], bins, density=True, alpha=0.6, color=COLOURS["drawn"], label="drawn pictures")
    if np.isfinite(threshold):
        axes.axvline(1 - threshold, color="black", linestyle="--", linewidth=1, label="counts as a copy left of this")
    axes.set(xlabel="distance to the nearest training image (0: a copy)", ylabel="density")
    axes.legend(frameon=False, fontsize=8)
    return png(figure)


def roc_curves(scores: dict[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Plot ROC curves on logarithmic axes, where few false alarms are to be seen (Carlini et al., 2022, section IV).

    Args:
        scores: Scores of members and of others by attack, higher for members; the axes end at one image of either.
    """
    figure, axes = plt.subplots(figsize=(4.2, 4))
    for name, (members, others) in scores.items():
        thresholds = np.unique(np.concatenate([members, others]))[::-1]
        fpr, tpr = (1 - np.searchsorted(np.sort(v), thresholds) / len(v) for v in (others, members))
        axes.step([0.0, *fpr], [0.0, *tpr], where="post", label=name)
    least = [1 / max(len(side) for side in sides) for sides in zip(*scores.values(), strict=True)]
    axes.plot([min(least), 1], [min(least), 1], color="grey", linestyle=":", label="chance")
    axes.set(xlabel="share of held-out images taken for members", ylabel="share of members found")
    axes.set(xscale="log", yscale="log", xlim=(0.9 * least[1], 1), ylim=(0.9 * least[0], 1.1))
    axes.legend(frameon=False, fontsize=7, loc="lower right")
    return png(figure)


def picture(image: Tensor, blurred: bool, side: int = 128) -> bytes:
    """Return an image with shape `(3, H, W)`, values in [0, 1], as a small picture."""
    drawn = to_pil_image(image.clamp(0, 1)).resize((side, side), Image.Resampling.BICUBIC)
    if blurred:
        drawn = drawn.filter(ImageFilter.GaussianBlur(side / 16))
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG")
    return buffer.getvalue()


def grid_of(images: Tensor, blurred: bool, columns: int = 8) -> bytes:
    """Return images with shape `(n, 3, H, W)` as one picture."""
    drawn = to_pil_image(make_grid(images.clamp(0, 1), nrow=columns, padding=2, pad_value=1.0))
    if blurred:
        drawn = drawn.filter(ImageFilter.GaussianBlur(images.shape[-1] / 16))
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG")
    return buffer.getvalue()
