"""The command line: Lightning's, with commands of our own and configs that are not trusted to run code."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError

from memcontrol.audit.verdict import exit_code_of
from memcontrol.callbacks import AuditForecast, PatientRecord, StepProgressBar
from memcontrol.cli.arguments import TRUST, configs_of, extensions_of, join_paths, resolve_names
from memcontrol.cli.bounds import check_numbers
from memcontrol.cli.extensions import load_extensions
from memcontrol.cli.identity import continue_in, identified
from memcontrol.cli.messages import explained
from memcontrol.cli.metrics import set_metrics_aside, take_metrics_up
from memcontrol.cli.names import refuse_ways_out
from memcontrol.cli.quiet import quieten
from memcontrol.cli.reading import reading
from memcontrol.cli.requeued import remember_run, requeued_run, root_of_job
from memcontrol.cli.trainer import COMMANDS, MemControlTrainer
from memcontrol.cli.trust import guarded
from memcontrol.errors import ConfigError, DataError, MemControlError, UntrustedConfigError
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.configs import ResolvedConfig
from memcontrol.files.run_folder import find_run
from memcontrol.module import MemControlModule

__all__ = ["MemControlCLI", "build", "main", "run_in_process"]

OF_FILES = (OSError, SafetensorError, sqlite3.OperationalError)
"""Errors of files and disks, which libraries write by."""


class WholeNames(LightningArgumentParser):
    """A parser that takes no shortened names; those that it makes for parts of a config are of its class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})


