"""Before the first trial: build the run of each choice once, so that none fails hours later of what a config says."""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import yaml
from tqdm import tqdm

from memcontrol.adapters import adapt, resolve_mask
from memcontrol.diffusion.bases import build_skeleton
from memcontrol.errors import SearchError
from memcontrol.files.atomic import write_text
from memcontrol.jobs.entry import load_entry
from memcontrol.jobs.run import reason_of
from memcontrol.search.study import Study

__all__ = ["check_choices"]


def check_choices(study: Study) -> None:
    """Build trainer, module and data with each choice, and put its adapter into a U-Net without weights.

    Nothing is trained or written into the study.

    Args:
        study: The study.

    Raises:
        SearchError: If a choice cannot be built, or its method adapts nothing in a slot.
    """
    space = study.space
    tried = [(k, level) for k in space.categories for level in range(len(space.parameters[k].choices))]
    with tempfile.TemporaryDirectory() as folder:
        config, overlay = Path(folder) / "config.yaml", Path(folder) / "overlay.yaml"
        write_text(config, yaml.safe_dump(study.plain, sort_keys=False))
        for k, level in tqdm(tried, desc="checking choices", unit="choice", delay=2, leave=False):
            settings = space.overlay([1] * len(space.slots), space.choosing(k, level))
            write_text(overlay, yaml.safe_dump(settings, sort_keys=False))
            why = _refused(study, config, overlay)
            if why is not None:
                parameter = space.parameters[k]
                raise SearchError(
                    f"Choice {parameter.labels[level]!r} of `{parameter.key}` in `search.parameters` cannot be run: "
                    f"{why} Mend it, or choose from the others of {parameter.labels}; nothing was trained."
                )


def _refused(study: Study, config: Path, overlay: Path) -> str | None:
    """Return why a trial with this overlay cannot be built, or None if it can."""
    args = ["--config", str(config), "--config", str(overlay), "--trainer.devices=1", "--trainer.num_nodes=1"]
    args += ["--trainer.logger=false", *(["--trust-config"] if study.trust else [])]
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            model = load_entry(study.build)(args).model
        unet = build_skeleton(model.base)
        layout, mask = resolve_mask(unet, model.slots, model.mask_spec)
        adapt(unet, model.adapter, layout, mask, allow_empty=True)
    except SystemExit as error:
        last = " ".join(said.getvalue().strip().splitlines()[-3:])
        return reason_of(error) if error.__cause__ is not None else last
    except Exception as error:
        return reason_of(error)
    return None
