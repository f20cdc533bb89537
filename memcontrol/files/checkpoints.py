"""Checkpoints on disk: which file a path stands for, and how it is read without running anything in it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import replacing
from memcontrol.files.card import CARD_KEY, Card
from memcontrol.files.run_folder import CHECKPOINTS, newest_run, pareto_checkpoint

__all__ = ["checkpoint_of", "drop_optimizer", "find_checkpoint", "keep_the_last", "read_checkpoint"]

DAMAGED = (AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile)
"""What torch raises for files that it did not write, besides what it refuses."""


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint file that a path stands for.

    Args:
        path: A checkpoint, or a run folder: the newest of its checkpoints that is whole (a run may have been
            killed while it wrote one). Of a folder of runs, the newest run.

    Raises:
        CheckpointError: If there is none.
    """
    path = newest_run(Path(path).expanduser())
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"{str(path)!r} does not exist. Give a checkpoint file or a run folder.")
    found = [
        p for p in (path / CHECKPOINTS).glob("*.ckpt") if not p.is_symlink() and p.is_file() and zipfile.is_zipfile(p)
    ]
    if not found:
        raise CheckpointError(
            f"{str(path)!r} has no checkpoint in checkpoints/. Give a run folder (with checkpoints/*.ckpt) or "
            "a checkpoint file."
        )
    return max(found, key=lambda p: p.stat().st_mtime_ns)


def checkpoint_of(run: Path, step: int) -> Path | None:
    """Return the checkpoint of a run at a step, if it was kept."""
    kept = pareto_checkpoint(run, step)
    if kept.is_file():
        return kept
    try:
        last = find_checkpoint(run)
        return last if read_checkpoint(last)[0].step == step else None
    except CheckpointError:
        return None


def drop_optimizer(path: Path) -> None:
    """Rewrite a checkpoint without its optimizer, which is two thirds of it; training cannot go on from it."""
    if path.is_dir():  # sharded
        return
    content = torch.load(path, map_location="cpu", weights_only=True)
    content["optimizer_states"] = []
    with replacing(path) as partial:
        torch.save(content, partial)


def keep_the_last(run: Path) -> None:
    """Remove what a run that has ended needs no more: all of `checkpoints/` but the newest, and that one's optimizer.

    Raises:
        CheckpointError: If it cannot be read or written, as on a full disk; then the newest is as it was.
    """
    try:
        last = find_checkpoint(run)
    except CheckpointError:
        return
    try:
        for path in (run / CHECKPOINTS).glob("*.ckpt"):
            if path != last and path.is_file():
                path.unlink()
        drop_optimizer(last)
    except (*DAMAGED, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{last} could not be made smaller: {error}") from error


def read_checkpoint(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """Read a checkpoint of ours, running nothing that is in it.

    Returns:
        The record, and the trained weights by their name in the U-Net (averaged, where the run averaged).

    Raises:
        CheckpointError: If the file is none of ours, is damaged, holds more than plain data and tensors, or its weights
            are not finite.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} was refused: it holds more than tensors and plain values, and loading it could run "
            "code. Load it only in an environment that you can throw away."
        ) from error
    except DAMAGED as error:
        raise CheckpointError(f"{str(path)!r} is damaged or no checkpoint: {error}") from error
    if not isinstance(content, dict) or CARD_KEY not in content:
        raise CheckpointError(f"{str(path)!r} was not written by memcontrol: it has no `{CARD_KEY}` record.")
    card = Card.from_dict(content[CARD_KEY], path)
    state = content.get("state_dict")
    if not isinstance(state, dict) or not all(isinstance(name, str) and _is_whole(v) for name, v in state.items()):
        raise CheckpointError(
            f"{str(path)!r} holds no trained weights as memcontrol writes them (`state_dict`, dense tensors of "
            "floating point numbers). It is damaged, or not what it says it is."
        )
    weights = {k.removeprefix("unet."): v for k, v in state.items()}
    bad = [name for name, value in weights.items() if not bool(value.isfinite().all())]
    if bad:
        raise CheckpointError(
            f"{str(path)!r} holds {len(bad)} of {len(weights)} trained tensors with values that are no finite numbers, "
            f"first of all {bad[0]!r}: its training has diverged. Take an earlier checkpoint."
        )
    return card, weights


def _is_whole(value: object) -> bool:
    """Whether a value is a dense tensor of floating point numbers that is all there, and not one number repeated."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.is_floating_point()
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )
