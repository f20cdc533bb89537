"""`predict`: prompts to image files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import pandas as pd
from torchvision.transforms.functional import to_pil_image

from memcontrol.data.tables import need_columns, read_table, tidy
from memcontrol.devices import device_named
from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.components import drawn_size
from memcontrol.diffusion.sampling import SamplingOptions, sample_batches
from memcontrol.errors import PromptError
from memcontrol.files.sheet import write_sheet
from memcontrol.pipeline import load_pipeline
from memcontrol.ranges import check_ranges
from memcontrol.seeds import derive_seed
from memcontrol.sizes import Size, check_size

__all__ = ["sample_prompts"]

RANGES: Final = {"images_per_prompt": "[1, inf)", "seed": "[0, 4294967295]"}

log = logging.getLogger(__name__)


def sample_prompts(
    source: str | None,
    base: str,
    prompts: list[str] | None,
    prompts_file: str | None,
    prompt_column: str,
    images_per_prompt: int,
    sampling: SamplingOptions,
    size: Size | None,
    output: Path,
    seed: int,
    device: str,
    moved_base: str | None = None,
    scale: float | None = None,
) -> Path:
    """Sample and write images: see `MemControlTrainer.predict`.

    Returns:
        The output folder, with `00000.png` and so on, and `prompts.csv` (file_name, text, seed).

    Raises:
        PromptError: If there are no prompts, or not as described.
    """
    texts = _read_prompts(prompts, prompts_file, prompt_column)
    given = {"images_per_prompt": images_per_prompt, "seed": seed}
    check_ranges(PromptError, "", given, RANGES)
    if source is None and scale is not None:
        raise PromptError(
            f"Argument `scale` is {scale}, but without `ckpt_path` the base draws. Name a run, or leave the scale out."
        )
    size = None if size is None else check_size(PromptError, "size", size)
    pipeline = load_pipeline(source, moved_base, scale=scale) if source else load_components(base).pipeline()
    pipeline.to(device_named(device))
    rows = [
        {"file_name": f"{i * images_per_prompt + k:05d}.png", "text": text, "seed": derive_seed(seed, i, k)}
        for i, text in enumerate(texts)
        for k in range(images_per_prompt)
    ]
    size = size or drawn_size(pipeline.unet, pipeline.vae_scale_factor)
    output.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (output / ".gitignore").exists():
        (output / ".gitignore").write_text("*\n")  # what a private model draws is no part of a repository
    table = pd.DataFrame(rows)
    write_sheet(table, output / "prompts.csv")
    names = iter(table["file_name"])
    for images in sample_batches(pipeline, list(table["text"]), list(table["seed"]), sampling, size):
        for image in images:
            to_pil_image(image).save(output / next(names))
    log.info("Drew %d images into %s", len(rows), output)
    return output


def _read_prompts(prompts: list[str] | None, prompts_file: str | None, column: str) -> list[str]:
    if bool(prompts) == bool(prompts_file):
        raise PromptError(
            'Give either `--prompts \'["...", "..."]\'` or `--prompts_file prompts.csv` (with a column '
            f"`{column}`), but got {'both' if prompts else 'neither'}."
        )
    if prompts:
        blank = [number for number, text in enumerate(prompts, 1) if not text.strip()]
        if blank:
            raise PromptError(f"Argument `prompts` has nothing in number {blank[0]}. Remove it, or fill it.")
        return list(prompts)
    path = Path(str(prompts_file))
    table = read_table(path, "prompts_file")
    need_columns(table, [column], path, "--prompt_column")
    found = tidy(table[column])
    blank = [number for number, text in enumerate(found, 1) if not text]
    if blank:
        raise PromptError(
            f"Argument `prompts_file` names {str(path)!r}, of whose {len(found)} prompts {len(blank)} are blank, first "
            f"of all number {blank[0]}. Remove these rows, or fill them."
        )
    return found.tolist()
