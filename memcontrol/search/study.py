"""A study's folder: its config, which may not change, and what lies where."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from memcontrol.callbacks import (
    AdapterCheckpoint,
    EMACallback,
    ParetoCheckpoint,
    RewardsCallback,
    SampleGridCallback,
    TimingCallback,
)
from memcontrol.errors import SearchError
from memcontrol.files.atomic import write_text
from memcontrol.files.configs import ResolvedConfig
from memcontrol.files.digests import changes_of, digest_of
from memcontrol.files.journal import JOURNAL, Journal
from memcontrol.files.redaction import paths_of
from memcontrol.files.run_folder import CONFIG
from memcontrol.plain import read_plain, read_text
from memcontrol.search.options import SearchOptions
from memcontrol.search.records import read_trials
from memcontrol.search.space import Parameter, SearchSpace

__all__ = ["Study", "narrowed", "open_study"]

MAY_CHANGE: Final = (
    "study", "trials", "hours", "patience", "workers", "threads", "pick", "rescore_factor",
    "retries", "executor", "heartbeat_s", "wandb", "wandb_offline",
)  # fmt: skip
"""Options that a study may be prolonged with."""
NOT_COMPARED: Final = (
    "logger",
    "devices",
    "num_nodes",
    "enable_progress_bar",
    "enable_model_summary",
    "default_root_dir",
)
BESIDE: Final = (".err", ".lock", ".log", ".out", ".txt")
"""Suffixes of files that may lie in the folder of a study before it begins."""
READ_NO_LOSS: Final = (
    AdapterCheckpoint, EMACallback, ParetoCheckpoint, RewardsCallback, SampleGridCallback, TimingCallback,
)  # fmt: skip
"""Callbacks that do without the held-out loss, unless they monitor it."""
RECORD: Final = "study.yaml"
FORMAT: Final = 2
"""Version of the record; 1 held all values of the config, also those that are defaults."""


@dataclass(frozen=True)
class Study:
    """A study on disk: what is searched, what may not change, and where its files lie.

    Args:
        folder: Its folder.
        options: Its options.
        space: What is searched.
        record: Text of all that may not change.
        plain: Config of its trials, as plain values.
        entry: What runs a trial, as `module:function`.
        build: What makes trainer, module and data of a config, as `module:function`.
        trust: Whether the config is trusted to import code.
    """

    folder: Path
    options: SearchOptions
    space: SearchSpace
    record: str
    plain: dict[str, Any]
    entry: str = ""
    build: str = ""
    trust: bool = False

    @property
    def digest(self) -> str:
        """Digest of all that may not change."""
        return digest_of(self.record)

    @property
    def config(self) -> Path:
        """The config that trials are run with."""
        return self.folder / CONFIG

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.folder / JOURNAL

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths that no published text may name."""
        return tuple(paths_of(self.plain.get("data", {})))

    def write(self) -> None:
        """Write the record and the config of trials while the journal is held: another process may be reading it."""
        write_text(self.folder / RECORD, self.record)
        write_text(self.config, yaml.safe_dump(self.plain, sort_keys=False))

    def trial(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / "trials" / f"trial-{number:04d}"


def open_study(
    config: ResolvedConfig,
    callbacks: Sequence[Any],
    slots: tuple[str, ...],
    options: SearchOptions,
    entry: str = "",
    build: str = "",
    trust: bool = False,
    trains_without: bool = True,
) -> Study:
    """Describe a study, and see that its folder holds no other; nothing is written yet.

    Args:
        config: The config.
        callbacks: The callbacks that it names, in its order.
        slots: Names of the slots.
        options: Options.
        entry: What runs a trial, as `module:function`.
        build: What makes trainer, module and data of a config, as `module:function`.
        trust: Whether the config is trusted to import code.
        trains_without: Whether all bits off trains something.

    Raises:
        SearchError: If the folder holds a study with another config, or nothing is searched.
    """
    slots = slots if options.search_mask else ()
    space = SearchSpace(slots, _parameters(options), may_be_empty=trains_without)
    if not space.slots and not space.parameters:
        raise SearchError(
            "Nothing is searched: `search.search_mask` is false, `search.lr` null and `parameters` empty."
        )
    _check_objectives(callbacks, options)
    plain = _config_of_trials(config.run, callbacks, options)
    text = yaml.safe_dump(_fixed(config.run_changes, options), sort_keys=True)
    folder = Path(options.study).expanduser()
    return Study(folder, options, space, _checked(folder, text, options), plain, entry, build, trust)


def _checked(folder: Path, text: str, options: SearchOptions) -> str:
    """Return the record of a study; that of an older version stands for itself where nothing is left to train.

    Raises:
        SearchError: If the folder holds another study, or an older version's that is not finished.
    """
    path = folder / RECORD
    others = [file for file in folder.glob("*") if file.suffix not in BESIDE]
    if others and not path.exists() and not (folder / JOURNAL).exists():
        raise SearchError(
            f"Argument `search.study` is {str(folder)!r}, which holds {others[0].name!r} and no study. Name "
            "a new folder."
        )
    if not path.exists() or read_text(path, SearchError) == text:
        return text
    known = read_plain(path, SearchError)
    if not isinstance(known, dict):
        raise SearchError(f"{path} is no record of a study. Restore it, or name another folder with `--search.study`.")
    if known.get("format", 1) >= FORMAT:
        raise SearchError(_difference(path, text))
    finished = [trial for trial in read_trials(Journal(folder / JOURNAL)) if trial.state.is_finished]
    if len(finished) < options.trials:
        raise SearchError(
            f"The study in {folder} was begun by an older version of memcontrol, whose record cannot be compared with "
            f"your config, and {options.trials - len(finished)} of its trials are not finished. Finish it with that "
            "version, or name another folder with `--search.study`; what it holds stays readable."
        )
    return read_text(path, SearchError)


def _config_of_trials(run: dict[str, Any], callbacks: Sequence[Any], options: SearchOptions) -> dict[str, Any]:
    """Return the config that trials run with: they measure, and keep checkpoints of, what the study trades off."""
    config = narrowed(run, callbacks, [*options.objectives, *options.measures])
    for callback, described in zip(callbacks, config["trainer"]["callbacks"], strict=True):
        if isinstance(callback, ParetoCheckpoint):
            described.setdefault("init_args", {})["rewards"] = list(options.objectives)
    return config


def narrowed(run: dict[str, Any], callbacks: Sequence[Any], measures: Sequence[str]) -> dict[str, Any]:
    """Return a config whose runs measure these alone, unless it names `scoring.measures` itself.

    The held-out loss (`model.eval_draws`) is left out where no callback may read it; as a measure, it is
    `heldout_loss`.

    Args:
        run: Config of a run, as plain values.
        callbacks: The callbacks that it names, in its order.
        measures: Names of measures.
    """
    config = deepcopy(run)
    for callback, described in zip(callbacks, config["trainer"]["callbacks"], strict=True):
        if isinstance(callback, RewardsCallback) and callback.scoring.measures is None:
            arguments = described.setdefault("init_args", {})
            arguments["scoring"] = {**(arguments.get("scoring") or {}), "measures": list(dict.fromkeys(measures))}
    arguments = config["model"].get("init_args", {})
    if "eval_draws" in arguments and not any(map(_reads_loss, callbacks)):
        arguments["eval_draws"] = 0
    return config


def _reads_loss(callback: Any) -> bool:
    return type(callback) not in READ_NO_LOSS or (getattr(callback, "monitor", None) or "").startswith("val/")


def _parameters(options: SearchOptions) -> tuple[Parameter, ...]:
    lr = [Parameter("model.optimizer.lr", "log", options.lr[0], options.lr[1])] if options.lr else []
    return (*lr, *options.parameters)


def _check_objectives(callbacks: Sequence[Any], options: SearchOptions) -> None:
    scorer = next((c for c in callbacks if isinstance(c, RewardsCallback)), None)
    if scorer is None:
        raise SearchError(
            "`search` needs `callbacks.RewardsCallback` under `trainer.callbacks`, which measures "
            f"{options.objectives}. Add an overlay such as `--config search/demo.yaml`."
        )
    for argument in ("objectives", "measures"):
        unknown = [name for name in getattr(options, argument) if name not in scorer.measured]
        if unknown:
            raise SearchError(
                f"Argument `search.{argument}` names {unknown}, which RewardsCallback does not measure as configured. "
                f"It measures {sorted(scorer.measured)}."
            )


def _fixed(changes: dict[str, Any], options: SearchOptions) -> dict[str, Any]:
    trainer = {k: v for k, v in changes.get("trainer", {}).items() if k not in NOT_COMPARED}
    search = {k: v for k, v in changes_of(options).items() if k not in MAY_CHANGE}
    return {"format": FORMAT, **changes, "trainer": trainer, "search": search}


def _difference(record: Path, text: str) -> str:
    lines = difflib.unified_diff(
        record.read_text().splitlines(), text.splitlines(), "this study", "your config", lineterm="", n=1
    )
    shown = "\n".join(list(lines)[:40])
    return (
        f"The study in {record.parent} has another config, so its trials do not compare:\n{shown}\nGo back to its "
        "config, or name another folder with `--search.study`."
    )
