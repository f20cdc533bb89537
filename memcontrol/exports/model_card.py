"""A model card beside what was trained: what it is, what it was measured to be, and whether it was seen to leak."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from huggingface_hub import ModelCard, ModelCardData

from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import write_text
from memcontrol.files.card import Card
from memcontrol.files.run_folder import find_run, read_verdict
from memcontrol.measures.measurement import Measurement
from memcontrol.measures.score_log import read_scores
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.privacy.guarantee import NO_GUARANTEE, guarantee_of
from memcontrol.sizes import height_and_width

__all__ = ["write_model_card"]

log = logging.getLogger("memcontrol")

LIBRARIES: Final = {"adapter": "peft", "pipeline": "diffusers", "diffusers": "diffusers", "kohya": "diffusers"}
"""What opens it, by format."""
HOW: Final = {
    "adapter": 'from memcontrol import load_pipeline\n\npipeline = load_pipeline("THIS_FOLDER", base="{base}")',
    "pipeline": (
        'from diffusers import DiffusionPipeline\n\npipeline = DiffusionPipeline.from_pretrained("THIS_FOLDER")'
    ),
    "diffusers": (
        "from diffusers import DiffusionPipeline\n\n"
        'pipeline = DiffusionPipeline.from_pretrained("{base}")\n'
        'pipeline.load_lora_weights("THIS_FOLDER")'
    ),
    "kohya": "# Put the .safetensors file where A1111, Forge or ComfyUI look for LoRAs, beside the base {base}.",
}
USE: Final = """\
For research on image generation: pictures in the manner of its training images. Not for diagnosis, and not for training
what diagnoses without a check of its own: a drawn picture shows no patient, and its caption is no finding.

What a model has learnt of its patients goes wherever it goes. Share it as their data may be shared, or when whoever
answers for the data has seen an audit and agreed. Its licence is that of its base, unless you have another.
"""


def write_model_card(folder: Path, card: Card, run: Path | None = None, form: str = "adapter") -> None:
    """Write `README.md`, which says nothing of this machine, of captions or of patients' ids.

    Args:
        folder: An adapter or an export; its name is the card's title.
        card: What was trained.
        run: What it was exported from, for its scores and its verdict; by default the run that the folder lies in.
        form: `adapter`, `pipeline`, `diffusers` or `kohya`.
    """
    run = find_run(run or folder) or run
    base = card.public_base
    data = ModelCardData(
        base_model=base if base.count("/") == 1 else None,
        library_name=LIBRARIES[form],
        pipeline_tag="text-to-image",
        tags=["memcontrol", "stable-diffusion", "text-to-image", *(["lora"] if form == "diffusers" else [])],
    )
    title = run.parent.name if run is not None and form == "adapter" else folder.absolute().name
    parts = [
        f"# {title}",
        f"A fine-tuning of {_code(base)} on private images, made by memcontrol {card.version}.",
        "```python\n" + HOW[form].format(base=base.replace('"', "")) + _shape(card) + "\n```",
        "## What it is",
        _table(["", ""], _facts(card)),
        "## What was measured",
        _measured(card, run),
        "## Does it leak?",
        _verdict(card, run),
        "## What it is for",
        USE,
    ]
    text = str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts)))
    write_text(folder / "README.md", text)


def _shape(card: Card) -> str:
    """Return how to ask for pictures that are not square, which not every pipeline of diffusers knows of itself."""
    height, width = height_and_width(card.image_size)
    return "" if height == width else f"\n# pictures: pipeline(prompt, height={height}, width={width})"


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    adapter = dict(card.adapter or {})
    kind = str(adapter.pop("peft_type", "none"))
    options = {k: v for k, v in adapter.items() if isinstance(v, int | float | str) and not isinstance(v, bool)}
    on = [name for name, bit in zip(card.mask["names"], card.mask["bits"], strict=True) if bit]
    yield "base", f"{_code(card.public_base)}, weights {_code(card.base_fingerprint)}"
    yield "method", ", ".join([_code(kind), *(f"{k} {v}" for k, v in options.items() if k in ("r", "lora_alpha"))])
    yield (
        "mask",
        f"layout {_code(card.mask['layout'])}, {len(on)} of {len(card.mask['bits'])} slots on: "
        + (", ".join(map(_code, on)) or "none"),
    )
    if card.trained is not None and card.parameters:
        share = 100 * card.trained / card.parameters
        yield "trained", f"{card.trained:,} of {card.parameters:,} parameters ({share:.3g} %)"
    yield "steps", f"{card.step:,}"
    if card.scale != 1:
        yield "scale", f"{card.scale:g} of the way from the base to what was trained"
    yield "pictures", " x ".join(map(str, height_and_width(card.image_size)))
    if card.images is not None:
        yield "trained on", f"{card.images:,} images of {card.patients:,} patients"
    elif card.patients is not None:
        yield "trained on", f"{card.patients:,} patients"
    if card.training_set is not None:
        yield "digest of these images", _code(card.training_set)
    yield "guarantee", str(guarantee_of(card) or NO_GUARANTEE)


def _measured(card: Card, run: Path | None) -> str:
    scored = [point for point in read_scores(run) if point.scale == card.scale] if run is not None else []
    scored = [point for point in scored if point.step == card.step] or scored
    if not scored:
        return "Nothing: `callbacks.RewardsCallback` measures while a run trains."
    point = scored[-1]
    rows = [
        (_code(m.name), m.group, "higher" if m.higher_is_better else "lower", _value(m), _number(m.null))
        for m in point.measurements
    ]
    table = _table(["measure", "of", "better", "value (95 %)", "untouched base, or chance"], rows)
    return f"On validation patients, at step {point.step:,}.\n\n{table}"


def _verdict(card: Card, run: Path | None) -> str:
    found = guarantee_of(card)
    if found is not None and found.epsilon is not None:
        return (
            "Its training bounds what any attack can find, see *guarantee* above. What an audit has found is not "
            "repeated here: it is computed from training patients, and has no bound."
        )
    try:
        verdict = read_verdict(run) if run is not None else None
    except CheckpointError as error:
        log.warning("The model card says nothing of an audit: %s", error)
        verdict = None
    if verdict is None:
        return "It was not audited. `memcontrol audit` says whether it gives back what it was trained on."
    lines = [f"**{verdict['sentence']}**", *verdict["details"]]
    about = (
        f"Audited on {verdict['date']} by memcontrol {verdict['version']}: {verdict['training_patients']} training and "
        f"{verdict['heldout_patients']} held-out patients, step {verdict['step']:,}."
    )
    if (verdict["step"], verdict["scale"]) != (card.step, card.scale):
        about += f" What lies here is of step {card.step:,} and scale {card.scale:g}, which was not audited."
    return "\n\n".join([lines[0], *(f"- {line}" for line in lines[1:]), about])


def _value(measurement: Measurement) -> str:
    return _number(measurement.value) if measurement.value is not None else measurement.note or "not estimable"


def _number(value: Interval | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Interval):
        return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"
    return f"{value:.4g}"


def _table(head: list[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("\n", " ") + "`"
