"""`export`: a merged pipeline folder for plain diffusers."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch

from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import write_json
from memcontrol.pipeline import load_pipeline

__all__ = ["export_pipeline"]

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def export_pipeline(
    source: str, output: Path, dtype: str = "float32", base: str | None = None, scale: float | None = None
) -> Path:
    """Merge an adapter into its base and write the pipeline.

    Args:
        source: Run folder, checkpoint or PEFT folder.
        output: Folder to write; it must be new or empty.
        dtype: `float32`, `float16` or `bfloat16`.
        base: Base model, where it no longer is where the run found it.
        scale: How far to go from the base (0) to what was trained (1); by default what the run says.

    Returns:
        The folder; `diffusers.StableDiffusionPipeline.from_pretrained` loads it.

    Raises:
        CheckpointError: If the source cannot be loaded, the folder is not empty, or the type is unknown.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f"Argument `dtype` must be one of {list(DTYPES)}, but got {dtype!r}.")
    if output.exists() and any(output.iterdir()):
        raise CheckpointError(f"Argument `output` is {str(output)!r}, which is not empty. Name a new folder.")
    load_pipeline(source, base, dtype=DTYPES[dtype], scale=scale).save_pretrained(str(output), safe_serialization=True)
    _forget_where_from(output)
    log.info("Wrote the merged pipeline to %s", output)
    return output


def _forget_where_from(folder: Path) -> None:
    """Take the folder of this machine out of the configs of the parts."""
    for path in folder.glob("**/*.json"):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            write_json(path, content)
