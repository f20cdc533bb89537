"""What a config may name: exact classes only, checked by the parser itself wherever it imports something.

jsonargparse asks its list before it imports what a value names, and again for where the imported object is defined; so
there is no second reading of a config that could differ from the first. Everything is denied but the classes below.
`--trust-config` on the command line lifts that; a config cannot.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_type_hints

import peft
import torchmetrics.image
from jsonargparse import _common as jsonargparse_common
from jsonargparse import set_parsing_settings
from jsonargparse._paths import Path as JsonargparsePath
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch import loggers, profilers, strategies
from peft import PeftType, mapping
from peft.config import PeftConfig

import memcontrol.callbacks
from memcontrol import adapters, mitigation
from memcontrol.adapters.configs import LAYERWISE
from memcontrol.cli.trainer import COMMANDS, MemControlTrainer
from memcontrol.data.files import ImageFilesDataModule
from memcontrol.data.huggingface import HuggingFaceDataModule
from memcontrol.data.imagefolder import ImageFolderDataModule
from memcontrol.data.mimic import MimicCxrDataModule
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.data.prepared import PreparedTableDataModule
from memcontrol.data.webdataset import WebDatasetDataModule
from memcontrol.diffusion.prompt_optimization import PromptOptimization
from memcontrol.diffusion.sampling_mitigations import LateGuidance
from memcontrol.errors import UntrustedConfigError
from memcontrol.jobs.slurm import SlurmWorkers
from memcontrol.loggers import PrivateWandbLogger
from memcontrol.measures import encoders
from memcontrol.module import MemControlModule
from memcontrol.search.pruning_callback import PruningCallback
from memcontrol.search.rehearsal_callback import RehearsalCallback
from memcontrol.trusted import trusting

__all__ = ["allowed_classes", "guarded"]

OWN = (
    MemControlModule,
    HuggingFaceDataModule,
    ImageFilesDataModule,
    ImageFolderDataModule,
    MimicCxrDataModule,
    PhantomDataModule,
    PreparedTableDataModule,
    WebDatasetDataModule,
    LateGuidance,
    PrivateWandbLogger,
    PromptOptimization,
    PruningCallback,
    RehearsalCallback,
    SlurmWorkers,
)
READ_TEXT = JsonargparsePath.read_text
"""The parser's own, also where a command runs another one."""
LIGHTNING_CALLBACKS = (
    "BatchSizeFinder", "DeviceStatsMonitor", "EarlyStopping", "GradientAccumulationScheduler", "LearningRateFinder",
    "LearningRateMonitor", "ModelCheckpoint", "ModelSummary", "RichModelSummary", "RichProgressBar",
    "StochasticWeightAveraging", "TQDMProgressBar", "ThroughputMonitor", "Timer",
)  # fmt: skip
LIGHTNING_OTHERS = (
    loggers.CSVLogger,
    loggers.TensorBoardLogger,
    profilers.SimpleProfiler,
    strategies.DDPStrategy,
    strategies.SingleDeviceStrategy,
)
METRICS = {
    torchmetrics.image: (
        "ErrorRelativeGlobalDimensionlessSynthesis", "MultiScaleStructuralSimilarityIndexMeasure",
        "PeakSignalNoiseRatio", "QualityWithNoReference", "RelativeAverageSpectralError",
        "RootMeanSquaredErrorUsingSlidingWindow", "SpatialCorrelationCoefficient", "SpatialDistortionIndex",
        "SpectralAngleMapper", "SpectralDistortionIndex", "StructuralSimilarityIndexMeasure", "TotalVariation",
        "UniversalImageQualityIndex", "VisualInformationFidelity",
    ),
}  # fmt: skip
"""Metrics without a parameter that loads weights from a file or the hub, follows a class path, or takes any object."""


