"""Loggers that keep private data on the machine."""

from __future__ import annotations

import math
import os
import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn

import numpy as np
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from memcontrol.errors import PrivacyError

__all__ = ["PrivateWandbLogger", "numbers_only"]

SAFE_TEXTS: Final = {
    "mask": re.compile(r"all|none|bits:[01]+"),
    "slots": re.compile(r"paper13|paper16|attention|block|transformer|resnet|all"),
    "state": re.compile(r"RUNNING|COMPLETE|PRUNED|FAILED"),
}
"""Hyper-parameters whose text may leave the machine, and the only texts that they may have."""

NAMED_BY_DATA: Final = re.compile(r"(^|/)kid/")
"""Metrics whose names hold labels of the data, such as `quality/kid/LABEL`; they stay in the run's own files."""

SILENT: Final[dict[str, Any]] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "private",
    "program": "memcontrol",
    "program_abspath": "memcontrol",
    "program_relpath": "memcontrol",
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""Settings under which wandb sends neither arguments, console output, code, paths nor the machine's name."""


HARMLESS: Final = (
    "entity",
    "init_timeout",
    "login_timeout",
    "quiet",
    "reinit",
    "resume",
    "show_errors",
    "show_info",
    "show_warnings",
    "silent",
    "x_file_stream_timeout_seconds",
    "x_graphql_timeout_seconds",
    "x_service_wait",
)
"""Settings that a config may give: none of them says where a run is sent, or records more than numbers."""


def numbers_only(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keep the numbers of a nested mapping, and the few texts that describe a mask.

    Args:
        values: Metrics or hyper-parameters.
        prefix: Put before each name.

    Returns:
        A flat mapping of names to finite numbers, booleans and masks; without metrics that are named by the data.

    Example:
        >>> numbers_only({"lr": 1e-3, "base": "/models/mine", "data": {"size": 64}})
        {'lr': 0.001, 'data/size': 64}
    """
    kept: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if NAMED_BY_DATA.search(name):
            continue
        if isinstance(value, Mapping):
            kept.update(numbers_only(value, f"{name}/"))
            continue
        if isinstance(value, Tensor | np.generic):
            value = value.item() if np.ndim(value) == 0 else None
        is_number = isinstance(value, bool | int | float) and math.isfinite(value)
        is_mask = isinstance(value, str) and key in SAFE_TEXTS and SAFE_TEXTS[key].fullmatch(value) is not None
        if is_number or is_mask:
            kept[name] = value
    return kept


class PrivateWandbLogger(WandbLogger):
    """Lightning's WandbLogger, offline and limited to numbers unless its owner says otherwise.

    With `privacy: numbers`, metrics and numeric hyper-parameters are recorded and nothing else: no image, prompt,
    patient id, path, argument list, console output, error text, code, host name or checkpoint. Names of metrics and
    the name, project, group and tags that are given here are recorded as they are. wandb writes its own files (with
    debug logs that stay on the machine) under `save_dir`.

    Args:
        project: Project of the run.
        name: Name of the run; by default wandb makes one up.
        save_dir: Folder for wandb's files.
        group: Group of the run, e.g. a study.
        offline: Whether nothing is sent until `wandb sync` is run by hand.
        privacy: `numbers`, or `everything` for Lightning's own behaviour.
        id: Id of the run.
        tags: Tags of the run.
        settings: Further fields of `wandb.Settings`; under `privacy: numbers`, none that says where a run is sent or
            that would record more.

    Raises:
        PrivacyError: If settings name another server under `privacy: numbers`, or a callback sends images, texts,
            tables or the model.
    """

    def __init__(
        self,
        project: str = "memcontrol",
        name: str | None = None,
        save_dir: str = "runs",
        group: str | None = None,
        offline: bool = True,
        privacy: Literal["numbers", "everything"] = "numbers",
        id: str | None = None,
        tags: list[str] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.privacy = privacy
        settings = dict(settings or {})
        if privacy == "numbers":
            further = sorted(set(settings) - set(HARMLESS) - set(SILENT))
            if further:
                raise PrivacyError(
                    f"Argument `settings` has {further}, which could send the run elsewhere, or more of it. Allowed "
                    f"are {list(HARMLESS)}. Say it in the environment (WANDB_BASE_URL, WANDB_API_KEY), or set "
                    "`privacy: everything`."
                )
            settings |= SILENT  # applied last: nothing that a config says makes it speak
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its own errors and timings
        options: dict[str, Any] = {"group": group, "tags": tags, "settings": settings}
        super().__init__(name=name, save_dir=save_dir, project=project, offline=offline, id=id, **options)

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Record the numbers among hyper-parameters."""
        values = vars(params) if isinstance(params, Namespace) else params
        super().log_hyperparams(numbers_only(values) if self.privacy == "numbers" else values)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record numbers."""
        super().log_metrics(numbers_only(metrics) if self.privacy == "numbers" else metrics, step)

    def watch(self, *args: Any, **kwargs: Any) -> None:
        """Watch a model; refused under `privacy: numbers`."""
        self._refuse("watch", super().watch)(*args, **kwargs)

    def log_image(self, *args: Any, **kwargs: Any) -> None:
        """Send images; refused under `privacy: numbers`."""
        self._refuse("log_image", super().log_image)(*args, **kwargs)

    def log_audio(self, *args: Any, **kwargs: Any) -> None:
        """Send sound; refused under `privacy: numbers`."""
        self._refuse("log_audio", super().log_audio)(*args, **kwargs)

    def log_video(self, *args: Any, **kwargs: Any) -> None:
        """Send films; refused under `privacy: numbers`."""
        self._refuse("log_video", super().log_video)(*args, **kwargs)

    def log_table(self, *args: Any, **kwargs: Any) -> None:
        """Send a table; refused under `privacy: numbers`."""
        self._refuse("log_table", super().log_table)(*args, **kwargs)

    def log_text(self, *args: Any, **kwargs: Any) -> None:
        """Send texts; refused under `privacy: numbers`."""
        self._refuse("log_text", super().log_text)(*args, **kwargs)

    def _refuse(self, what: str, allowed: Any) -> Any:
        return allowed if self.privacy == "everything" else lambda *a, **k: _raise(what)


def _raise(what: str) -> NoReturn:
    raise PrivacyError(
        f"`{what}` would record more than numbers in Weights & Biases. Write it into the run folder, or set "
        "`privacy: everything` in the logger's config if your data may leave the machine."
    )
