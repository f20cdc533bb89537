"""`export`: what was trained, for other programs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

import torch

from memcontrol.errors import CheckpointError
from memcontrol.exports import write_kohya, write_lora, write_model_card, write_pipeline
from memcontrol.files.run_folder import EXPORTS, find_run, newest_run
from memcontrol.pipeline import Tuned, open_tuned
from memcontrol.ranges import check_ranges

__all__ = ["Format", "export"]

Format: TypeAlias = Literal["pipeline", "diffusers", "kohya"]

log = logging.getLogger("memcontrol")

DTYPES: Final = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
WRITERS: Final[dict[Format, Callable[[Tuned, Path, torch.dtype, float], None]]] = {
    "pipeline": write_pipeline,
    "diffusers": write_lora,
    "kohya": write_kohya,
}


def export(
    source: str,
    output: Path,
    form: Format = "pipeline",
    dtype: str = "float32",
    base: str | None = None,
    scale: float | None = None,
) -> Path:
    """Write what a run has trained, and a model card.

    Args:
        source: Run folder, checkpoint or PEFT folder.
        output: Folder to write; it must be new or empty.
        form: `pipeline`, `diffusers` or `kohya`, see `MemControlTrainer.export`.
        dtype: `float32`, `float16` or `bfloat16`.
        base: Base model, where it no longer is where the run found it.
        scale: How far to go from the base (0) to what was trained (1); by default what the run says.

    Returns:
        The folder.

    Raises:
        CheckpointError: If the source cannot be loaded, the folder is not empty, the type is unknown, or the format
            cannot hold what was trained.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f"Argument `dtype` must be one of {list(DTYPES)}, but got {dtype!r}.")
    if output.exists() and any(output.iterdir()):
        raise CheckpointError(f"Argument `output` is {str(output)!r}, which is not empty. Name a new folder.")
    check_ranges(CheckpointError, "", {"scale": scale}, {"scale": "[0, 1]"})
    tuned = open_tuned(source, base)
    WRITERS[form](tuned, output, DTYPES[dtype], tuned.scale if scale is None else scale)
    if tuned.card is not None:
        card = tuned.card if scale is None else replace(tuned.card, scale=scale)
        card.write(output)  # also what `withdraw` finds an export by
        _remember(Path(source).expanduser(), output)
        write_model_card(output, card, newest_run(Path(source).expanduser()), form)
    return output


def _remember(source: Path, output: Path) -> None:
    """Note in the run where it went: what is to be found when a patient withdraws."""
    run = find_run(source)
    if run is None:
        return
    try:
        with (run / EXPORTS).open("a") as file:
            file.write(f"{output.absolute()}\n")
    except OSError as error:  # a run that others own
        log.warning("The run could not note this export: %s", error.strerror)