class MemControlCLI(LightningCLI):
    """Lightning's command line in subclass mode, with our Trainer's methods as commands."""

    exit_code = 0
    """What a script is told: of an audit, 3 for a leak and 4 where there was too little to say."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the commands with the arguments that the command line fills itself; the asked one, if one is.

        Describing a command takes a tenth of a second, and a trial asks for one of them only.
        """
        asked = sys.argv[1] if len(sys.argv) > 1 else None
        chosen = {asked: COMMANDS[asked]} if asked in COMMANDS else COMMANDS
        return {name: command.filled for name, command in chosen.items()}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make parsers that raise their errors, so that these end in one place."""
        self.parser_class = WholeNames
        return super().init_parser(**{**kwargs, "exit_on_error": False})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Pass the one seed on, allow the switch that trusts a config, and extensions."""
        parser.add_argument(
            TRUST,
            action="store_true",
            help="Let the config import code that does not come with memcontrol; on the command line only.",
        )
        parser.add_argument(
            "--extensions",
            type=list[str],
            default=[],
            help="Python files, packages or modules with measures, probes, adapters, mitigations, proposers or data "
            "sources of your own; needs --trust-config.",
        )
        parser.set_defaults({"model": {"class_path": "memcontrol.MemControlModule"}})
        for target in ("model", "data"):
            parser.link_arguments("seed_everything", f"{target}.init_args.seed", compute_fn=int)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and find the checkpoint that a run folder stands for."""
        super().parse_arguments(parser, args)
        self._ckpt_path = None
        if "subcommand" not in self.config:
            return
        config = self.config[self.config.subcommand]
        if config.pop("trust_config", False) and not _trusts(sys.argv):
            raise UntrustedConfigError(
                "The config says `trust_config: true`, but trust is given on the command line only: add "
                "`--trust-config` if you wrote the config and the code that it names yourself."
            )
        load_extensions(config.get("extensions"), _trusts(sys.argv))
        check_numbers(config, _trusts(sys.argv))
        trainer = config.get("trainer") or {}
        refuse_ways_out(trainer)
        if trainer.get("model_registry") and not _trusts(sys.argv):
            raise UntrustedConfigError(
                f"Argument `trainer.model_registry` is {trainer['model_registry']!r}: each checkpoint would be sent "
                "there. Leave it out, or add `--trust-config` if you wrote the config yourself."
            )
        self._ckpt_path = config.get("ckpt_path")
        if "ckpt_path" in config:
            # Lightning would take hyper-parameters, class paths among them, out of the file.
            config["ckpt_path"] = None

    def before_instantiate_classes(self) -> None:
        """Go on in the run folder that a checkpoint lies in."""
        if self.subcommand is None:
            return
        config = self.config[self.subcommand]
        command = COMMANDS[self.subcommand]
        if command.needs_data and not config.get("data"):
            raise DataError(
                f"`{self.subcommand}` needs data, but the config has no `data` section. Give a config that names some, "
                "such as `--config demo.yaml` (phantoms), `cxr.yaml` (a folder with metadata.csv) or `mimic.yaml`."
            )
        self._run: Path | None = None
        if self._ckpt_path is None:
            requeued = requeued_run(self._root_of_job) if self.subcommand == "fit" and self._root_of_job else None
            if requeued is not None:
                self._step = requeued[1]
                self._go_on_in(requeued[0])
            return
        if not command.reads_checkpoint:
            config["ckpt_path"] = self._ckpt_path
            return
        found = find_checkpoint(self._ckpt_path)
        self._step = read_checkpoint(found)[0].step
        config["ckpt_path"] = str(found)
        run = find_run(Path(self._ckpt_path).expanduser())
        if self.subcommand == "fit" and run is not None:
            self._go_on_in(run)

    def _go_on_in(self, run: Path) -> None:
        self.save_config_kwargs["overwrite"] = True
        self._run = run
        for logger in self._loggers()[:1]:
            continue_in(run, logger)
        if getattr(rank_zero_only, "rank", 0) == 0:  # further ranks start after the first one has begun to log
            set_metrics_aside(run)

    @property
    def _root_of_job(self) -> str | None:
        """Root folder of the SLURM job that this is, if it is one."""
        found = self._get(self.config, "trainer", default={}).get("default_root_dir")
        ours = root_of_job().get("default_root_dir")
        return None if ours is None else str(found or ours)

    def instantiate_classes(self) -> None:
        """Give a run a folder that no other run takes, and one identity through all loggers."""
        is_run = self.subcommand is not None and COMMANDS[self.subcommand].trains
        with identified(self._loggers(), self._run) if is_run else nullcontext():
            try:
                super().instantiate_classes()
            except (ImportError, MisconfigurationException, TypeError, ValueError) as error:
                if _ours(error) is not None or isinstance(error, ArgumentError):
                    raise
                raise ConfigError(
                    f"What the config describes cannot be made: {_first_cause(error)} Change the option that this is "
                    "about."
                ) from error

    def before_fit(self) -> None:
        """Take up what a run has logged so far."""
        if self._run is not None and self.trainer.is_global_zero:
            take_metrics_up(self._run, self.trainer.loggers, self._step)
        log_dir = self.trainer.log_dir  # asks all processes, so all must ask
        if self._root_of_job is not None and log_dir is not None and self.trainer.is_global_zero:
            remember_run(self._root_of_job, log_dir)

    def _loggers(self) -> list[Any]:
        """Return the configs of loggers."""
        found = self._get(self.config, "trainer", default={}).get("logger")
        found = found if isinstance(found, list) else [found]
        return [logger for logger in found if logger and not isinstance(logger, bool)]

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Leave loggers and callbacks out where nothing is trained."""
        if self.subcommand is not None and not COMMANDS[self.subcommand].trains:
            kwargs = {"logger": False, "callbacks": [], "enable_checkpointing": False, **kwargs}
        elif self._get(self.config, "trainer", default={}).get("default_root_dir") is None:
            kwargs = {**root_of_job(), **kwargs}
        if self.subcommand is not None and COMMANDS[self.subcommand].trains:
            kwargs = {**self._with_ours(), **kwargs}
        return super().instantiate_trainer(**kwargs)

    def _with_ours(self) -> dict[str, Any]:
        """Return the callbacks with a forecast of the audit, and one bar for all of training where a bar is wanted."""
        trainer = self._get(self.config_init, "trainer", default={})
        found = trainer.get("callbacks") or []
        found = found if isinstance(found, list) else [found]
        wants_bar = trainer.get("enable_progress_bar") is not False and not any(
            isinstance(c, ProgressBar) for c in found
        )
        return {"callbacks": [*found, AuditForecast(), PatientRecord(), *([StepProgressBar()] if wants_bar else [])]}

    def audit(self, **arguments: Any) -> None:
        """Run the audit, and keep what a script is told: Lightning calls this in place of the trainer's method."""
        self.exit_code = exit_code_of(self.trainer.audit(**arguments))  # type: ignore[attr-defined]

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand == "predict":
            arguments.pop("datamodule", None)
        if COMMANDS[subcommand].has_jobs:
            arguments["config"] = self._resolved(subcommand)
            arguments["trust"] = _trusts(sys.argv)
        if COMMANDS[subcommand].reads_callbacks:
            found = self._get(self.config_init, "trainer", default={}).get("callbacks") or []
            arguments["callbacks"] = found if isinstance(found, list) else [found]
        return arguments

    def _resolved(self, subcommand: str) -> ResolvedConfig:
        parser, config = self._parser(subcommand), self.config[subcommand]
        values, changes = (
            yaml.safe_load(parser.dump(config, skip_none=False, skip_default=skips)) or {} for skips in (False, True)
        )
        callbacks = values["trainer"].get("callbacks")
        if callbacks is not None and not isinstance(callbacks, list):
            values["trainer"]["callbacks"] = [callbacks]
        return ResolvedConfig(values, changes)


