"""`mc.audit`: does it leak, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memcontrol.api.private_files import private_files
from memcontrol.api.results import AuditResult, Run
from memcontrol.audit import AuditOptions, ShadowTraining
from memcontrol.audit import audit as run_audit
from memcontrol.cli.trainer import ENTRY
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.described import config_of
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.files.configs import ResolvedConfig

__all__ = ["audit"]


def audit(
    models: Run | str | Path | Sequence[Run | str | Path],
    data: CaptionedImageDataModule,
    *,
    output: str | Path = "audit",
    options: AuditOptions | None = None,
    sampling: SamplingOptions | None = None,
    base: str | None = None,
    device: str = "auto",
) -> AuditResult:
    """Audit runs, pipelines or folders of pictures against the data that they were trained on.

    Args:
        models: What is audited; the first is what the others are compared with.
        data: The data: memorization is measured on its training split, quality on its test split.
        output: Folder for `report.html`, `audit.json` and `leaking.csv`; an interrupted audit goes on there.
        options: How much is drawn and probed, and what the report may show.
        sampling: How pictures are drawn, where the options do not say.
        base: Model before fine-tuning, where a path does not say.
        device: Where to draw: `auto`, `cpu`, `cuda`, ...

    Returns:
        What was found.

    Raises:
        CheckpointError: If a path is nothing that can be audited.
        RewardError: If there are too few held-out patients.
    """
    options = options or AuditOptions()
    several = [models] if isinstance(models, Run | str | Path) else list(models)
    paths = [str(model.folder if isinstance(model, Run) else model) for model in several]
    shadows = None
    if options.shadows.number:
        described = {"data": config_of(data)}
        shadows = ShadowTraining.of(options.shadows, ResolvedConfig(described, described), ENTRY, False)
    with private_files():
        found = run_audit(paths, data, options, sampling or SamplingOptions(), Path(output), base, device, shadows)
    return AuditResult(Path(output), found)
