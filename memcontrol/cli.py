"""The command line: Lightning's, with commands of our own and configs that are not trusted to run code."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from memcontrol.checkpoints import find_checkpoint, find_run, read_checkpoint
from memcontrol.config_files import join_paths, resolve_names
from memcontrol.config_trust import check_config
from memcontrol.errors import DataError, MemControlError
from memcontrol.module import MemControlModule
from memcontrol.trainer import MemControlTrainer

__all__ = ["MemControlCLI", "build", "main"]

COMMANDS: dict[str, set[str]] = {
    "fit": {"model", "datamodule"},
    "validate": {"model", "datamodule"},
    "test": {"model", "datamodule"},
    "predict": {"model", "datamodule"},
    "slots": {"model", "datamodule"},
    "export": {"model", "datamodule"},
    "audit": {"model", "datamodule"},
    "plant": {"model", "datamodule"},
    "steps": {"model", "datamodule"},
    "search": {"model", "datamodule", "config", "trust"},
    "compare": {"model", "datamodule", "config", "trust"},
}
WITHOUT_TRAINING = ("predict", "slots", "export", "audit", "plant", "steps", "search", "compare")
WITHOUT_DATA = ("predict", "slots", "export")


class MemControlCLI(LightningCLI):
    """Lightning's command line in subclass mode, with our Trainer's methods as commands."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the commands with the arguments that the command line fills itself; the asked one, if one is.

        Describing a command takes a tenth of a second, and a trial asks for one of them only.
        """
        asked = sys.argv[1] if len(sys.argv) > 1 else None
        return {asked: COMMANDS[asked]} if asked in COMMANDS else COMMANDS

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Pass the one seed on, and allow the switch that trusts a config."""
        parser.add_argument(
            "--trust-config",
            action="store_true",
            help="Let the config import code from outside the trusted packages.",
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
        self._ckpt_path = config.get("ckpt_path")
        if "ckpt_path" in config:
            # Lightning would take hyper-parameters, class paths among them, out of the file.
            config["ckpt_path"] = None

    def before_instantiate_classes(self) -> None:
        """Go on in the run folder that a checkpoint lies in."""
        if self.subcommand is None:
            return
        config = self.config[self.subcommand]
        if self.subcommand not in WITHOUT_DATA and not config.get("data"):
            raise DataError(
                f"`{self.subcommand}` needs data, but the config has no `data` section. Give a config that names some, "
                "such as `--config demo.yaml` (phantoms), `cxr.yaml` (a folder with metadata.csv) or `mimic.yaml`."
            )
        if self._ckpt_path is None:
            return
        if self.subcommand in ("predict", "export", "audit", "steps"):
            config["ckpt_path"] = self._ckpt_path
            return
        found = find_checkpoint(self._ckpt_path)
        read_checkpoint(found)
        config["ckpt_path"] = str(found)
        run = find_run(Path(self._ckpt_path).expanduser())
        if self.subcommand == "fit" and run is not None:
            self.save_config_kwargs["overwrite"] = True
            _continue_in(run, config["trainer"].get("logger"))

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Leave loggers and callbacks out where nothing is trained."""
        if self.subcommand in WITHOUT_TRAINING:
            kwargs = {"logger": False, "callbacks": [], "enable_checkpointing": False, **kwargs}
        elif self._get(self.config, "trainer", default={}).get("default_root_dir") is None:
            kwargs = {**_root_of_job(), **kwargs}
        return super().instantiate_trainer(**kwargs)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand == "predict":
            arguments.pop("datamodule", None)
        if subcommand in ("search", "compare"):
            config = self.config[subcommand]
            arguments["config"] = yaml.safe_load(self._parser(subcommand).dump(config, skip_none=False))
            arguments["trust"] = bool(config.get("trust_config"))
        return arguments


def _root_of_job() -> dict[str, str]:
    """Give each SLURM job a root folder of its own: Lightning goes on from any requeue checkpoint that lies there."""
    job = [os.environ[name] for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in os.environ]
    return {"default_root_dir": str(Path("runs") / "slurm" / "-".join(job))} if job else {}


def _continue_in(run: Path, logger: Any) -> None:
    """Make the first logger write into a run folder again, keeping what is there."""
    first = logger[0] if isinstance(logger, list) else logger
    if not first or "init_args" not in first:
        return
    first["init_args"]["save_dir"] = str(run.parent.parent)
    first["init_args"]["name"] = run.parent.name
    first["init_args"]["version"] = run.name
    metrics = run / "metrics.csv"
    if metrics.is_file():
        number = len(list(run.glob("metrics.*.csv")))
        metrics.rename(run / f"metrics.{number}.csv")


def _ours(error: BaseException | None) -> MemControlError | None:
    """Return the error of ours that a library has wrapped into its own, if there is one."""
    while error is not None and not isinstance(error, MemControlError):
        error = error.__cause__ or error.__context__
    return error


def build(args: list[str]) -> MemControlCLI:
    """Instantiate the trainer, module and data of a config without running anything.

    Args:
        args: Arguments of a run, without a command.
    """
    names = resolve_names(args)
    check_config(names)
    kept, sys.argv = sys.argv, [sys.argv[0], *names]
    try:
        return _cli(run=False)
    finally:
        sys.argv = kept


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
    kept = sys.argv
    try:
        names = join_paths(resolve_names(given))
        check_config(names)
        sys.argv = [kept[0], *names]
        return _cli()
    except Exception as error:
        ours = _ours(error)
        if ours is None:
            raise
        print(f"\nError: {ours}", file=sys.stderr)
        raise SystemExit(2) from error
    finally:
        sys.argv = kept
