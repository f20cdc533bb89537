"""One run, one folder and one identity through all loggers: of its own when it starts, the same when it goes on."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lightning.pytorch.utilities import rank_zero_only

from memcontrol.errors import ConfigError
from memcontrol.files.atomic import write_json
from memcontrol.files.run_folder import IDENTITY
from memcontrol.plain import read_mapping

__all__ = ["continue_in", "identified"]

IN_FOLDERS: Final = ("CSVLogger", "TensorBoardLogger")
"""Loggers that write into `save_dir/name/version_N`."""
Settings = list[tuple[Any, str, Any]]
"""Options that were set for this process: of which logger, which, and what they were before."""


@contextmanager
def identified(loggers: Sequence[Any], run: Path | None) -> Iterator[None]:
    """Give loggers the run's folder and identity inside the block; the config does not keep them.

    Of runs that start at the same time each makes its folder, which only one can. Only the first process of a run does.

    Args:
        loggers: Configs of loggers, the first of which says where the run folder is.
        run: Run folder that is gone on with, or None to start a new one.
    """
    if getattr(rank_zero_only, "rank", 0) != 0 or not loggers:
        yield
        return
    settings: Settings = []
    made: list[Path] = []
    try:
        _identify(loggers, run, settings, made)
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                (folder / IDENTITY).unlink(missing_ok=True)
                folder.rmdir()  # unless something was written into it
        raise
    finally:
        for options, name, before in settings:
            options[name] = before


def continue_in(run: Path, logger: Any) -> None:
    """Make a logger write into the folder of a run that is gone on with."""
    if _writes_folders(logger):
        logger["init_args"]["save_dir"] = str(run.parent.parent)
        logger["init_args"]["name"] = run.parent.name


def _identify(loggers: Sequence[Any], run: Path | None, settings: Settings, made: list[Path]) -> None:
    """Set the version of each logger that writes folders, and the id of each tracker; the run folder keeps them."""
    first, *others = loggers
    if not _writes_folders(first):
        return
    run = run or _folder_of(first["init_args"], made)
    path = run / IDENTITY
    known: dict[str, str] = read_mapping(path, ConfigError) if path.is_file() else {}
    for logger in others:
        name, options = str(logger.get("class_path", "")).rpartition(".")[2], logger.get("init_args", {})
        if _writes_folders(logger) and options.get("version") is None:
            if name not in known:
                known[name] = _folder_of(options, made).name
            _set(options, "version", known[name], settings)
        elif _is_tracker(logger) and options.get("id") is None:
            _set(options, "id", known.setdefault(name, secrets.token_hex(4)), settings)
    _set(first["init_args"], "version", run.name, settings)
    if known:
        write_json(path, known)


def _folder_of(options: Any, made: list[Path]) -> Path:
    """Return the folder that a logger writes to; one that is new is made, so that no other run takes it."""
    root = Path(options.get("save_dir") or ".").expanduser() / (options.get("name") or "")
    version = options.get("version")
    if version is not None:
        return root / (version if isinstance(version, str) else f"version_{version}")
    root.mkdir(parents=True, exist_ok=True)
    number = max((int(f.name[8:]) for f in root.glob("version_*") if f.name[8:].isdigit()), default=-1)
    while True:
        number += 1
        with contextlib.suppress(FileExistsError):
            (root / f"version_{number}").mkdir()
            made.append(root / f"version_{number}")
            return made[-1]


def _set(options: Any, name: str, value: Any, settings: Settings) -> None:
    settings.append((options, name, options.get(name)))
    options[name] = value


def _writes_folders(logger: Any) -> bool:
    return str(logger.get("class_path", "")).rpartition(".")[2] in IN_FOLDERS and "init_args" in logger


def _is_tracker(logger: Any) -> bool:
    return str(logger.get("class_path", "")).endswith("WandbLogger") and "init_args" in logger
