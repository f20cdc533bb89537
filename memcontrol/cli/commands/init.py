"""`init`: look at a folder, say what is in it, and write a config that runs, with a page to look at."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
import torch
import yaml
from transformers import CLIPTokenizer

from memcontrol.cli.commands.init_page import write_overview
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.discover import Source, discover
from memcontrol.data.features import split_pixels
from memcontrol.data.images import Transform
from memcontrol.data.splits import SPLITS
from memcontrol.diffusion.bases import build_skeleton, locate
from memcontrol.diffusion.components import drawn_size
from memcontrol.errors import BaseModelError, ConfigError, DataError
from memcontrol.files.atomic import write_text
from memcontrol.measures.copies import ALIKE, CopyEncoder, groups_of_copies
from memcontrol.measures.forecast import forecast
from memcontrol.plain import read_mapping
from memcontrol.ranges import check_ranges
from memcontrol.seeds import derive_seed
from memcontrol.sizes import Size, height_and_width, size_of

__all__ = ["describe_folder"]

log = logging.getLogger("memcontrol")

LOOK: Final = 64
"""Height and width at which near-duplicates are looked for, in pixels."""
LARGE: Final = 100_000_000
"""Parameters of a U-Net beyond which a learning rate is that of Stable Diffusion, and half precision pays."""
MANY: Final = 3000
"""Images of which a tenth is enough to hold out."""
FEW: Final = (0.6, 0.2, 0.2)
ENOUGH: Final = (0.8, 0.1, 0.1)
"""Shares of patients to train on, to validate, and to test by."""
SQUARE_ENOUGH: Final = 0.1
"""Share of a picture that a square crop may cut off before another shape is proposed."""
USUAL: Final = 512
"""Height and width of a base of which nothing is known here, in pixels."""
NAMED: Final = re.compile(r"^(\s*\d+ x [^:]+): .+$", re.S)
"""A line of bad rows, which ends with the names of files."""
CONFIG: Final = """\
# Written by `memcontrol init`, which found {said}:
{findings}
#
# Train:   memcontrol fit --config {name}
# Search:  memcontrol search --config {name} --config search/cxr.yaml --config search/wide.yaml
# Audit:   memcontrol audit --config {name} --ckpt_path runs/{run}
seed_everything: 0
model:
  class_path: memcontrol.MemControlModule
  init_args:
    base: {base}
    # LoRA of few channels on everything, with small changes of each image: of what we have compared it memorizes least
    # at a quality like that of full fine-tuning (docs/EVIDENCE.md). Others are in configs/adapter/.
    adapter:
      class_path: peft.LoraConfig
      init_args: {{r: 4, lora_alpha: 4}}
    slots: parts
    mask: all
    optimizer:
      lr: {lr}
    sampling:
      steps: 20
      guidance_scale: 2.0
      scheduler: DPMSolverMultistepScheduler
data:
  class_path: {class_path}
  init_args:
{options}
trainer:
  devices: 1{precision}
  max_steps: {steps}
  val_check_interval: {interval}
  check_val_every_n_epoch: null
  num_sanity_val_steps: 0
  log_every_n_steps: 10
  gradient_clip_val: 1.0
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {{save_dir: runs, name: {run}}}
  callbacks:
    - class_path: callbacks.BaselineCallback
    - class_path: callbacks.SampleGridCallback
    - class_path: callbacks.AdapterCheckpoint
      init_args: {{every_n_train_steps: {interval}}}
