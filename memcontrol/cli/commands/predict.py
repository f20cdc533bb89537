"""`predict`: prompts to image files."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from torchvision.transforms.functional import to_pil_image

from memcontrol.data.tables import need_columns, read_table, tidy
from memcontrol.devices import device_named
from memcontrol.diffusion.components import load_components
from memcontrol.diffusion.sampling import SamplingOptions, sample_batches
from memcontrol.errors import PromptError
from memcontrol.pipeline import load_pipeline
from memcontrol.seeds import derive_seed

__all__ = ["sample_prompts"]

log = logging.getLogger(__name__)


def sample_prompts(
    source: str | None,
    base: str,
    prompts: list[str] | None,
    prompts_file: str | None,
    prompt_column: str,
    images_per_prompt: int,
    sampling: SamplingOptions,
    size: int | None,
    output: Path,
    seed: int,
    device: str,
    moved_base: str | None = None,
) -> Path:
    """Sample and write images: see `MemControlTrainer.predict`.

    Returns:
        The output folder, with `00000.png` and so on, and `prompts.csv` (file_name, text, seed).

    Raises:
        PromptError: If there are no prompts, or not as described.
    """
    texts = _read_prompts(prompts, prompts_file, prompt_column)
    if images_per_prompt < 1:
        raise PromptError(f"Argument `images_per_prompt` must be at least 1, but got {images_per_prompt}.")
    pipeline = load_pipeline(source, moved_base) if source else load_components(base).pipeline()
    pipeline.to(device_named(device))
    rows = [
        {"file_name": f"{i * images_per_prompt + k:05d}.png", "text": text, "seed": derive_seed(seed, i, k)}
        for i, text in enumerate(texts)
        for k in range(images_per_prompt)
    ]
    size = size or pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    output.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (output / ".gitignore").exists():
        (output / ".gitignore").write_text("*\n")  # what a private model draws is no part of a repository
    table = pd.DataFrame(rows)
    table.to_csv(output / "prompts.csv", index=False)
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
