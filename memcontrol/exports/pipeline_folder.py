"""A pipeline folder with what was trained in its weights, which plain diffusers loads."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch

from memcontrol.files.atomic import write_json
from memcontrol.pipeline import Tuned

__all__ = ["write_pipeline"]

log = logging.getLogger("memcontrol")


def write_pipeline(tuned: Tuned, folder: Path, dtype: torch.dtype, scale: float) -> None:
    """Write a folder that `StableDiffusionPipeline.from_pretrained` loads.

    Args:
        tuned: A base with an adapter; merged afterwards.
        folder: Where to write.
        dtype: Type of the weights.
        scale: How far to go from the base (0) to what was trained (1), in [0, 1].

    Raises:
        CheckpointError: If the method leaves other weights than those of its base, and the scale is below 1.
    """
    tuned.merge(scale)
    tuned.parts.pipeline().to(dtype).save_pretrained(str(folder), safe_serialization=True)
    _forget_where_from(folder)
    log.info("Wrote the merged pipeline to %s", folder)


def _forget_where_from(folder: Path) -> None:
    """Take the folder of this machine out of the configs of the parts."""
    for path in folder.glob("**/*.json"):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            write_json(path, content)
