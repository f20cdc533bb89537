"""`export`: a merged pipeline folder for plain diffusers."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from memcontrol.errors import CheckpointError
from memcontrol.pipeline import load_pipeline

__all__ = ["export_pipeline"]

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def export_pipeline(source: str, output: Path, dtype: str = "float32", base: str | None = None) -> Path:
    """Merge an adapter into its base and write the pipeline.

    Args:
        source: Run folder, checkpoint or PEFT folder.
        output: Folder to write; it must be new or empty.
        dtype: `float32`, `float16` or `bfloat16`.
        base: Base model, where it no longer is where the run found it.

    Returns:
        The folder; `diffusers.StableDiffusionPipeline.from_pretrained` loads it.

    Raises:
        CheckpointError: If the source cannot be loaded, the folder is not empty, or the type is unknown.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f"Argument `dtype` must be one of {list(DTYPES)}, but got {dtype!r}.")
    if output.exists() and any(output.iterdir()):
        raise CheckpointError(f"Argument `output` is {str(output)!r}, which is not empty. Name a new folder.")
    load_pipeline(source, base, dtype=DTYPES[dtype]).save_pretrained(str(output), safe_serialization=True)
    log.info("Wrote the merged pipeline to %s", output)
    return output
