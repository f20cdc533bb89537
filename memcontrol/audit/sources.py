"""What can be audited: a run of ours, any pipeline of diffusers, or a bare folder of pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from memcontrol.data.tables import name_columns, read_table, tidy
from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.components import Pipeline
from memcontrol.errors import CheckpointError
from memcontrol.files.card import Card
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.run_folder import CHECKPOINTS, newest_run
from memcontrol.pipeline import load_pipeline

__all__ = ["Load", "Source", "named", "open_source"]

Load = Callable[[], Pipeline]
VERSION = re.compile(r"version_\d+")
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Source:
    """Something to audit. Models are loaded when they are asked for, and kept by nobody here.

    Args:
        path: Where it is.
        kind: `run`, `pipeline` or `pictures`.
        pipeline: Loads what draws, where there is a model.
        base: Loads the model before fine-tuning, where it is known.
        pictures: File and prompt of each picture (columns path, text), where there is no model.
        card: What a run says of itself, where it does.
        name: What a report calls it.
    """

    path: Path
    kind: str
    pipeline: Load | None = None
    base: Load | None = None
    pictures: pd.DataFrame | None = None
    card: Card | None = None
    name: str = ""


def named(sources: Sequence[Source]) -> list[Source]:
    """Name each source by as little of its path as tells it from the others."""
    paths = [source.path.absolute().parts for source in sources]
    least = 2 if any(VERSION.fullmatch(parts[-1]) for parts in paths) and len(paths) > 1 else 1
    for depth in range(least, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(set(paths)):
            break
    return [replace(source, name=name) for source, name in zip(sources, names, strict=True)]


def open_source(path: str, base: str | None = None) -> Source:
    """Find out what a path is.

    Args:
        path: A run folder, checkpoint, PEFT folder, pipeline folder, or a folder of pictures with a csv of prompts
            (columns file_name and text), as `predict` writes it.
        base: The model before fine-tuning, where the path does not say.

    Raises:
        CheckpointError: If it is none of these.
    """
    folder = newest_run(Path(path).expanduser())
    if (folder / "model_index.json").is_file():
        return Source(folder, "pipeline", partial(_load, str(folder)), partial(_load, base) if base else None)
    has_run = folder.is_file() or (folder / CHECKPOINTS).is_dir()
    if has_run or (folder / "adapter_config.json").is_file():
        card = read_checkpoint(find_checkpoint(folder))[0] if has_run else Card.read(folder)
        before = partial(_load, base or card.base, card.random_init, card.seed, card.truncation_side) if card else None
        return Source(folder, "run", partial(load_pipeline, folder, base), before, card=card)
    if folder.is_dir() and any(f.suffix.lower() in PICTURES for f in folder.iterdir()):
        return Source(folder, "pictures", pictures=_read_pictures(folder))
    raise CheckpointError(
        f"Argument `ckpt_path` is {path!r}, which is nothing that can be audited. Give a run folder, a checkpoint, a "
        "PEFT folder, a diffusers pipeline folder, or a folder of pictures with a csv of prompts."
    )


def _load(base: str, random_init: bool = False, seed: int = 0, truncation_side: str = "right") -> Pipeline:
    parts = load_components(base, random_init, seed)
    parts.truncate(truncation_side)
    return parts.pipeline()


def _read_pictures(folder: Path) -> pd.DataFrame:
    tables = sorted(folder.glob("*.csv"))
    if not tables:
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in PICTURES)
        return pd.DataFrame({"path": [str(f) for f in files], "text": ""})
    table = read_table(tables[0], "ckpt_path")
    asked = {"path": "file_name", "text": "text"}
    table = name_columns(table, asked, tables[0], dict.fromkeys(asked, "the table's header"))
    paths = [str(folder / str(name)) for name in table["path"]]
    missing = [p for p in paths if not Path(p).is_file()]
    if missing:
        raise CheckpointError(f"{tables[0]} names {len(missing)} pictures that do not exist, e.g. {missing[0]!r}.")
    return pd.DataFrame({"path": paths, "text": tidy(table["text"])})
