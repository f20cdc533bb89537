"""A study's folder: its config, which may not change, and what lies where."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from memcontrol.errors import SearchError
from memcontrol.scoring.measures import HIGHER_IS_BETTER
from memcontrol.search.options import SearchOptions
from memcontrol.search.space import Parameter, SearchSpace
from memcontrol.search.texts import paths_of

__all__ = ["Study", "open_study"]

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
RECORD: Final = "study.yaml"
KEPT: Final[tuple[str, ...]] = ("seed_everything", "model", "data", "trainer")


@dataclass(frozen=True)
class Study:
    """A study.

    Args:
        folder: Its folder.
        options: Its options.
        space: What is searched.
        record: Text of all that may not change.
        plain: Config of its trials, as plain values.
        trust: Whether the config is trusted to import code.
    """

    folder: Path
    options: SearchOptions
    space: SearchSpace
    record: str
    plain: dict[str, Any]
    trust: bool = False

    @property
    def digest(self) -> str:
        """Digest of all that may not change."""
        return hashlib.sha256(self.record.encode()).hexdigest()[:16]

    @property
    def config(self) -> Path:
        """The config that trials are run with."""
        return self.folder / "config.yaml"

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.folder / "journal.jsonl"

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths that no published text may name."""
        return tuple(paths_of(self.plain.get("data", {})))

    def write(self) -> None:
        """Write the record and the config of trials while the journal is held: another process may be reading it."""
        for path, text in ((self.folder / RECORD, self.record), (self.config, _config_of_trials(self))):
            part = path.with_suffix(".part")
            part.write_text(text)
            os.replace(part, path)

    def trial(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / "trials" / f"trial-{number:04d}"


def open_study(config: dict[str, Any], slots: tuple[str, ...], options: SearchOptions, trust: bool = False) -> Study:
    """Describe a study, and see that its folder holds no other; nothing is written yet.

    Args:
        config: Resolved config of the run, as plain values.
        slots: Names of the slots.
        options: Options.
        trust: Whether the config is trusted to import code.

    Raises:
        SearchError: If the folder holds a study with another config, or nothing is searched.
    """
    kept = {key: config[key] for key in KEPT if key in config}
    space = SearchSpace(slots if options.search_mask else (), _parameters(options))
    if not space.slots and not space.parameters:
        raise SearchError(
            "Nothing is searched: `search.search_mask` is false, `search.lr` null and `parameters` empty."
        )
    _need_rewards(kept, options)
    text = yaml.safe_dump(_fixed(kept, options), sort_keys=True)
    folder = Path(options.study).expanduser()
    record = folder / RECORD
    if record.is_file() and record.read_text() != text:
        raise SearchError(_difference(record, text))
    return Study(folder, options, space, text, kept, trust)


def _config_of_trials(study: Study) -> str:
    """Return the config that trials run with: they keep the checkpoints of what the study trades off."""
    config = deepcopy(study.plain)
    for callback in config["trainer"]["callbacks"]:
        if callback["class_path"].rpartition(".")[2] == "ParetoCheckpoint":
            callback["init_args"] = {**callback.get("init_args", {}), "rewards": study.options.objectives}
    return yaml.safe_dump(config, sort_keys=False)


def _parameters(options: SearchOptions) -> tuple[Parameter, ...]:
    lr = [Parameter("model.optimizer.lr", "log", options.lr[0], options.lr[1])] if options.lr else []
    return (*lr, *options.parameters)


def _need_rewards(config: dict[str, Any], options: SearchOptions) -> None:
    callbacks = config.get("trainer", {}).get("callbacks") or []
    scorer = next((c for c in callbacks if str(c.get("class_path", "")).endswith("RewardsCallback")), None)
    if scorer is None:
        raise SearchError(
            "`search` needs `callbacks.RewardsCallback` under `trainer.callbacks`, which measures "
            f"{options.objectives}. Add an overlay such as `--config search/demo.yaml`."
        )
    rewards = scorer.get("init_args", {})
    measured = {*HIGHER_IS_BETTER, *(metric["name"] for metric in rewards.get("metrics") or [])}
    if not (rewards.get("scoring") or {}).get("attacks", True):
        measured -= {"membership_auc_secmi", "membership_auc_pia"}
    unknown = [name for name in options.objectives if name not in measured]
    if unknown:
        raise SearchError(
            f"Argument `search.objectives` names {unknown}, which RewardsCallback does not measure as configured. It "
            f"measures {sorted(measured)}."
        )


def _fixed(config: dict[str, Any], options: SearchOptions) -> dict[str, Any]:
    trainer = {k: v for k, v in config.get("trainer", {}).items() if k not in NOT_COMPARED}
    search = {k: v for k, v in asdict_plain(options).items() if k not in MAY_CHANGE}
    return {**config, "trainer": trainer, "search": search}


def asdict_plain(options: SearchOptions) -> dict[str, Any]:
    """Return options as plain values, without the executor."""
    values = {k: v for k, v in options.__dict__.items() if k != "executor"}
    values["parameters"] = [asdict(p) for p in options.parameters]
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _difference(record: Path, text: str) -> str:
    lines = difflib.unified_diff(
        record.read_text().splitlines(), text.splitlines(), "this study", "your config", lineterm="", n=1
    )
    shown = "\n".join(list(lines)[:40])
    return (
        f"The study in {record.parent} has another config, so its trials do not compare:\n{shown}\nGo back to its "
        "config, or name another folder with `--search.study`."
    )