def _trusts(args: Sequence[str]) -> bool:
    return TRUST in args


def _ours(error: BaseException | None) -> MemControlError | None:
    """Return the error of ours that a library has wrapped into its own, if there is one."""
    while error is not None and not isinstance(error, MemControlError):
        error = error.__cause__ or error.__context__
    return error


def _first_cause(error: BaseException) -> str:
    """Return what was wrong first, in one line, where libraries have wrapped it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") + "."


def build(args: list[str]) -> MemControlCLI:
    """Instantiate the trainer, module and data of a config without running anything.

    Args:
        args: Arguments of a run, without a command.
    """
    names = resolve_names(args)
    kept, sys.argv = sys.argv, [sys.argv[0], *names]
    try:
        with _opened(names):
            return _cli(run=False)
    finally:
        sys.argv = kept


@contextmanager
def _opened(args: list[str]) -> Iterator[None]:
    """Read what arguments name, as far as they are trusted, without a library's asides, in workers too."""
    quieten()
    trusts = _trusts(args)
    with guarded(trusts, args), reading(trusts):
        load_extensions(extensions_of(args), trusts)
        yield


def _cli(run: bool = True) -> MemControlCLI:
    return MemControlCLI(
        MemControlModule,
        trainer_class=MemControlTrainer,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        run=run,
    )


def run_in_process(args: list[str]) -> MemControlCLI:
    """Run a command with its errors as they are, for other parts of a program.

    Args:
        args: Arguments, with configs by their paths.
    """
    kept, sys.argv = sys.argv, [sys.argv[0], *args]
    try:
        with _opened(args):
            return _cli()
    finally:
        sys.argv = kept


def main(args: list[str] | None = None) -> MemControlCLI:
    """Run a command.

    Args:
        args: Arguments, by default those of the process.

    Raises:
        SystemExit: With code 2 and a message, if something can be mended by the user.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("memcontrol").setLevel(logging.INFO)
    given = sys.argv[1:] if args is None else args
    names = list(given)
    os.umask(0o077)  # all that is written is made of patients' data
    try:
        names = join_paths(resolve_names(given))
        return run_in_process(names)
    except Exception as error:
        ours = _ours(error)
        if ours is None and not isinstance(error, (ArgumentError, UnicodeDecodeError, *OF_FILES)):
            raise
        print(f"\nError: {ours or _explained(error, names)}", file=sys.stderr)
        raise SystemExit(2) from error


def _explained(error: Exception, args: Sequence[str]) -> str:
    """Return an error of the parser or of the machine in one line."""
    if isinstance(error, OF_FILES):
        name = getattr(error, "filename", None)
        what = f"{name!r}: {error.strerror}" if isinstance(error, OSError) and name is not None else str(error)
        return (
            f"A file cannot be read or written, {what}. Check that the path is what you meant, that you may write "
            "there, and that the disk is not full."
        )
    return explained(str(error), configs_of(args))