def allowed_classes() -> list[type]:
    """Return the classes that a config may name without being trusted."""
    ours = (memcontrol.callbacks, mitigation, encoders)
    found = [*OWN, *(getattr(room, name) for room in ours for name in room.__all__)]
    found += [getattr(lightning_callbacks, name) for name in LIGHTNING_CALLBACKS]
    found += LIGHTNING_OTHERS
    found += [getattr(module, name) for module, names in METRICS.items() for name in names if hasattr(module, name)]
    methods = [getattr(module, name) for module in (adapters, peft) for name in module.__all__]
    layerwise = {mapping.PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(name)] for name in LAYERWISE}
    found += [c for c in methods if isinstance(c, type) and issubclass(c, PeftConfig)]
    found = [c for c in found if not c.__module__.startswith("peft.") or c in layerwise]
    kinds = [c for c in dict.fromkeys(found) if isinstance(c, type)]
    signatures = [vars(kind).get("__init__") for kind in kinds if not issubclass(kind, PeftConfig)]
    signatures += [getattr(MemControlTrainer, name) for name in COMMANDS]
    return [*kinds, *_options_of(signatures)]


def _options_of(signatures: Iterable[Any]) -> list[type]:
    """Return the dataclasses of ours that parameters of these functions take, and those that theirs take."""
    found: list[Any] = []
    waiting = [hint for signature in signatures for hint in _hints(signature)]
    while waiting:
        hint = waiting.pop()
        waiting += get_args(hint)
        is_ours = isinstance(hint, type) and hint.__module__.startswith("memcontrol.")
        if is_ours and dataclasses.is_dataclass(hint) and hint not in found:
            found.append(hint)
            waiting += _hints(vars(hint).get("__init__"))
    return found


def _hints(function: Any) -> list[Any]:
    """Return the types of a function's parameters, where it lies in memcontrol."""
    if not str(getattr(function, "__module__", "")).startswith("memcontrol."):
        return []
    return [hint for name, hint in get_type_hints(function).items() if name not in ("return", "config", "callbacks")]


def _names_of(kind: type) -> Iterator[str]:
    """Yield the path of a class, and the shorter ones under which the packages above it offer it."""
    yield f"{kind.__module__}.{kind.__qualname__}"
    parts = kind.__module__.split(".")
    for depth in range(1, len(parts)):
        package = sys.modules.get(".".join(parts[:depth]))
        if getattr(package, kind.__name__, None) is kind:
            yield f"{'.'.join(parts[:depth])}.{kind.__name__}"


class _Files:
    """The files that the parser may read: those that the command line names, and what lies below its configs.

    Args:
        args: The arguments of the command line.
    """

    def __init__(self, args: Sequence[str]) -> None:
        values = [value for arg in args for value in (arg, arg.partition("=")[2])]
        self.named = {Path(value).expanduser().absolute() for value in values if len(value) < 4096}
        self.homes = [path.resolve().parent for path in self.named if path.suffix in (".yaml", ".yml", ".json")]

    def read(self, file: JsonargparsePath) -> str:
        """Return the text of a file; any other raises an UntrustedConfigError before it is opened."""
        path = Path(file.absolute)
        is_near = path.is_file() and any(path.resolve().is_relative_to(home) for home in self.homes)
        if not is_near and path not in self.named:
            raise UntrustedConfigError(
                f"The config names the file {str(file)!r} as the value of an option, but without trust such a file "
                "lies below the folder of the config. Put it there, or add `--trust-config` if you wrote both yourself."
            )
        return str(READ_TEXT(file))


@contextmanager
def guarded(trusts: bool, args: Sequence[str] = ()) -> Iterator[None]:
    """Let the parser import allowed classes only inside the block, or anything where the user trusts the config.

    Args:
        trusts: Whether `--trust-config` stood on the command line.
        args: The arguments of the command line.
    """
    # The parser's settings are global and can be widened but not taken back, so they are put back as they were: one
    # process may run a trusted config and then another.
    kept, reader = dict(jsonargparse_common.parsing_settings), JsonargparsePath.read_text
    set_parsing_settings(
        validate_subclass_spec_in_any=not trusts,
        instantiate_subclass_spec_in_any=False,
        config_read_mode_fsspec_enabled=False,
        config_read_mode_urls_enabled=False,
    )
    if not trusts:
        names = [name for kind in allowed_classes() for name in _names_of(kind)]
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=names)
        files = _Files(args)
        JsonargparsePath.read_text = lambda file: files.read(file)  # type: ignore[method-assign, assignment]
    try:
        with trusting(trusts):
            yield
    finally:
        jsonargparse_common.parsing_settings.update(kept)
        JsonargparsePath.read_text = reader  # type: ignore[method-assign]