"""


def describe_folder(
    folder: Path,
    output: Path,
    base: str,
    patients: str | None = None,
    caption: str | None = None,
    reports: str | None = None,
    copies_among: int = 1000,
) -> str:
    """Look at a folder as training will, and write a config for it, with a page that shows what was found.

    Args:
        folder: The folder.
        output: The config; it must not be there, and nor may the page, which has its name and ends with `.html`.
        base: See `locate`.
        patients: What says the patients, see `discover`.
        caption: Caption of images that have none.
        reports: Reports of MIMIC-CXR.
        copies_among: Number of images, drawn by seed, among which near-duplicates are looked for; 0 for none.

    Returns:
        What was found, in lines.

    Raises:
        ConfigError: If the config or the page is there already.
        DataError: If nothing in the folder can be read, or nothing says the patients.
    """
    check_ranges(DataError, "", {"copies_among": copies_among}, {"copies_among": "[0, inf)"})
    if output.exists():
        raise ConfigError(f"Argument `output` is {str(output)!r}, which exists. Name another file, or remove it.")
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"Argument `output` must be a YAML file, but got {str(output)!r}.")
    if output.with_suffix(".html").exists():
        raise ConfigError(
            f"Argument `output` is {str(output)!r}, beside which {output.with_suffix('.html').name}, the page that is "
            "written with it, exists already. Name another file, or remove the page."
        )
    source = discover(folder.expanduser().absolute(), patients, caption, reports)
    log.info("%s is %s", folder, source.said)
    data, source, problems = _opened(source)
    findings = [*_rows(data), *problems, *_captions(data, base), *_sizes(data), *_copies(data, copies_among)]
    people = {split: data.datasets[split].table["subject_id"].nunique() for split in SPLITS}
    found = forecast(people["train"], people["test"], data.split_at_random)
    kept = [NAMED.sub(r"\1", line) for line in findings]  # configs and pages may be given away
    findings += found.lines()
    write_text(output, _config(source, data, base, output, [*kept, *found.lines()]))
    page = write_overview(output.with_suffix(".html"), source.said, data, found, kept, output.name)
    return "\n".join(
        [
            f"{folder}: {source.said}",
            *(f"- {line}" for line in findings),
            "",
            f"Wrote {output}, and {page} to look at. Now:",
            f"  memcontrol fit --config {output}",
        ]
    )


def _opened(source: Source) -> tuple[CaptionedImageDataModule, Source, list[str]]:
    """Open a source as training does; where rows are bad, say so and go on without them."""
    problems: list[str] = []
    try:
        data = _set_up(source)
    except DataError as error:
        if "rows cannot be used" not in str(error):
            raise
        problems = str(error).split("\n")[1:-1]
        source = source.with_options(on_bad_row="skip")
        data = _set_up(source)
    if data.split_at_random:
        images = sum(len(data.datasets[split].table) for split in SPLITS)
        source = source.with_options(split_fractions=list(FEW if images < MANY else ENOUGH))
        data = data if images < MANY else _set_up(source)
    return data, source, ["Bad rows, which are left out:", *problems] if problems else []


def _set_up(source: Source) -> CaptionedImageDataModule:
    data = source.kind(**{"split_fractions": list(FEW), **source.options, "transform": Transform(size=LOOK)})
    data.setup("fit")
    return data


def _rows(data: CaptionedImageDataModule) -> list[str]:
    tables = {split: data.datasets[split].table for split in SPLITS}
    images, people = (
        sum(counts) for counts in zip(*((len(t), t["subject_id"].nunique()) for t in tables.values()), strict=True)
    )
    parts = ", ".join(f"{split} {len(t)} of {t['subject_id'].nunique()}" for split, t in tables.items())
    how = "drawn by patient" if data.split_at_random else "as the table says"
    lines = [f"{images} images of {people} patients ({parts}; splits {how})"]
    most = max(int(t["subject_id"].value_counts().max()) for t in tables.values() if len(t))
    if most > 1:
        lines.append(f"Up to {most} images of one patient: what is repeated is learnt by heart sooner.")
    if data.each_image_a_subject:
        lines.append("No patients are named: each image counts as another one, so splits may share patients unseen.")
    return lines


def _captions(data: CaptionedImageDataModule, base: str) -> list[str]:
    texts = [text for split in SPLITS for text in data.datasets[split].all_texts()]
    _common, times = Counter(texts).most_common(1)[0]
    lines = [
        f"{len(set(texts))} different captions of {int(np.median([len(t.split()) for t in texts]))} words (median)"
    ]
    if times > max(2, len(texts) / 10):
        lines.append(f"One caption stands for {times} images: it cannot tell them apart.")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(Path(locate(base, download=False, online=False)) / "tokenizer")
    except (BaseModelError, OSError, ValueError):
        return [*lines, f"Their lengths in tokens are not known here: the tokenizer of {base} is not on this machine."]
    longest = tokenizer.model_max_length
    lengths = np.array([len(ids) for ids in tokenizer(texts, truncation=False, verbose=False).input_ids])
    over = int((lengths > longest).sum())
    said = (
        f"Captions have {int(np.median(lengths))} tokens (median), up to {int(lengths.max())}; the base reads {longest}"
    )
    if over:
        share = f"{100 * over / len(lengths):.0f} %"
        verb = "is" if over == 1 else "are"
        said += f", so {over} of them {verb} cut ({share}; `model.truncation_side` says at which end)"
    return [*lines, said + "."]


def _sizes(data: CaptionedImageDataModule) -> list[str]:
    sizes = data.sizes
    low, middle, high = (" x ".join(map(str, f(sizes, axis=0).astype(int))) for f in (np.min, np.median, np.max))
    lines = [f"Pictures of {low} pixels" + (f" up to {high}, the median {middle}." if low != high else ".")]
    if data.num_deep:
        lines.append(f"{data.num_deep} are deeper than 8 bits; of their values {data.levels} are black and white.")
    return lines


def _copies(data: CaptionedImageDataModule, among: int) -> list[str]:
    """Say how many images are near-duplicates, within patients and between them, and across splits."""
    if not among:
        return []
    tables = {split: data.datasets[split].table for split in SPLITS}
    places = [(split, row) for split, table in tables.items() for row in range(len(table))]
    order = np.random.default_rng(derive_seed(data.split_seed, "copies")).permutation(len(places))
    chosen = sorted(places[number] for number in order[:among])
    people = [str(tables[split]["subject_id"].iat[row]) for split, row in chosen]
    splits = [split for split, _ in chosen]
    rows = {split: [row for where, row in chosen if where == split] for split in sorted(set(splits))}
    encoder = CopyEncoder()
    features = [encoder.encode(split_pixels(data, split, found)) for split, found in rows.items()]
    groups = groups_of_copies(torch.cat(features), ALIKE)
    members: dict[int, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(int(group), []).append(number)
    several = [rows for rows in members.values() if len(rows) > 1]
    between = [rows for rows in several if len({people[row] for row in rows}) > 1]
    across = [rows for rows in several if len({splits[row] for row in rows}) > 1]
    of = f"{len(chosen)} images" + (f" (drawn from {len(places)})" if len(places) > len(chosen) else "")
    if not several:
        return [f"Near-duplicates: none among {of}."]
    line = (
        f"Near-duplicates among {of}: {sum(map(len, several))} images in {len(several)} groups, {len(between)} of them "
        f"under several patients, {len(across)} across splits."
    )
    lines = [line]
    if between:
        lines.append(
            "One image under several patients: is it one patient under two ids, or a copy? Look at these first."
        )
    lines.append(
        "`--config mitigation/duplicates.yaml` lets near-duplicates share the weight of one image in training."
    )
    return lines


def _config(source: Source, data: CaptionedImageDataModule, base: str, output: Path, findings: list[str]) -> str:
    side, parameters = _base(base)
    shorter = int(np.median(data.sizes.min(axis=1)))
    size = _size_like(data.sizes, min(side, max(64, shorter // 64 * 64)))
    images = len(data.datasets["train"])
    is_large = parameters > LARGE
    batch = max(1, min(16, images // 4))
    steps = int(np.clip(round(40 * images / batch, -2), 200, 4000))
    options = {
        **source.options,
        "batch_size": batch,
        **({"num_workers": 4} if is_large else {}),
        "transform": {
            "size": size if isinstance(size, int) else list(size),
            "augment": {"rotation": 3, "shift": 0.04, "scale": 0.06, "brightness": 0.1, "contrast": 0.1, "variants": 8},
        },
    }
    written = yaml.safe_dump(options, sort_keys=False, allow_unicode=True, width=1000)
    run = "".join(mark if mark.isalnum() else "-" for mark in output.stem).strip("-") or "mine"
    return CONFIG.format(
        said=_one_line(source.said),
        findings="\n".join(f"# - {_one_line(line)}" for line in findings),
        name=output.name,
        run=run,
        base=yaml.safe_dump(base, width=10**6).split("\n")[0],
        lr="1.0e-4" if is_large else "1.0e-3",
        class_path=source.class_path,
        options="\n".join(f"    {line}" for line in written.rstrip().split("\n")),
        precision="\n  precision: bf16-mixed  # 32-true where there is no GPU" if is_large else "",
        steps=steps,
        interval=max(1, steps // 4),
    )


def _size_like(sizes: np.ndarray, side: int) -> Size:
    """Return a square with this side, or a size with its area and the shape of most images where a square loses much.

    Args:
        sizes: Width and height of each image, with shape `(n, 2)`.
        side: Side of the square, in pixels.
    """
    shape = float(np.median(sizes[:, 0] / sizes[:, 1]))
    if 1 - min(shape, 1 / shape) <= SQUARE_ENOUGH:
        return side
    step = min(64, max(8, side // 64 * 8))  # coarse enough that sides stay alike, and a multiple of 8
    height, width = (max(step, round(side * stretch / step) * step) for stretch in (shape**-0.5, shape**0.5))
    return size_of(height, width)


def _one_line(text: str) -> str:
    """Return a text that ends no comment."""
    return " ".join(text.split())


def _base(base: str) -> tuple[int, int]:
    """Return the size of a base's pictures in pixels, and the number of its U-Net's parameters."""
    try:
        unet = build_skeleton(base, online=False)
        folder = locate(base, download=False, online=False)
        channels = read_mapping(Path(folder) / "vae" / "config.json", BaseModelError).get("block_out_channels", [0] * 4)
        height, width = height_and_width(drawn_size(unet, 2 ** (len(channels) - 1)))
        side = max(8, round(math.sqrt(height * width) / 8) * 8)  # of a square of this area
        return side, sum(p.numel() for p in unet.parameters())
    except BaseModelError:
        log.warning("The base %s is not on this machine; the config reckons with Stable Diffusion's size", base)
        return USUAL, 10 * LARGE
