"""The commands: methods of a Trainer, each described once, with checkpoints loaded as plain data only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from memcontrol.audit import Audited, AuditOptions, ShadowTraining, audit
from memcontrol.cli.commands.export import Format, export
from memcontrol.cli.commands.init import describe_folder
from memcontrol.cli.commands.plant import plant
from memcontrol.cli.commands.predict import sample_prompts
from memcontrol.cli.commands.slots import slots_table
from memcontrol.cli.commands.steps import compare_steps
from memcontrol.cli.commands.withdraw import withdraw
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.run import compare as run_compare
from memcontrol.data.cache import CacheOptions
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.files.configs import ResolvedConfig
from memcontrol.files.sheet import write_sheet
from memcontrol.measures import ScoringOptions
from memcontrol.measures.encoders import Encoder
from memcontrol.search.options import SearchOptions
from memcontrol.search.run import search as run_search
from memcontrol.search.tables import Form, convert_study
from memcontrol.sizes import Size

__all__ = ["COMMANDS", "Command", "MemControlTrainer"]

ENTRY: Final = "memcontrol.cli:main"
"""What runs a job's `fit`."""
BUILD: Final = "memcontrol.cli:build"
"""What makes trainer, module and data of a config in a worker."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Args:
        trains: Whether loggers and callbacks of the config are at work.
        needs_data: Whether it cannot do without a `data` section.
        reads_checkpoint: Whether Lightning loads the checkpoint that `--ckpt_path` names; others do so themselves.
        has_jobs: Whether it runs jobs, and so needs the config itself.
        reads_callbacks: Whether it looks at the callbacks that the config names.
    """

    trains: bool = False
    needs_data: bool = True
    reads_checkpoint: bool = False
    has_jobs: bool = False
    reads_callbacks: bool = False

    @property
    def filled(self) -> set[str]:
        """Arguments that the command line fills itself."""
        jobs = {"config", "trust"} if self.has_jobs else set()
        return {"model", "datamodule"} | jobs | ({"callbacks"} if self.reads_callbacks else set())


COMMANDS: dict[str, Command] = {}
"""All commands by name."""


def command(**facts: bool) -> Callable[[F], F]:
    """Enter a method as a command under its name."""

    def enter(method: F) -> F:
        COMMANDS[method.__name__] = Command(**facts)
        return method

    return enter


