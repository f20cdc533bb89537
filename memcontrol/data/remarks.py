"""What is said of the images that are used, where their owner may not know it."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
import pandas as pd

from memcontrol.data.images import Transform
from memcontrol.sizes import height_and_width

__all__ = ["say_what_is_cut_off", "say_what_is_there_twice"]

log = logging.getLogger("memcontrol")

SHARE_SAID: Final = 0.02
"""Share of a picture that may be cut off without a word."""


def say_what_is_cut_off(transform: Transform, sizes: np.ndarray) -> None:
    """Warn of crops that cut off more of a picture than one would expect.

    Args:
        transform: How images are cut.
        sizes: Width and height of each image, with shape `(n, 2)`.
    """
    lost = [transform.cut_off(int(width), int(height)) for width, height in sizes]
    if lost and max(lost) > SHARE_SAID:
        log.warning(
            "Crops to %d x %d cut off %.0f %% of the pictures on average, and up to %.0f %%. To keep more of them, "
            "give `data.transform.size` as [height, width] of their shape, or set `data.transform.fit` to `pad` or "
            "`squash`.",
            *height_and_width(transform.size),
            100 * sum(lost) / len(lost),
            100 * max(lost),
        )


def say_what_is_there_twice(table: pd.DataFrame) -> None:
    """Warn of rows that hold the same pixels.

    Args:
        table: Rows with the columns path, subject_id and content.
    """
    twice = table[table["content"].duplicated(keep=False)]
    if len(twice):
        patients = twice.groupby("content")["subject_id"].nunique()
        log.warning(
            "%d rows hold an image that another row of their split holds too, %d of them under another patient: what "
            "is repeated is learnt by heart sooner. E.g. %s",
            len(twice),
            int((twice["content"].map(patients) > 1).sum()),
            ", ".join(map(str, twice["path"].head(2))),
        )
