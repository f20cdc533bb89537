"""Weigh near-duplicates among training images down, so that each is learnt as if it were there once."""

from __future__ import annotations

import logging

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.features import split_features
from memcontrol.described import Described
from memcontrol.errors import DataError
from memcontrol.measures.copies import ALIKE, CopyEncoder, groups_of_copies
from memcontrol.ranges import check_ranges

__all__ = ["DuplicateWeights"]

log = logging.getLogger("memcontrol")


class DuplicateWeights(Described, Callback):
    """Gives k training images that are copies of each other the weight 1 / k each in the loss.

    Copies are found as an audit finds them: also mirrored, cut, shifted, rotated by a few degrees, inverted, and with
    other brightness and contrast. Images that are repeated on purpose (`data.memorization`) stay repeated. The time
    grows with the square of the number of images: about a minute for 1,000 on a CPU.

    Args:
        agreement: Agreement of details from which on two images count as copies, in (0, 1): of X-rays of different
            patients, 99 % of the nearest pairs agree to less than 0.96.

    Raises:
        DataError: If the agreement is out of range.
    """

    seen_of_training = "weights of near copies"
    """Why private training refuses it: what one patient weighs depends on others."""

    def __init__(self, agreement: float = ALIKE) -> None:
        self.agreement = agreement
        check_ranges(DataError, "DuplicateWeights", self, {"agreement": "(0, 1)"})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the copies, and say how many there are."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, CaptionedImageDataModule):
            raise DataError("DuplicateWeights needs one of memcontrol's data modules. Train with one, or leave it out.")
        groups = groups_of_copies(split_features(data, "train", CopyEncoder()), self.agreement)
        sizes = np.bincount(groups)[groups]
        data.datasets["train"].weights = 1 / sizes
        log.info(
            "%d of %d training images are copies of others, in %d groups of up to %d; they share a weight of 1",
            int((sizes > 1).sum()),
            len(sizes),
            len(np.unique(groups[sizes > 1])),
            int(sizes.max()),
        )
