"""Whether a checkpoint belongs to a config: the same slots and mask, the same adapter, the same base."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from memcontrol.checkpoints import CARD_KEY, Card
from memcontrol.errors import CheckpointError

__all__ = ["check_fits"]

log = logging.getLogger(__name__)


def check_fits(checkpoint: dict[str, Any], ours: Card, expected: set[str]) -> None:
    """Refuse weights that were trained under another mask, by another adapter or on another base.

    Args:
        checkpoint: What the file holds.
        ours: Record that the config's model would write.
        expected: Names of what the config trains.

    Raises:
        CheckpointError: If they do not fit.
    """
    if CARD_KEY not in checkpoint:
        raise CheckpointError(f"The checkpoint has no `{CARD_KEY}` record: memcontrol did not write it.")
    theirs, names = Card.from_dict(checkpoint[CARD_KEY], Path("The checkpoint")), set(checkpoint["state_dict"])
    if theirs.mask != ours.mask:
        raise CheckpointError(
            f"The checkpoint was trained with slots `{theirs.mask['layout']}` and mask {_bits(theirs)}, but the config "
            f"says `{ours.mask['layout']}` and {_bits(ours)}. Give the config of its run (config.yaml in the run "
            "folder)."
        )
    if names != expected:
        raise CheckpointError(
            f"The checkpoint holds {len(names)} trained tensors, but the config trains {len(expected)} others. Give "
            f"the adapter that it was trained with: {theirs.adapter}."
        )
    if theirs.base_fingerprint != ours.base_fingerprint:
        raise CheckpointError(
            f"The checkpoint was trained on the base {theirs.base!r}, whose U-Net has other weights than that of "
            f"{ours.base!r}. Give `--model.base` the model it was trained on."
        )
    if theirs.training_set not in (None, ours.training_set):
        log.warning("The checkpoint was trained on other images than the config's training split")


def _bits(card: Card) -> str:
    return f"bits:{''.join(map(str, card.mask['bits']))}"