class MemControlTrainer(Trainer):
    """A Trainer whose methods are the commands of the command line."""

    @command(trains=True, reads_checkpoint=True)
    def fit(  # type: ignore[override]
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
    ) -> None:
        """Fine-tune under the mask.

        Args:
            model: The module.
            datamodule: The data.
            ckpt_path: Checkpoint or run folder to go on from.
        """
        super().fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    @command(trains=True, reads_checkpoint=True)
    def validate(  # type: ignore[override]
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
    ) -> Any:
        """Score the validation split.

        Args:
            model: The module.
            datamodule: The data.
            ckpt_path: Checkpoint or run folder to score; without it the base is scored.
        """
        return super().validate(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    @command(trains=True, reads_checkpoint=True)
    def test(  # type: ignore[override]
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = None,
    ) -> Any:
        """Score the test split.

        Args:
            model: The module.
            datamodule: The data.
            ckpt_path: Checkpoint or run folder to score; without it the base is scored.
        """
        return super().test(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    @command(needs_data=False)
    def predict(  # type: ignore[override]
        self,
        model: LightningModule,
        ckpt_path: str | None = None,
        prompts: list[str] | None = None,
        prompts_file: str | None = None,
        prompt_column: str = "text",
        images_per_prompt: int = 1,
        sampling: SamplingOptions | None = None,
        size: Size | None = None,
        output: str = "samples",
        seed: int = 0,
        device: str = "auto",
        base: str | None = None,
        scale: float | None = None,
    ) -> Path:
        """Draw images for prompts, from a run, checkpoint, adapter folder, or the base.

        Args:
            model: The module; without `ckpt_path`, its base draws.
            ckpt_path: Run folder, checkpoint or PEFT folder to draw with.
            prompts: Prompts.
            prompts_file: A csv, xlsx, parquet or jsonl table of prompts.
            prompt_column: Its column of prompts.
            images_per_prompt: Images per prompt.
            sampling: Steps, guidance, scheduler, batch size; by default the model's.
            size: Height and width in pixels, one number for a square; by default what was trained on.
            output: Folder for the images and `prompts.csv`.
            seed: Seed; each prompt's number is mixed in, so an image does not depend on the batch.
            device: Where to draw: `auto`, `cpu`, `cuda`, `cuda:1`, ...
            base: Base model, where it no longer is where the run found it.
            scale: How far to go from the base (0) to what was trained (1), in [0, 1]; by default what the run says.
        """
        return sample_prompts(
            ckpt_path,
            str(base or model.base),  # type: ignore[arg-type]
            prompts,
            prompts_file,
            prompt_column,
            images_per_prompt,
            sampling or model.sampling,  # type: ignore[arg-type]
            size,
            Path(output),
            seed,
            device,
            moved_base=base,
            scale=scale,
        )

    @command(needs_data=False)
    def init(
        self,
        folder: str,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        output: str = "mine.yaml",
        base: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
        patients: str | None = None,
        caption: str | None = None,
        reports: str | None = None,
        copies_among: int = 1000,
    ) -> None:
        """Look at a folder of images as training will, say what is in it, and write a config that runs.

        Args:
            folder: The folder: images with a table, images with text files, DICOM files, MIMIC-CXR-JPG, tar shards, or
                what Hugging Face's `datasets` has saved.
            model: The module (not used).
            datamodule: The data (not used).
            output: Config to write.
            base: Base model that the config names; where it is on this machine, its tokenizer and size are looked at.
            patients: What says which patient an image is of: a column of the table, `folder`, `name`, `dicom`, or
                `none` where each image is of another patient.
            caption: Caption of images that have none.
            reports: Reports of MIMIC-CXR (`mimic-cxr-reports.zip`), where they do not lie beside its images.
            copies_among: Number of images among which near-duplicates are looked for (0: none); a minute for 1,000.
        """
        print(describe_folder(Path(folder), Path(output), base, patients, caption, reports, copies_among))

    @command(needs_data=False)
    def study(
        self,
        folder: str,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        to: Form = "csv",
        output: str | None = None,
    ) -> None:
        """Write a study for other programs, while it runs or afterwards.

        Args:
            folder: Folder of the study.
            model: The module (not used).
            datamodule: The data (not used).
            to: `csv`, every point of every trial as a row; or `optuna`, a database that optuna-dashboard opens.
            output: File to write; by default `trials.csv` or `optuna.db` in the study's folder.
        """
        print(convert_study(Path(folder), to, Path(output) if output else None))

    @command(needs_data=False)
    def withdraw(
        self,
        patient: str,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        folders: list[str] = ["runs"],  # noqa: B006 - jsonargparse shows it
        cache: str | None = None,
        output: str | None = None,
    ) -> None:
        """List all that was made with a patient's images: runs, adapters, exports, audits, studies, caches.

        Args:
            patient: The patient's id, as the data has it.
            model: The module (not used).
            datamodule: The data (not used).
            folders: Folders of runs, studies, audits, exports and pictures, looked through with all that lies in them.
            cache: Folder of the cache (`data.cache.folder`), by default yours.
            output: A csv to write the list to.
        """
        roots = [Path(folder).expanduser() for folder in folders]
        found = withdraw(patient, roots, Path(cache).expanduser() if cache else CacheOptions().path)
        if output is not None:
            write_sheet(found, Path(output))
        print(found.to_string(index=False) if len(found) else "Nothing was made with this patient's images.")

    @command(needs_data=False)
    def slots(self, model: LightningModule, datamodule: LightningDataModule | None = None) -> None:
        """Print the slots of the U-Net and how many parameters each trains; needs no weights."""
        print(slots_table(model.check(), str(model.base)))  # type: ignore[operator]

    @command(needs_data=False)
    def export(
        self,
        ckpt_path: str,
        output: str,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        format: Format = "pipeline",
        dtype: str = "float32",
        base: str | None = None,
        scale: float | None = None,
    ) -> Path:
        """Write what was trained for other programs, with a model card.

        Args:
            ckpt_path: Run folder, checkpoint or PEFT folder.
            output: Folder to write.
            model: The module (its base is not used: the checkpoint names its own).
            datamodule: The data (not used).
            format: `pipeline`, a merged folder that plain diffusers loads; `diffusers`, a LoRA that its
                `load_lora_weights` takes; or `kohya`, a file for A1111, Forge and ComfyUI.
            dtype: `float32`, `float16` or `bfloat16`.
            base: Base model, where it no longer is where the run found it.
            scale: How far to go from the base (0) to what was trained (1), in [0, 1]: less memorizes less. By default
                what the run says.
        """
        return export(ckpt_path, Path(output), format, dtype, base, scale)

    @command(has_jobs=True)
    def audit(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        config: ResolvedConfig,
        ckpt_path: list[str],
        trust: bool = False,
        options: AuditOptions = AuditOptions(),  # noqa: B008 - frozen
        output: str = "audit",
        base: str | None = None,
        device: str = "auto",
    ) -> list[Audited]:
        """Audit runs, pipelines or folders of pictures; writes `audit.json` and `report.html`.

        Args:
            model: The module, for how images are drawn where the options do not say.
            datamodule: The data that the models were trained on.
            config: Config that shadow models take their data from.
            ckpt_path: Run folders, checkpoints, PEFT folders, pipeline folders or folders of pictures; the first is
                what the others are compared with.
            trust: Whether the configs of runs are trusted to import code.
            options: How the audit is run, and what its report may show.
            output: Folder for the report and for what is drawn; an interrupted audit goes on there.
            base: Model before fine-tuning, where a path does not say.
            device: Where to draw: `auto`, `cpu`, `cuda`, ...
        """
        sampling: SamplingOptions = model.sampling  # type: ignore[assignment]
        shadows = ShadowTraining.of(options.shadows, config, ENTRY, trust)
        return audit(ckpt_path, datamodule, options, sampling, Path(output), base, device, shadows)  # type: ignore[arg-type]

    @command()
    def plant(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        encoders: list[Encoder] | None = None,
        alpha: float = 0.01,
        level: float = 0.01,
    ) -> None:
        """Plant copies of training images among held-out ones, and print what an audit of these data would find.

        Args:
            model: The module (not used).
            datamodule: The data; give the test split many patients.
            encoders: Encoders whose features are compared with what audits do; by default EfficientNet-Lite0.
            alpha: Share of false alarms at which thresholds are set.
            level: Level of the verdict.
        """
        print(plant(datamodule, encoders, alpha, level))  # type: ignore[arg-type]

    @command()
    def steps(
        self,
        model: LightningModule,
        datamodule: LightningDataModule,
        ckpt_path: list[str],
        sampler_steps: list[int] = [25, 10],  # noqa: B006 - jsonargparse shows it
        reference: int = 50,
        scoring: ScoringOptions = ScoringOptions(),  # noqa: B008 - frozen
        output: str = "steps",
        device: str = "auto",
        guidance_scale: float | None = None,
    ) -> None:
        """Print whether models are ranked alike with fewer sampler steps; writes `agreement.csv` and a plot.

        Args:
            model: The module, for how images are drawn where the options do not say.
            datamodule: The data that the models were trained on; the validation split is scored.
            ckpt_path: Folder of a study, whose trials are compared, or run folders. At least 20 models are advised.
            sampler_steps: Fewer steps.
            reference: Steps that they are compared with.
            scoring: How much is drawn, and in which features it is compared.
            output: Folder for scores and plot; an interrupted command goes on there.
            device: Where to draw: `auto`, `cpu`, `cuda`, ...
            guidance_scale: Guidance at the fewer steps, by default that of the reference: without any (1), a step costs
                half.
        """
        sampling: SamplingOptions = model.sampling  # type: ignore[assignment]
        sampling = scoring.sampling_of(sampling)
        found = compare_steps(
            ckpt_path,
            datamodule,  # type: ignore[arg-type]
            scoring,
            sampling,
            sampler_steps,
            reference,
            Path(output),
            device,
            guidance_scale,
        )
        print(found.round(3).to_string(index=False))

    @command(has_jobs=True, reads_callbacks=True)
    def search(
        self,
        model: LightningModule,
        config: ResolvedConfig,
        callbacks: list[Any],
        trust: bool = False,
        search: SearchOptions = SearchOptions(),  # noqa: B008 - frozen
        datamodule: LightningDataModule | None = None,
    ) -> Any:
        """Search masks that trade memorization for quality; the same command goes on with a study.

        Args:
            model: The module.
            config: Config that trials are run with.
            callbacks: The callbacks that it names.
            trust: Whether the config is trusted to import code.
            search: How masks are searched.
            datamodule: The data (each trial makes its own).
        """
        return run_search(model, config, callbacks, search, ENTRY, BUILD, trust)  # type: ignore[arg-type]

    @command(has_jobs=True, reads_callbacks=True)
    def compare(
        self,
        model: LightningModule,
        config: ResolvedConfig,
        callbacks: list[Any],
        trust: bool = False,
        compare: CompareOptions = CompareOptions(),  # noqa: B008 - frozen
        datamodule: LightningDataModule | None = None,
    ) -> Any:
        """Compare methods under one protocol; the same command goes on with a comparison.

        Args:
            model: The module (each run makes its own).
            config: Config that runs are made with.
            callbacks: The callbacks that it names.
            trust: Whether the configs are trusted to import code.
            compare: Which methods are compared, and how.
            datamodule: The data (each run makes its own).
        """
        return run_compare(config, callbacks, compare, ENTRY, BUILD, trust)


# jsonargparse names a group of arguments after the method, and these have a parameter of their own name already.
MemControlTrainer.search.__name__ = "search_command"
MemControlTrainer.compare.__name__ = "compare_command"
