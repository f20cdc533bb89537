"""What is on disk after a run: where it lies, and how it is read without running anything in it."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from memcontrol.errors import CheckpointError

__all__ = ["CARD_FILE", "Card", "find_checkpoint", "find_run", "newest_run", "read_checkpoint"]

FORMAT: Final = 1
CARD_FILE: Final = "memcontrol.json"
CARD_KEY: Final = "memcontrol"


@dataclass(frozen=True)
class Card:
    """What an adapter was trained for and on, in plain values.

    Args:
        base: Base model, as the config named it.
        base_fingerprint: Fingerprint of its U-Net's weights.
        random_init: Whether the base had random weights.
        seed: Seed of the run (and of random weights).
        adapter: PEFT config before the mask chose its targets, or None.
        mask: Layout, slot names and bits.
        image_size: Height and width that were trained on, in pixels.
        step: Optimizer steps.
        version: Version of memcontrol.
        format: Version of this record.
        training_set: Digest of the images that were trained on, or None where the data does not tell.
    """

    base: str
    base_fingerprint: str
    random_init: bool
    seed: int
    adapter: dict[str, Any] | None
    mask: dict[str, Any]
    image_size: int
    step: int
    version: str
    format: int = FORMAT
    training_set: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, source: Path) -> Card:
        """Undo `to_dict`.

        Raises:
            CheckpointError: If something is missing or from a newer version.
        """
        if not isinstance(values, dict) or values.get("format", FORMAT + 1) > FORMAT:
            raise CheckpointError(
                f"{source} holds no record of memcontrol that this version reads (format {FORMAT}). Was it "
                "written by memcontrol, or by a newer one?"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise CheckpointError(f"{source} holds an incomplete record of memcontrol: {error}") from error

    @classmethod
    def read(cls, folder: Path) -> Card | None:
        """Read the record beside a PEFT folder, if there is one."""
        path = folder / CARD_FILE
        return cls.from_dict(json.loads(path.read_text()), path) if path.is_file() else None

    def write(self, folder: Path) -> None:
        """Write the record beside a PEFT folder."""
        (folder / CARD_FILE).write_text(json.dumps(self.to_dict(), indent=2) + "\n")


def newest_run(path: Path) -> Path:
    """Return the newest run in a folder of runs (`version_0`, `version_1`, ...), or the path itself if it is none."""
    runs = [folder for folder in path.glob("version_*") if (folder / "checkpoints").is_dir()]
    if (path / "checkpoints").is_dir() or not runs:
        return path
    return max(runs, key=lambda folder: folder.stat().st_mtime_ns)


def find_run(path: Path) -> Path | None:
    """Return the run folder that a path is or lies in, or None."""
    path = newest_run(path)
    for folder in (path, *path.parents[:2]):
        if (folder / "checkpoints").is_dir():
            return folder
    return None


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
    found = [p for p in (path / "checkpoints").glob("*.ckpt") if not p.is_symlink() and zipfile.is_zipfile(p)]
    if not found:
        raise CheckpointError(
            f"{str(path)!r} has no checkpoint in checkpoints/. Give a run folder (with checkpoints/*.ckpt) or "
            "a checkpoint file."
        )
    return max(found, key=lambda p: p.stat().st_mtime_ns)


def read_checkpoint(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """Read a checkpoint of ours, running nothing that is in it.

    Returns:
        The record, and the trained weights by their name in the U-Net (averaged, where the run averaged).

    Raises:
        CheckpointError: If the file is none of ours, is damaged, or holds more than plain data and tensors.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} was refused: it holds more than tensors and plain values, and loading it could run "
            "code. Load it only in an environment that you can throw away."
        ) from error
    except (OSError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{str(path)!r} is damaged or no checkpoint: {error}") from error
    if not isinstance(content, dict) or CARD_KEY not in content:
        raise CheckpointError(f"{str(path)!r} was not written by memcontrol: it has no `{CARD_KEY}` record.")
    card = Card.from_dict(content[CARD_KEY], path)
    return card, {k.removeprefix("unet."): v for k, v in content["state_dict"].items()}
