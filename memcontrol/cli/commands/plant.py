"""`plant`: what would an audit of these data find, and how often would it be wrong?"""

from __future__ import annotations

from memcontrol.audit.planted import Detector, clean_sets, found_shares, mixed_sets
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.errors import RewardError
from memcontrol.measures.encoders import Encoder, LiteEncoder, ThumbnailEncoder
from memcontrol.ranges import check_ranges

__all__ = ["plant"]


def plant(data: CaptionedImageDataModule, encoders: list[Encoder] | None, alpha: float, level: float) -> str:
    """Plant copies of training images among held-out ones and return the tables of what is found.

    Args:
        data: The data; training images are copied, the test split sets thresholds and is mixed in.
        encoders: Encoders to compare; by default thumbnails (the audit's) and EfficientNet-Lite0.
        alpha: Share of false alarms at which thresholds are set.
        level: Level of the verdict.
    """
    check_ranges(RewardError, "", {"alpha": alpha, "level": level}, {"alpha": "(0, 1)", "level": "(0, 1)"})
    if encoders is not None and not encoders:
        raise RewardError("Argument `encoders` is empty. Name some, or leave it out for the default ones.")
    data.setup("test")
    compared = encoders or [ThumbnailEncoder(), LiteEncoder()]
    detectors = [
        Detector(f"{e.name}{', views' if views else ''}", e, views) for e in compared for views in (True, False)
    ]
    found = found_shares(data, detectors, alpha)
    wrong = clean_sets(data, detectors[0], alpha, level)
    mixed = mixed_sets(data, detectors[0], alpha, level)
    return (
        f"{len(data.table('train'))} training images; {len(data.table('test'))} held-out images, of whose patients one "
        f"half sets the threshold and the other is tested.\n\nShare of planted copies found at {100 * alpha:g} % false "
        f"alarms:\n{found.round(3).to_string()}\n\nShare of sets of 100 images said to leak ({detectors[0].name}, "
        f"level {level}), by share of copies:\n{mixed.round(3).to_string()}\n\nClean sets said to leak: {wrong} of 40"
    )
